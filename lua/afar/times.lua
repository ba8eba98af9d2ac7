--- utimensat(2) and its kin: the times of files, in seconds.

local ffi = require "ffi"
local clock = require "afar.clock"
local fds = require "afar.fd"
local pointer = require "afar.pointer"
local process = require "afar.process"

local UTIME = { UTIME_NOW = 2 ^ 30 - 1, UTIME_OMIT = 2 ^ 30 - 2 } -- in place of nanoseconds

local function fill(timespec, time, call)
  if UTIME[time] then
    timespec.tv_nsec = UTIME[time]
  else
    clock.fill(timespec, time, call)
  end
end

--- The address of two struct timespec for what the script gave; nil: now (0).
local function record_times(r, times, call)
  if times == nil then return 0 end
  if pointer.is(times) then return times:near(r.process, r) end
  if type(times) ~= "table" or #times ~= 2 then
    error(('%s: { atime, mtime } was expected: seconds, "UTIME_NOW" or "UTIME_OMIT"'):format(call), 0)
  end
  local raw = ffi.new(ffi.typeof("struct { $ a, b; }", r.sys.ctype.timespec))
  fill(raw.a, times[1], call)
  fill(raw.b, times[2], call)
  return r:bytes(ffi.string(raw, ffi.sizeof(raw)))
end

local function record(r, call, dirfd, path, times, flags)
  local at = path and r:string(path) or 0
  local ref = r:call("utimensat", { as = call }, dirfd, at, record_times(r, times, call), flags)
  return function() end, ref
end

--- dirfd:utimensat(path, { atime, mtime }, flags): sets the times of a file; see utimensat(2). Times are seconds since the epoch, "UTIME_NOW" or
--- "UTIME_OMIT" (leave it); without them: now. flags: "AT_SYMLINK_NOFOLLOW". (A number of seconds is exact to about a quarter of a microsecond.)
fds.define_recorded("utimensat", function(r, dirfd, path, times, flags)
  return record(r, "utimensat", fds.near(dirfd, r.process, "utimensat"), path, times, r.sys:const(flags, "AT_", "utimensat"))
end)

--- fd:futimens({ atime, mtime }): of the file that is open; see futimens(3).
fds.define_recorded("futimens", function(r, fd, times)
  return record(r, "futimens", fds.near(fd, r.process, "futimens"), nil, times, 0)
end)

--- p:utimes(path, { atime, mtime }), p:lutimes(path, ...) of a symbolic link itself: as utimensat; see utimes(2).
process.define_recorded("utimes", function(r, _, path, times) return record(r, "utimes", r.sys.C.AT_FDCWD, path, times, 0) end)

process.define_recorded("lutimes", function(r, _, path, times)
  return record(r, "lutimes", r.sys.C.AT_FDCWD, path, times, r.sys.C.AT_SYMLINK_NOFOLLOW)
end)
