--- timerfd_create(2), timerfd_settime(2), timerfd_gettime(2): timers of a process, with times in seconds.

local bit = require "bit"
local ffi = require "ffi"
local clock = require "afar.clock"
local counter = require "afar.counter"
local fds = require "afar.fd"
local io = require "afar.io"
local pointer = require "afar.pointer"
local process = require "afar.process"

--- p:timerfd_create(clockid, flags): a timer; see timerfd_create(2). clockid: default "CLOCK_MONOTONIC". TFD_CLOEXEC and TFD_NONBLOCK are
--- added: reads wait here, not in the process.
---@param clockid? string|integer
---@return afar.Fd
process.define_recorded("timerfd_create", function(r, _, clockid, flags)
  local C = r.sys.C
  flags = tonumber(bit.bor(r.sys:const(flags, "TFD_", "timerfd_create"), C.TFD_CLOEXEC, C.TFD_NONBLOCK))
  local ref = r:call("timerfd_create", nil, r.sys:const(clockid or "CLOCK_MONOTONIC", "CLOCK_", "timerfd_create"), flags)
  return function(r_) return fds.new(r_.process, r_:result(ref), "device") end, ref
end)

local function new_value(r, value)
  local call = "timerfd_settime"
  if type(value) == "number" then return clock.itimerspec(r.sys, value, 0, call) end
  if type(value) ~= "table" then
    error(("%s: seconds, or { it_value = seconds, it_interval = seconds }, were expected, not %s"):format(call, type(value)), 0)
  end
  return clock.itimerspec(r.sys, value.it_value or 0, value.it_interval or 0, call)
end

local function fetch(r, at, ref)
  local data = r:fetch_of(ref, at, ffi.sizeof(r.sys.ctype.itimerspec))
  return function(r_) return clock.decode_itimerspec(r_.sys, r_:data(data)) end, ref
end

--- fd:timerfd_settime(flags, new_value): starts the timer, or stops it (0); see timerfd_settime(2). flags: "TFD_TIMER_ABSTIME", or nil; new_value:
--- seconds to its expiry, or { it_value = seconds, it_interval = seconds }. Returns what was set before, as such a table.
--- With pointers: fd:timerfd_settime(flags, new_pointer, old_pointer), exactly the call.
fds.define_recorded("timerfd_settime", function(r, fd, flags, value, old)
  local number = fds.near(fd, r.process, "timerfd_settime")
  flags = r.sys:const(flags, "TFD_TIMER_", "timerfd_settime")
  if pointer.is(value) then
    local near = old and old:near(r.process, r) or 0
    local ref = r:call("timerfd_settime", nil, number, flags, value:near(r.process, r), near)
    return function() return old end, ref
  end
  local at = r:scratch(ffi.sizeof(r.sys.ctype.itimerspec))
  return fetch(r, at, r:call("timerfd_settime", nil, number, flags, r:bytes(new_value(r, value)), at))
end)

--- fd:timerfd_gettime(): { it_value = seconds to the next expiry (0: none), it_interval = seconds }; see timerfd_gettime(2).
fds.define_recorded("timerfd_gettime", function(r, fd, ptr)
  local number = fds.near(fd, r.process, "timerfd_gettime")
  if pointer.is(ptr) then
    local ref = r:call("timerfd_gettime", nil, number, ptr:near(r.process, r))
    return function() return ptr end, ref
  end
  local at = r:scratch(ffi.sizeof(r.sys.ctype.itimerspec))
  return fetch(r, at, r:call("timerfd_gettime", nil, number, at))
end)

local function record_expirations(r, fd) return counter.record_read(r, fd, "expirations") end

--- fd:expirations(): waits until the timer has expired, and says how often it did since that was asked last. ECANCELED: the clock was set
--- (TFD_TIMER_CANCEL_ON_SET).
---@return number
fds.define("expirations", function(self) return io.until_done(record_expirations, self) end, record_expirations)
