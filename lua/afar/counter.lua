--- The 8 bytes that eventfd, timerfd and others give: a count, as a number; where that would not be exact, as uint64_t.

local ffi = require "ffi"
local fds = require "afar.fd"

local counter = {}

---@param bytes string
---@return number|ffi.cdata*
function counter.decode(bytes)
  local word = ffi.new "uint64_t[1]"
  ffi.copy(word, bytes, 8)
  local number = tonumber(word[0])
  return number <= 2 ^ 53 and number or word[0]
end

--- The 8 bytes of a count; raises what can't be one.
---@param value number|ffi.cdata*
---@param call string
function counter.encode(value, call)
  local whole = type(value) == "cdata" or type(value) == "number" and value >= 0 and value < 2 ^ 64 and value % 1 == 0
  if not whole then error(("%s: %s is no count"):format(call, tostring(value)), 0) end
  return ffi.string(ffi.new("uint64_t[1]", ffi.cast("uint64_t", value)), 8)
end

--- Waits for the count of an fd, and takes it.
function counter.record_read(r, fd, call)
  local number = fds.near(fd, r.process, call)
  local at = r:scratch(8)
  r:hold(number, 1, { as = call })
  local ref = r:call("read", { as = call, expect = 8 }, number, at, 8)
  local data = r:fetch_of(ref, at, 8)
  return function(r_) return counter.decode(r_:data(data)) end, ref
end

return counter
