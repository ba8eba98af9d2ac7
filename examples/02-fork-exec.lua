-- A process is made, changed by system calls, and becomes a program: what posix_spawn needs flags for is plain calls here.
--
-- fork() does not return twice. The new process does nothing by itself; this script goes on, and tells it what to do.

local afar = require "afar"

local dir = afar.here:mkdtemp "/tmp/report.XXXXXX"

local p = afar.here:fork()
p:chdir(dir) -- its own working directory: that of afar.here stays
p:umask "077"
local out = p:open("report", "O_WRONLY|O_CREAT")
p:dup2(out, 1)
p:setpgid(0, 0)

-- From here on it is that program; what comes back is the child: to wait for, to check, to kill.
local child = p:exec { "sh", "-c", 'echo "in $PWD, umask $(umask), for $NAME"; exit 3', env = { NAME = "afar" } }
local status = child:wait()
print(status, status.code)

print((afar.here:read_file(dir .. "/report"):gsub(dir, "DIR")))
print("permissions", afar.here:stat(dir .. "/report").permissions)

-- A program that is ended by a signal is no mystery either.
local sleeper = afar.here:fork():exec { "sleep", "60" }
sleeper:kill "SIGINT"
print(sleeper:wait())
print("raised", select(2, pcall(sleeper.check, sleeper)).status.signal)

-- run{} is fork, exec, wait and both outputs, in one call; it raises what ended badly, with what it said.
local _, err = afar.try(function() return afar.here:run { "ls", "/no/such/directory" } end)
print("status", err.status, err.stderr)
afar.here:remove_tree(dir)
