--- eventfd(2): a counter in the kernel, which coroutines and processes wait for.

local bit = require "bit"
local counter = require "afar.counter"
local fds = require "afar.fd"
local io = require "afar.io"
local process = require "afar.process"

--- p:eventfd(initval, flags): a counter; see eventfd(2). initval: 0 to 2^32 - 1 (default 0); flags: "EFD_SEMAPHORE". EFD_CLOEXEC and
--- EFD_NONBLOCK are added: reads wait here, not in the process.
---@return afar.Fd
process.define_recorded("eventfd", function(r, _, initval, flags)
  initval = initval or 0
  if type(initval) ~= "number" or initval < 0 or initval >= 2 ^ 32 or initval % 1 ~= 0 then
    error(("eventfd: the count starts with a number from 0 to 2^32 - 1, not %s"):format(tostring(initval)), 0)
  end
  local C = r.sys.C
  flags = tonumber(bit.bor(r.sys:const(flags, "EFD_", "eventfd"), C.EFD_CLOEXEC, C.EFD_NONBLOCK))
  local ref = r:call("eventfd2", { as = "eventfd" }, initval, flags)
  return function(r_) return fds.new(r_.process, r_:result(ref), "device") end, ref
end)

local function record_read(r, fd) return counter.record_read(r, fd, "eventfd_read") end

--- fd:eventfd_read(): waits until the count isn't 0, and takes it: all, or with EFD_SEMAPHORE 1 of it; see eventfd_read(3). A
--- number; above 2^53 a uint64_t.
---@return number|ffi.cdata*
fds.define("eventfd_read", function(self) return io.until_done(record_read, self) end, record_read)

--- fd:eventfd_write(value): adds to the count; see eventfd_write(3). EAGAIN when it would be more than 2^64 - 2.
---@param value number|ffi.cdata*
fds.define_recorded("eventfd_write", function(r, fd, value)
  local number = fds.near(fd, r.process, "eventfd_write")
  local bytes = r:bytes(counter.encode(value, "eventfd_write"))
  local ref = r:call("write", { as = "eventfd_write" }, number, bytes, 8)
  return function() end, ref
end)
