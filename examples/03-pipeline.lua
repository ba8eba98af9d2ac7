-- Two programs with a pipe between them; this script feeds the first and reads from the second, with no shell in sight.

local afar = require "afar"

local p = afar.here:fork()
local sort_in, to_sort = p:pipe2()
local uniq_in, sort_out = p:pipe2()
local from_uniq, uniq_out = p:pipe2()

-- A fork has a copy of p's fds; fork:inherit(fd) is its handle to the same one. All that isn't passed on is closed by the exec.
local function start(stdin, stdout, command)
  local fork = p:fork()
  command.stdin, command.stdout = fork:inherit(stdin), fork:inherit(stdout)
  local child = fork:exec(command)
  stdin:close() -- p's own, or nobody would ever see the end
  stdout:close()
  return child
end

local sort = start(sort_in, sort_out, { "sort" })
local uniq = start(uniq_in, uniq_out, { "uniq", "-c" })

-- Writing waits when the pipe is full, reading when it is empty: side by side, so that neither waits for the other for ever.
afar.nursery(function(n)
  n:spawn(function()
    for _ = 1, 20000 do to_sort:write "stub\nhost\nroot\nhost\n" end
    to_sort:close()
  end)
  local data = from_uniq:read()
  while data ~= "" do
    io.write(data)
    data = from_uniq:read()
  end
end)
sort:check()
uniq:check()
p:exit()
