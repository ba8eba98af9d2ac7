--- CPUs: who may run where, and how much of them somebody has used.

local ffi = require "ffi"

ffi.cdef [[
int sched_setaffinity(int pid, size_t size, const void *mask);
long sysconf(int name);
int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long);
]]

local cpu = {}

local SC_CLK_TCK, SC_NPROCESSORS_ONLN, PR_SET_CHILD_SUBREAPER = 2, 84, 36
local TICKS = tonumber(ffi.C.sysconf(SC_CLK_TCK))

cpu.count = tonumber(ffi.C.sysconf(SC_NPROCESSORS_ONLN))

--- What sched_setaffinity(2) takes: that CPU alone.
function cpu.mask(number) return string.char(2 ^ number) .. ("\0"):rep(7) end

--- From now on this program, and all that it starts, runs on that CPU.
function cpu.stay_on(number) assert(ffi.C.sched_setaffinity(0, 8, cpu.mask(number)) == 0, "no such CPU") end

local function read(path)
  local file = io.open(path)
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return text
end

--- Whoever loses its parent, as a server does that goes to the background, becomes our child: no time is lost.
ffi.C.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

local own_pid = tonumber(read("/proc/self/stat"):match "^%d+")

--- Ticks of a process and of all below it, those that have ended among them.
local function ticks_of(pid)
  local times = "^%d+ %b()" .. (" %S+"):rep(11) .. (" (%d+)"):rep(4) -- user, system, and both of children
  local user, system, children_user, children_system = read(("/proc/%d/stat"):format(pid)):match(times)
  if not user then return 0 end
  local sum = user + system + children_user + children_system
  for child in read(("/proc/%d/task/%d/children"):format(pid, pid)):gmatch "%d+" do sum = sum + ticks_of(child) end
  return sum
end

--- Seconds that this program and all below it have used so far.
function cpu.seconds() return ticks_of(own_pid) / TICKS end

return cpu
