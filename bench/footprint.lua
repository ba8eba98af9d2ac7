--- footprint.lua COUNT WHAT: prints the KiB that each of COUNT idle processes takes, kernel and all: forks of the root here (the host's own memory
--- for them included), the same while the host has many fds, or clones that a C program makes. Told by a memory cgroup, which counts nobody
--- else's; where none can be made, by MemAvailable. Once in a program: memory that was used before would not be counted again.

local afar = require "afar"
local ffi = require "ffi"

ffi.cdef [[
int dup(int fd);
int close(int fd);
]]

local COUNT = tonumber(arg[1])
local FDS = 1000
local WAYS = {
  { dir = "/sys/fs/cgroup/memory/afar-bench", usage = "memory.usage_in_bytes" },
  { dir = "/sys/fs/cgroup/afar-bench", usage = "memory.current" },
}

local function number_in(path, pattern)
  local file = io.open(path)
  local value = file and tonumber(file:read("*a"):match(pattern))
  if file then file:close() end
  return value
end

-- ---- who counts ----

--- A cgroup of our own; nil where there can be none.
local function new_group()
  for _, way in ipairs(WAYS) do
    os.execute(("mkdir %s 2>/dev/null"):format(way.dir))
    if number_in(way.dir .. "/" .. way.usage, "%d+") then return way end
    os.execute(("rmdir %s 2>/dev/null"):format(way.dir))
  end
end

local function move(dir, pid)
  local file = assert(io.open(dir .. "/cgroup.procs", "w"))
  file:write(pid)
  file:close()
end

local function move_all(dir)
  move(dir, afar.here.machine.host_pid)
  move(dir, afar.here:getppid())
end

--- KiB that are in use.
local function used(group)
  if group then return number_in(group.dir .. "/" .. group.usage, "%d+") / 1024 end
  return -number_in("/proc/meminfo", "MemAvailable:%s*(%d+)")
end

-- ---- what is counted ----

--- KiB that each of the processes takes which `make` makes and `unmake` ends.
local function each(group, make, unmake)
  collectgarbage()
  local before = used(group)
  local made = make()
  collectgarbage()
  local value = (used(group) - before) / COUNT
  unmake(made)
  return value
end

local function forks(group)
  local root = afar.here
  root:fork():exit()
  return each(group, function()
    local made = {}
    for i = 1, COUNT do made[i] = root:fork() end
    return made
  end, function(made)
    for i = 1, COUNT do made[i]:exit() end
  end)
end

--- The same while the host has many files open.
local function forks_beside_fds(group)
  local fds = {}
  for i = 1, FDS do fds[i] = ffi.C.dup(2) end
  local value = forks(group)
  for _, fd in ipairs(fds) do ffi.C.close(fd) end
  return value
end

local function clones(group)
  local ready = os.tmpname()
  local value = each(group, function()
    local pipe = assert(io.popen(("exec build/bench/idle %d > %s"):format(COUNT, ready), "w"))
    while os.execute("grep -q ready " .. ready) ~= 0 do
      afar.sleep(0.02)
    end
    return pipe
  end, function(pipe) pipe:close() end)
  os.remove(ready)
  return value
end

local WHAT = { forks = forks, fds = forks_beside_fds, clones = clones }

local group = new_group()
if group then move_all(group.dir) end
local ok, value = pcall(WHAT[arg[2]], group)
if group then
  move_all(group.dir .. "/..")
  os.execute("rmdir " .. group.dir)
end
if not ok then error(value, 0) end
print(value)
