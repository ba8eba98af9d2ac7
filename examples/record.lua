-- Every command that a shell script runs: its arguments, and where. The programs themselves run as ever.
--
--   afar examples/record.lua [SCRIPT ARGUMENT...]
--
-- One stub answers for all that is in PATH: a directory of links to it, one by each program's name, is all that the script finds there. Not seen:
-- what the shell does itself (echo, cd), and what is run by its path (/bin/ls).

local afar = require "afar"

local here = afar.here

local SCRIPT = [[
count=$(ls /etc | grep -c conf)
test "$count" -gt 0 && env LANGUAGE=de printf '%s files\n' "$count"
for i in 1 2; do expr $i + 1; done | sort -r | tail -n 1
]]
local command = #arg > 0 and { "sh", unpack(arg) } or { "sh", "-c", SCRIPT }

--- Where each program of PATH is: the first one of a name counts.
local function programs()
  local found = {}
  for dir in here.environ.PATH:gmatch "[^:]+" do
    local ok, names = pcall(here.listdir, here, dir)
    for _, name in ipairs(ok and names or {}) do found[name] = found[name] or dir .. "/" .. name end
  end
  return found
end

here:with_tempdir(function(dir)
  local all, count = programs(), 0
  local stub = here:stub(dir, ".record")
  here:chain(function(c)
    for name in pairs(all) do
      c:symlink(".record", dir .. "/" .. name)
      count = count + 1
    end
  end)

  local seen = {}
  afar.nursery(function(n)
    n:spawn(stub.serve, stub, function(call)
      local name = call.argv[1]:match "[^/]+$"
      seen[#seen + 1] = ("%s, in %s"):format(table.concat(call.argv, " "):gsub("\n", "\\n"), call.cwd)
      call:exec { all[name], unpack(call.argv, 2) }
    end)
    command.env, command.check = { PATH = dir }, false
    local result = here:run(command)
    io.write(result.stdout, result.stderr)
    stub:close()
  end)
  print(("-- %d commands, by %d names that were watched:"):format(#seen, count))
  for _, line in ipairs(seen) do print(line) end
end)
