--- Waiting for any number of fds of a process at once. A stub keeps few requests aside, so only the first waits are holds of their own;
--- all others share one epoll instance of the process, and the one hold on that.

local ffi = require "ffi"
local requests = require "afar.requests"
local errors = require "afar.error"
local loop = require "afar.loop"
local sched = require "afar.sched"

local watch = {}

local POLLIN = 1
local ALWAYS = { 8, 16 } -- POLLERR, POLLHUP: reported whether asked for or not
local EVENTS = 32 -- taken at once

---@class afar.Watch
---@field process afar.Process
---@field epoll integer            its number
---@field entries table<integer, table>  by fd: { id, waiters }
local Watch = {}
Watch.__index = Watch

local next_id = 0

-- ---- telling the kernel ----

--- An epoll_event, as the machine has it.
local function event(machine, events, id)
  local value = ffi.new(machine.sys.ctype.epoll_event)
  value.events, value.data = events, id
  return ffi.string(value, ffi.sizeof(value))
end

local function has(events, bit) return events % (2 * bit) >= bit end

local function union(waiters)
  local all = 0
  for waiter in pairs(waiters) do
    for i = 0, 13 do
      if has(waiter.events, 2 ^ i) and not has(all, 2 ^ i) then all = all + 2 ^ i end
    end
  end
  return all
end

--- Arms an fd for what its waiters want, once. Returns the kernel's answer; or nil, and what became of the call as the process has ended. Never
--- raises: others wait for who calls it.
local function arm(self, fd, entry)
  local C = self.process.machine.sys.C
  local r = requests.record(self.process)
  local at = r:bytes(event(self.process.machine, union(entry.waiters) + C.EPOLLONESHOT, entry.id))
  local added = r:call("epoll_ctl", { may_fail = true, aside = true }, self.epoll, C.EPOLL_CTL_ADD, fd, at)
  local changed = r:call("epoll_ctl", { may_fail = true, if_failed = added }, self.epoll, C.EPOLL_CTL_MOD, fd, at)
  if not pcall(r.submit, r) then return nil, "unsent" end
  local fate = r:wait()
  if fate then return nil, fate end
  local result = r:result(added)
  return result == -C.EEXIST and r:result(changed) or result
end

local function disarm(self, fd)
  local r = requests.record(self.process)
  r:call("epoll_ctl", { may_fail = true }, self.epoll, r.sys.C.EPOLL_CTL_DEL, fd, r:bytes(("\0"):rep(16)))
  if not pcall(r.submit, r) then return end
  sched.start(r.wait, r)
end

-- ---- waiters ----

local function answer(waiter, events)
  if waiter.events_seen then return end
  waiter.events_seen = events
  loop.complete(waiter.completion)
end

--- Takes a waiter off its fd's list; the fd too, when it was the last.
local function leave(self, fd, entry, waiter)
  entry.waiters[waiter] = nil
  waiter.table.holds[fd][waiter] = nil -- which the process may have left
  if next(entry.waiters) or self.entries[fd] ~= entry then return end
  self.entries[fd] = nil
  if self.process:is_alive() and not waiter.closed then disarm(self, fd) end
  if not next(self.entries) and self.hold then self.hold:end_hold() end
end

local function wants(waiter, events)
  for i = 0, 13 do
    if has(events, 2 ^ i) and has(waiter.events, 2 ^ i) then return true end
  end
  return has(events, ALWAYS[1]) or has(events, ALWAYS[2])
end

--- One waiter goes on for each event, as what is there may be enough for one only; all of them at an error or hang-up.
local function wake(entry, events)
  local over = has(events, ALWAYS[1]) or has(events, ALWAYS[2])
  for waiter in pairs(entry.waiters) do
    if not waiter.events_seen and wants(waiter, events) then
      answer(waiter, events)
      if not over then break end
    end
  end
  for waiter in pairs(entry.waiters) do
    if not waiter.events_seen then return true end
  end
end

local function dispatch(self, id, events)
  for fd, entry in pairs(self.entries) do
    if entry.id == id then return wake(entry, events) and arm(self, fd, entry) end
  end
end

local function fail_all(self)
  for _, entry in pairs(self.entries) do
    for waiter in pairs(entry.waiters) do answer(waiter, false) end
  end
end

--- One hold for all; as long as there is a waiter.
local function serve(self)
  local machine = self.process.machine
  local size = ffi.sizeof(machine.sys.ctype.epoll_event)
  while next(self.entries) do
    local r = requests.record(self.process)
    local at = r:scratch(EVENTS * size)
    r.direct = true
    r:hold(self.epoll, POLLIN)
    local count = r:call("epoll_pwait", nil, self.epoll, at, EVENTS, 0, 0, 8)
    local data = r:fetch_of(count, at, EVENTS * size)
    self.hold = r
    if not pcall(r.submit, r) or r:wait() then break end
    local bytes = r:data(data) or ""
    for i = 0, math.min(r:result(count) or 0, #bytes / size) - 1 do
      local value = ffi.new(machine.sys.ctype.epoll_event)
      ffi.copy(value, bytes:sub(i * size + 1), size)
      dispatch(self, tonumber(value.data), value.events)
    end
  end
  self.hold = nil
  fail_all(self)
end

--- The instance is kept only as long as somebody waits.
local function start(self)
  if self.running then return end
  self.running = true
  sched.start(function()
    serve(self)
    rawset(self.process, "watch", nil)
    if not self.process:is_alive() then return end
    self.process.table.internal[self.epoll] = nil
    self.process:syscall("close", self.epoll)
  end)
end

-- ---- waiting ----

--- Nobody who has asked for the instance wants it any more: it is closed.
local function close_unwanted(self)
  if self.wanted == 0 and self.epoll and not next(self.entries) then start(self) end
end

--- By one of several that want it at once.
local function make(self)
  local process = self.process
  while not self.epoll do
    local making = self.making
    if not making then
      making = sched.start(function()
        self.epoll = process:syscall("epoll_create1", process.machine.sys.C.EPOLL_CLOEXEC)
        process.table.internal[self.epoll] = true
        close_unwanted(self)
      end)
      self.making = making
    end
    sched.join(making)
    if self.making == making then self.making = nil end -- whoever has begun it may have been cancelled
    if not making.ok then error(making.values[1], 0) end
  end
end

--- The process's own; made at first use.
local function of(process)
  local self = rawget(process, "watch")
  if not self then
    self = setmetatable({ process = process, entries = {}, wanted = 0 }, Watch)
    rawset(process, "watch", self)
  end
  self.wanted = self.wanted + 1
  local ok, err = pcall(make, self)
  self.wanted = self.wanted - 1
  if ok then return self end
  close_unwanted(self)
  error(err, 0)
end

local function join(self, fd, events)
  next_id = next_id + 1
  local entry = self.entries[fd] or { id = next_id, waiters = {} }
  local waiter = { events = events, completion = loop.id(), table = self.process.table }
  function waiter.end_hold()
    waiter.closed = true
    answer(waiter, false)
  end
  self.entries[fd] = entry
  entry.waiters[waiter] = true
  local holds = self.process.table.holds
  holds[fd] = holds[fd] or setmetatable({}, { __mode = "k" })
  holds[fd][waiter] = true
  return entry, waiter
end

--- Waits until poll(2) would report one of `events` on the fd number; returns what it reports. A regular file, which epoll refuses, is always ready.
--- Raises when the process has gone, or the fd was closed meanwhile.
---@param process afar.Process
---@param fd integer
---@param events integer  POLLIN, POLLOUT ...
---@param call? string    for the error
---@return integer events
function watch.wait(process, fd, events, call)
  local self = of(process)
  local entry, waiter = join(self, fd, events)
  local ok, err = pcall(function()
    local C = process.machine.sys.C
    local result, fate = arm(self, fd, entry)
    if not result then error(errors.lost(process, call or "poll", { fd }, fate), 0) end
    if result == -C.EPERM then return answer(waiter, events) end
    if result < 0 then error(errors.errno(process, call or "poll", { fd }, -result), 0) end
    start(self)
    sched.wait(waiter.completion, function() return true end)
  end)
  leave(self, fd, entry, waiter)
  if not ok then error(err, 0) end
  if waiter.events_seen then return waiter.events_seen end
  if waiter.closed then error(errors.new(process, call or "poll", { fd }, "the fd was closed meanwhile", { name = "EBADF" }), 0) end
  error(errors.lost(process, call or "poll", { fd }, "eof"), 0)
end

requests.crowded_wait = watch.wait

local After = {}
After.__index = After

--- Does not wait for the event any longer. What was recorded with `always` is performed.
function After:now()
  if self.routine then return sched.cancel(self.routine, "now") end
  if self.recorder then self.recorder:end_hold() end
end

--- Waits with the others, as a routine of its own.
local function after_others(r, record, done)
  local sent = pcall(r.submit, r)
  if not sent then -- closed meanwhile, or cancelled: what is to be done in any case is done at once
    r = requests.record(r.process)
    record(r)
    sent = pcall(r.submit, r)
  end
  if sent then r:wait() end
  if done then done() end
end

--- Once the event is there, what `record(r)` records is performed; nobody waits for it. May be called by the garbage collector: `record`
--- takes no memory.
---@param process afar.Process
---@param record fun(r: afar.Recorder)
---@param done? fun()  called from the loop once that was answered, or the process has ended; it must not wait
function watch.after(process, fd, events, record, done)
  local r = requests.record(process)
  r:hold(fd, events)
  record(r)
  if r.count > requests.room(process) then
    return setmetatable({ routine = sched.start(after_others, r, record, done) }, After)
  end
  r.slots = r.count
  return setmetatable({ recorder = requests.submit_unwatched(r, done) }, After)
end

return watch
