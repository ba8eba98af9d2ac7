-- luajit bench/ffi_read.lua FILE: reads it with read(2) through the FFI, into strings of 64 KiB. Prints the seconds.
local ffi = require "ffi"

ffi.cdef [[
int open(const char *path, int flags);
long read(int fd, void *to, size_t length);
struct timespec { long tv_sec, tv_nsec; };
int clock_gettime(int clock, struct timespec *to);
]]

local SIZE = 65536

local function now()
  local ts = ffi.new "struct timespec"
  ffi.C.clock_gettime(1, ts)
  return tonumber(ts.tv_sec) + tonumber(ts.tv_nsec) * 1e-9
end

local fd, buffer = ffi.C.open(arg[1], 0), ffi.new("char[?]", SIZE)
local start, total = now(), 0
while true do
  local count = ffi.C.read(fd, buffer, SIZE)
  if count <= 0 then break end
  total = total + #ffi.string(buffer, count)
end
assert(total > 0)
print(("%.6f"):format(now() - start))
