--- What an idle process takes, kernel and all: how a memory cgroup grows by some hundreds of them. Needs to be root.

local ffi = require "ffi"
local afar = require "afar"
local measure = require "measure"

ffi.cdef "int getpid(void);"

local COUNT = tonumber(os.getenv "BENCH_PROCESSES") or 500
local ways = {
  { dir = "/sys/fs/cgroup/memory/afar-bench", usage = "memory.usage_in_bytes" },
  { dir = "/sys/fs/cgroup/afar-bench", usage = "memory.current" },
}

local function read_number(path)
  local file = io.open(path)
  local value = file and tonumber(file:read "*l")
  if file then file:close() end
  return value
end

--- A cgroup of our own, and how to ask for its usage; nil where there can be none.
local function new_group()
  for _, way in ipairs(ways) do
    os.execute(("mkdir %s 2>/dev/null"):format(way.dir))
    if read_number(way.dir .. "/" .. way.usage) then return way end
    os.execute(("rmdir %s 2>/dev/null"):format(way.dir))
  end
end

local function enter(group, pid)
  local file = assert(io.open(group.dir .. "/cgroup.procs", "w"))
  file:write(pid)
  file:close()
end

local function usage(group) return read_number(group.dir .. "/" .. group.usage) / 1024 end

--- KiB in the group while `build/bench/idle` runs there with so many processes.
local function idle(group, count)
  local ready = os.tmpname()
  local pipe = io.popen(("echo $$ > %s/cgroup.procs; exec build/bench/idle %d > %s"):format(group.dir, count, ready), "w")
  while os.execute("grep -q ready " .. ready) ~= 0 do
    afar.sleep(0.02)
  end
  local value = usage(group)
  pipe:close()
  os.remove(ready)
  return value
end

--- KiB by which so many forks of the root here make the group larger, the host's own memory with them.
local function forks(group)
  local root, held = afar.here, {}
  root:fork():exit()
  collectgarbage()
  local before = usage(group)
  for i = 1, COUNT do held[i] = root:fork() end
  collectgarbage()
  local value = (usage(group) - before) / COUNT
  for i = 1, COUNT do held[i]:exit() end
  return value
end

return function()
  local group = new_group()
  if not group then return print "memory of an idle process: no memory cgroup can be made here" end
  local pids = { ffi.C.getpid(), afar.here:getpid() }
  for _, pid in ipairs(pids) do enter(group, pid) end
  measure.row {
    name = "memory of an idle process, kernel and all", unit = "KiB", goal = "under 40 KiB", rounds = 1,
    ours = function() return forks(group) end,
    base = function() return (idle(group, COUNT) - idle(group, 0)) / COUNT end,
  }
  for _, pid in ipairs(pids) do enter({ dir = group.dir .. "/.." }, pid) end
  os.execute(("rmdir %s"):format(group.dir))
end
