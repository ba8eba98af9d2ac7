--- Times: seconds as Lua has them, and struct timespec.

local ffi = require "ffi"

local clock = {}

local MOST = 2 ^ 53

--- Fills a struct timespec; raises what is no time.
---@param timespec ffi.cdata*
---@param seconds number
---@param call string for the error
function clock.fill(timespec, seconds, call)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < -MOST or seconds > MOST then
    error(("%s: a time is a number of seconds, not %s"):format(call, tostring(seconds)), 0)
  end
  local whole = math.floor(seconds)
  local nanoseconds = math.floor((seconds - whole) * 1e9 + 0.5)
  if nanoseconds >= 1e9 then
    whole, nanoseconds = whole + 1, 0
  end
  timespec.tv_sec, timespec.tv_nsec = whole, nanoseconds
end

---@return number seconds
function clock.seconds(timespec) return tonumber(timespec.tv_sec) + tonumber(timespec.tv_nsec) * 1e-9 end

--- The bytes of a struct itimerspec.
---@param sys table of the machine
---@param value number    seconds to the first expiry
---@param interval number seconds between the later ones, 0: there are none
function clock.itimerspec(sys, value, interval, call)
  local spec = ffi.new(sys.ctype.itimerspec)
  clock.fill(spec.it_value, value, call)
  clock.fill(spec.it_interval, interval, call)
  return ffi.string(spec, ffi.sizeof(spec))
end

--- A struct itimerspec's bytes as { it_value = seconds, it_interval = seconds }.
function clock.decode_itimerspec(sys, bytes)
  local spec = ffi.new(sys.ctype.itimerspec)
  ffi.copy(spec, bytes, ffi.sizeof(spec))
  return { it_value = clock.seconds(spec.it_value), it_interval = clock.seconds(spec.it_interval) }
end

return clock
