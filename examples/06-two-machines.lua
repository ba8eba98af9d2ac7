-- A pipeline across two machines: what a program writes on one is read by a program on the other, as it comes.
--
--   afar examples/06-two-machines.lua [HOST HOST [SSH-CONFIG]]     without hosts: two roots on this machine

local afar = require "afar"

local from, to, config = ...

local function machine(host, name)
  if host then return afar.here:ssh(host, { config = config }) end
  return afar.here:bootstrap { "sh", "-c", afar.SCRIPT, name = name }
end

local one, two = machine(from, "one"), machine(to, "two")

-- On the first machine a program writes into a pipe. The child gets its own copy of the pipe's end; ours is closed.
local reading, its_stdout = one:pipe2()
local child = one:fork()
local writer = child:exec { "seq", "100000", stdout = child:inherit(its_stdout) }
its_stdout:close()

-- On the second one a program reads from a pipe.
local its_stdin, writing = two:pipe2()
child = two:fork()
local reader = child:exec { "tail", "-n", "1", stdin = child:inherit(its_stdin) }
its_stdin:close()

-- Between them: nobody is blocked, and the slower one sets the pace.
local bytes = 0
while true do
  local part = reading:read()
  if part == "" then break end
  bytes = bytes + writing:write(part)
end
writing:close()

writer:check()
reader:check() -- its stdout comes here: lines of several machines have their names before them
print(("%d bytes went from %s to %s"):format(bytes, one.machine.name, two.machine.name))
