-- A program of ours in another program's place: what a script would mail is looked at, and what it runs is recorded.
--
-- p:stub(dir, name) puts an executable into a directory. Whoever runs it is answered here: with its arguments, its stdin and stdout, and a
-- process to act in, which is the called program itself.

local afar = require "afar"

local here = afar.here

-- What is to be tested: a shell script that mails a report, and cleans up.
local SCRIPT = [[
set -e
size=$(du -s /etc | cut -f1)
printf 'To: root\n\n/etc has %s KiB\n' "$size" | sendmail -t && echo "script: sent"
rm -rf /important
echo "script: done"
]]

here:with_tempdir(function(dir)
  local mail = here:stub(dir, "sendmail")
  local rm = here:stub(dir, "rm")
  local du = here:stub(dir, "du")

  afar.nursery(function(n)
    -- Answered in place of the program.
    n:spawn(mail.serve, mail, function(call)
      local text = call.stdin:reader():all()
      print("mock: sendmail " .. table.concat(call.argv, " ", 2) .. " was given:")
      print((text:gsub("[^\n]+", "mock:   %0")))
    end)

    -- Never run at all.
    n:spawn(rm.serve, rm, function(call)
      print("mock: not executed: rm " .. table.concat(call.argv, " ", 2))
      call:exit(0)
    end)

    -- Recorded, and then executed: it keeps its pid, its fds and its caller.
    n:spawn(du.serve, du, function(call)
      print(("mock: du %s, in %s, called by process %d"):format(table.concat(call.argv, " ", 2), call.cwd, call.ppid))
      call:exec { "/usr/bin/du", unpack(call.argv, 2) }
    end)

    local result = here:run { "sh", "-c", SCRIPT, env = { PATH = dir .. ":" .. here.environ.PATH } }
    io.write(result.stdout)
    for _, stub in ipairs { mail, rm, du } do stub:close() end
  end)
end)
