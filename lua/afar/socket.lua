--- Sockets: making them, their names, and what they are set to. Connections: connection.lua; bytes: transfer.lua; messages with more
--- than bytes in them: message.lua.

local bit = require "bit"
local address = require "afar.address"
local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local paths = require "afar.path"
local pointer = require "afar.pointer"
local process = require "afar.process"
local sockopt = require "afar.sockopt"

local socket = {}

local NAME_MOST = 128 -- struct sockaddr_storage
local EMPTY = ""

--- The number of flags that the script gave, with others added.
function socket.flags(r, flags, prefix, call, more) return tonumber(bit.bor(r.sys:const(flags, prefix, call), more)) end

local function fail(p, call, args, message, fields) error(errors.new(p, call, args, message, fields), 0) end

local function number_of(ref) return function(r) return r:result(ref) end, ref end

-- ---- addresses in memory ----

--- The bytes of an address that the script gave; its mistakes are errors of `call`.
local function packed(p, call, value)
  local ok, bytes = pcall(address.pack, p.machine.sys, value)
  if not ok then fail(p, call, { value }, bytes) end
  return bytes
end

--- Address and length of a name: of a pointer's memory, or of what is put there.
function socket.store_name(r, call, value)
  if pointer.is(value) then return value:near(r.process, r), value.size end
  local bytes = packed(r.process, call, value)
  return r:bytes(bytes), #bytes
end

--- Room for a name, and for its length; and what brings it once `record(name, length)` was performed.
function socket.name_room(r)
  local name, length = r:scratch(NAME_MOST), r:bytes("\128\0\0\0")
  return name, length, function(after)
    local data = r:fetch_of(after, name, requests.load32(length, after), NAME_MOST)
    return function(r_) return address.unpack(r_.sys, r_:data(data) or EMPTY) end
  end
end

-- ---- making ----

local function protocol_number(r, domain, protocol)
  local number = r.sys:const(protocol, "IPPROTO_", "socket")
  if domain ~= r.sys.C.AF_PACKET then return number end
  return number % 256 * 256 + (number - number % 256) / 256
end

--- p:socket(domain, type, protocol): see socket(2). Default type SOCK_STREAM, protocol 0. Close-on-exec. For AF_PACKET the protocol is an
--- ETH_P_ in the host's byte order.
---@param domain string|integer  "AF_INET"
---@param type_? string|integer  "SOCK_DGRAM"
---@param protocol? string|integer
---@return afar.Fd
process.define_recorded("socket", function(r, _, domain, type_, protocol)
  if domain == nil then error('socket: a domain was expected: "AF_INET", "AF_INET6", "AF_UNIX" ...', 0) end
  domain = r.sys:const(domain, "AF_", "socket")
  local kind = socket.flags(r, type_ or "SOCK_STREAM", "SOCK_", "socket", r.sys.C.SOCK_CLOEXEC)
  local ref = r:call("socket", nil, domain, kind, protocol_number(r, domain, protocol))
  return function(r_) return fds.new(r_.process, r_:result(ref), "socket") end, ref
end)

-- ---- names ----

local function record_name(r, call, fd, name, length)
  local number = fds.near(fd, r.process, call)
  if pointer.is(name) then
    local ref = r:call(call, nil, number, name:near(r.process, r), length:near(r.process, r))
    return number_of(ref)
  end
  local at, length_at, bring = socket.name_room(r)
  local ref = r:call(call, nil, number, at, length_at)
  return bring(ref), ref
end

--- fd:getsockname(): the address that the socket is bound to; see getsockname(2).
--- fd:getsockname(pointer, length_pointer): the system call.
---@return afar.Address
fds.define_recorded("getsockname", function(r, fd, ...) return record_name(r, "getsockname", fd, ...) end)

--- fd:getpeername(): the address of the other end; see getpeername(2).
--- fd:getpeername(pointer, length_pointer): the system call.
---@return afar.Address
fds.define_recorded("getpeername", function(r, fd, ...) return record_name(r, "getpeername", fd, ...) end)

-- ---- unix sockets whose path is too long for an address ----

function socket.too_long(value)
  local ok, a = pcall(address.of, value)
  return ok and a.path and #a.path > address.PATH_MOST and a or nil
end

--- Calls `f(name)` with a short path for a long one: by the directory, which is open meanwhile, under /proc/self/fd.
function socket.with_short_path(p, call, long, f)
  local dir, name = paths.dirname(long.path), paths.basename(long.path)
  if #name > address.PATH_MOST - #"/proc/self/fd/2147483647/" then
    fail(p, call, { long }, ("the socket's name alone has %d bytes"):format(#name))
  end
  local fd = p:open(dir, "O_PATH|O_DIRECTORY")
  local ok, result = pcall(f, { family = "AF_UNIX", path = ("/proc/self/fd/%d/%s"):format(fd.number, name) })
  fd:close()
  if not ok then error(result, 0) end
  return result
end

-- ---- bind, listen ----

local function record_bind(r, fd, value)
  if not pointer.is(value) and socket.too_long(value) then
    fail(r.process, "bind", { value }, "within a chain a path has at most 107 bytes")
  end
  local number = fds.near(fd, r.process, "bind")
  local at, length = socket.store_name(r, "bind", value)
  local ref = r:call("bind", nil, number, at, length)
  if pointer.is(value) then return number_of(ref) end
  local name, length_at, bring = socket.name_room(r)
  return bring(r:call("getsockname", nil, number, name, length_at)), ref
end

--- One chain that `f(r, fd, ...)` records, made at once.
function socket.run(f, self, ...)
  local r = requests.record(fds.process_of(self))
  r.args = { n = 1 + select("#", ...), self, ... }
  r:pin(self)
  return process.finish(r, f(r, self, ...))
end

--- fd:bind(address): see bind(2). Returns the address that it is bound to then: with the port that the kernel chose for port 0, the
--- name that it chose for { family = "AF_UNIX" }. Paths of unix sockets may be longer than the 107 bytes of their addresses.
--- fd:bind(pointer): the system call, with the pointer's memory as the address.
---@param value string|table|afar.Address|afar.Pointer
---@return afar.Address
fds.define("bind", function(self, value)
  local long = not pointer.is(value) and socket.too_long(value)
  if not long then return socket.run(record_bind, self, value) end
  socket.with_short_path(fds.process_of(self), "bind", long, function(name) return socket.run(record_bind, self, name) end)
  return long
end, record_bind)

--- fd:listen(backlog): see listen(2). Default SOMAXCONN (4096; the kernel takes less where net.core.somaxconn says so).
fds.define_recorded("listen", function(r, fd, backlog)
  backlog = backlog or r.sys.C.SOMAXCONN
  if type(backlog) ~= "number" then error(("listen: a number was expected, not %s"):format(tostring(backlog)), 0) end
  return number_of(r:call("listen", nil, fds.near(fd, r.process, "listen"), backlog))
end)

--- fd:shutdown(how): "SHUT_RD", "SHUT_WR", "SHUT_RDWR"; see shutdown(2).
fds.define_recorded("shutdown", function(r, fd, how)
  if how == nil then error('shutdown: "SHUT_RD", "SHUT_WR" or "SHUT_RDWR" was expected', 0) end
  return number_of(r:call("shutdown", nil, fds.near(fd, r.process, "shutdown"), r.sys:const(how, "SHUT_", "shutdown")))
end)

-- ---- options ----

--- fd:setsockopt(level, option, value), or without the level, which most options' names tell: fd:setsockopt("SO_REUSEADDR", true). Booleans
--- and numbers as the option needs; SO_LINGER: seconds or false; SO_RCVTIMEO: seconds; memberships: { multiaddr =, ifindex = }; any
--- option: a string of bytes, or a pointer. See setsockopt(2).
fds.define_recorded("setsockopt", function(r, fd, ...)
  local number = fds.near(fd, r.process, "setsockopt")
  local option, taken = sockopt.of(r.sys, "setsockopt", ...)
  local value = select(taken + 1, ...)
  if pointer.is(value) then
    return number_of(r:call("setsockopt", nil, number, option.level, option.number, value:near(r.process, r), value.size))
  end
  local bytes = sockopt.encode(r.sys, option, value)
  return number_of(r:call("setsockopt", nil, number, option.level, option.number, r:bytes(bytes), #bytes))
end)

local function little_endian(value)
  local low = value % 65536
  local high = (value - low) / 65536
  return string.char(low % 256, (low - low % 256) / 256, high % 256, (high - high % 256) / 256)
end

--- fd:getsockopt(level, option), or without the level: the value, as setsockopt takes it. SO_PEERCRED: { pid =, uid =, gid = }.
--- fd:getsockopt(level, option, pointer, length_pointer): the system call. See getsockopt(2).
fds.define_recorded("getsockopt", function(r, fd, ...)
  local number = fds.near(fd, r.process, "getsockopt")
  local option, taken = sockopt.of(r.sys, "getsockopt", ...)
  local value, value_length = select(taken + 1, ...)
  if pointer.is(value) then
    local at, length_at = value:near(r.process, r), value_length:near(r.process, r)
    return number_of(r:call("getsockopt", nil, number, option.level, option.number, at, length_at))
  end
  local size = sockopt.size(r.sys, option)
  local at, length = r:scratch(size), r:bytes(little_endian(size))
  local ref = r:call("getsockopt", nil, number, option.level, option.number, at, length)
  local data = r:fetch_of(ref, at, requests.load32(length, ref), size)
  return function(r_) return sockopt.decode(r_.sys, option, r_:data(data)) end, ref
end)


return socket
