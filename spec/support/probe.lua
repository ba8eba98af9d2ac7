--- Looks at processes from outside: all that specs reach, by whatever way, runs on this machine.

local afar = require "afar"
local lfs = require "lfs"

local probe = {}

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  return text
end

--- How many fds a process has open.
---@param of integer|afar.Process  its pid; or the process, which is then asked something first: one that was just cloned has begun by then
function probe.fds(of)
  local pid = of
  if type(of) == "table" then
    of:getpid()
    pid = of.pid
  end
  local count = 0
  for name in lfs.dir("/proc/" .. pid .. "/fd") do
    if name ~= "." and name ~= ".." then count = count + 1 end
  end
  return count
end

--- A field of /proc/PID/status, as it stands there; nil when the process is gone.
---@param pid integer
---@param field string
---@return string?
function probe.status(pid, field)
  local text = read("/proc/" .. pid .. "/status")
  return text and ("\n" .. text):match("\n" .. field .. ":%s*([^\n]*)")
end

--- Whether there is such a process, and not only its zombie.
function probe.runs(pid)
  local state = probe.status(pid, "State")
  return state ~= nil and state:sub(1, 1) ~= "Z"
end

--- Whether it has a handler of its own for this signal by now.
---@param number integer
function probe.catches(pid, number)
  local mask = probe.status(pid, "SigCgt")
  return mask and math.floor(tonumber(mask:sub(-8), 16) / 2 ^ (number - 1)) % 2 == 1
end

--- Bytes of memory that a process really has.
function probe.rss(pid) return tonumber(probe.status(pid, "VmRSS"):match "%d+") * 1024 end

--- Whether `f()` comes true within half a minute: much longer than it should take, as a machine may be busy.
---@param f fun(): any
---@param seconds? number
function probe.soon(f, seconds)
  local tries = (seconds or 30) / 0.01
  while not f() do
    tries = tries - 1
    if tries < 0 then return false end
    afar.sleep(0.01)
  end
  return true
end

--- Raises unless the process can wait and work at once: one routine reads what another writes later.
---@param p afar.Process
function probe.works(p)
  local from, to = p:pipe2()
  local got
  afar.nursery(function(n)
    n:spawn(function() got = from:read() end)
    n:spawn(function() to:write "hello world" end)
  end)
  from:close()
  to:close()
  if got ~= "hello world" then error(("%s gave %q"):format(tostring(p), tostring(got)), 2) end
end

--- Until what other routines have begun in the process has come so far that it waits there: what they ask before is answered before.
---@param p afar.Process
function probe.settle(p)
  afar.sleep(0)
  for _ = 1, 4 do p:getpid() end
end

--- What the allocator takes for so many bytes.
local function rounded(size)
  if size > 2048 then return size + (-size) % 4096 end
  local class = 16
  while class < size do
    class = class * 2
  end
  return class
end

--- The environment that is kept from one exec to the next is no leak.
local function kept(space)
  local entry = rawget(space, "environ")
  return entry and rounded(entry.size) or 0
end

local SLACK = 64 -- bytes: the last pointer to something small may be held by a slot that was not used again yet

local function holds_now(p)
  collectgarbage()
  collectgarbage()
  p:getpid() -- what the collector has queued goes first
  p:getpid()
  return { fds = probe.fds(p), memory = p.space.heap:used() - kept(p.space) }
end

local function equal(a, b) return a.fds == b.fds and a.memory == b.memory end

--- Less is no leak: something was still being given back when `before` was taken, or was held by such a slot.
local function no_more(now, before) return now.fds <= before.fds and now.memory <= before.memory + SLACK end

--- What a process holds far away: fds, and bytes of memory handed out. Garbage is collected first, and what is just being given back is
--- waited for: until nothing changes any more. With `before`, until it is no more than that, which is returned then.
---@param p afar.Process
---@param before? { fds: integer, memory: integer }
function probe.holds(p, before)
  local last = holds_now(p)
  for i = 1, before and 1000 or 20 do
    if before and no_more(last, before) then return before end
    afar.sleep(i < 10 and 0.002 or 0.02)
    local now = holds_now(p)
    if not before and equal(now, last) then break end
    last = now
  end
  return last
end

return probe
