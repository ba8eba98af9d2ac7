--- Control messages as values, and as the bytes that sendmsg(2) and recvmsg(2) take and give; see cmsg(3).
---
---   { type = "SCM_RIGHTS", fds = { fd, ... } }                        unix(7)
---   { type = "SCM_CREDENTIALS", pid =, uid =, gid = }
---   { type = "IP_PKTINFO", ifindex =, spec_dst =, addr = }            ip(7)
---   { type = "IPV6_PKTINFO", addr =, ifindex = }                      ipv6(7)
---   { type = "IP_TTL", value = 3 }, and others that are a number; SCM_TIMESTAMP, SCM_TIMESTAMPNS: seconds
---   { type = "IP_RECVERR", errno =, origin =, code =, offender = address ... }
---   { level =, type =, data = bytes }                                 any other

local ffi = require "ffi"
local address = require "afar.address"
local errors = require "afar.error"
local fds = require "afar.fd"
local inet = require "afar.inet"

local cmsg = {}

local HEADER = 16 -- struct cmsghdr: a u64 length, two i32
local RIGHTS_MOST = 253 -- SCM_MAX_FD

---@class afar.ControlMessage
---@field type string|integer   "SCM_RIGHTS" ...
---@field level? integer        of one that isn't known by name
---@field data? string
---@field fds? afar.Fd[]
---@field value? number

local function i32(value) return ffi.string(ffi.new("int32_t[1]", value), 4) end

--- What isn't there is 0.
local function number_at(bytes, at, box, size)
  local part = bytes:sub(at, at + size - 1)
  ffi.copy(box, part, #part)
  return tonumber(box[0])
end

local function to_i32(bytes, at) return number_at(bytes, at or 1, ffi.new "int32_t[1]", 4) end
local function to_i64(bytes, at) return number_at(bytes, at, ffi.new "int64_t[1]", 8) end

-- ---- the types that are known ----
-- encode(r, message) gives the data's bytes, nil when the message isn't right; decode(r, bytes) its fields. A type without encode is
-- only received.

local types = {}

local function near_of(r, fd)
  local number = fds.near(fd, r.process, "sendmsg")
  if type(number) ~= "number" then
    error("sendmsg: an fd that the same chain opens can't be passed: its number is not known yet", 0)
  end
  r:pin(fd)
  return number
end

types.SCM_RIGHTS = {
  level = "SOL_SOCKET",
  words = "fds = a list of 1 to 253 fds",
  encode = function(r, message)
    local list = message.fds
    if type(list) ~= "table" or fds.Fd == getmetatable(list) or #list < 1 or #list > RIGHTS_MOST then return nil end
    local parts = {}
    for i, fd in ipairs(list) do parts[i] = i32(near_of(r, fd)) end
    return table.concat(parts)
  end,
  decode = function(r, bytes)
    local list = {}
    for at = 1, #bytes - 3, 4 do
      local fd = fds.new(r.process, to_i32(bytes, at))
      fd.state.foreign = true
      list[#list + 1] = fd
    end
    return { fds = list }
  end,
}

types.SCM_PIDFD = {
  level = "SOL_SOCKET",
  decode = function(r, bytes) return { fd = fds.new(r.process, to_i32(bytes)) } end,
}

types.SCM_CREDENTIALS = {
  level = "SOL_SOCKET",
  words = "pid, uid, gid",
  encode = function(r, message)
    if not (message.pid and message.uid and message.gid) then return nil end
    local s = ffi.new(r.sys.ctype.ucred, message.pid, message.uid, message.gid)
    return ffi.string(s, ffi.sizeof(s))
  end,
  decode = function(_, bytes)
    return { pid = to_i32(bytes), uid = to_i32(bytes, 5) % 2 ^ 32, gid = to_i32(bytes, 9) % 2 ^ 32 }
  end,
}

types.IP_PKTINFO = {
  level = "IPPROTO_IP",
  words = "ifindex, spec_dst and addr, which are IPv4 addresses",
  encode = function(_, message)
    local source, destination = inet.v4(message.spec_dst or "0.0.0.0"), inet.v4(message.addr or "0.0.0.0")
    if not source or not destination then return nil end
    return i32(message.ifindex or 0) .. source .. destination
  end,
  decode = function(_, bytes)
    return { ifindex = to_i32(bytes), spec_dst = inet.v4_text(bytes:sub(5, 8)), addr = inet.v4_text(bytes:sub(9, 12)) }
  end,
}

types.IPV6_PKTINFO = {
  level = "IPPROTO_IPV6",
  words = "addr, an IPv6 address, and ifindex",
  encode = function(_, message)
    local bytes = inet.v6(message.addr or "::")
    return bytes and bytes .. i32(message.ifindex or 0)
  end,
  decode = function(_, bytes) return { addr = inet.v6_text(bytes:sub(1, 16)), ifindex = to_i32(bytes, 17) } end,
}

local function seconds(divisor)
  return function(_, bytes) return { value = to_i64(bytes, 1) + to_i64(bytes, 9) / divisor } end
end
types.SCM_TIMESTAMP = { level = "SOL_SOCKET", decode = seconds(1e6) }
types.SCM_TIMESTAMPNS = { level = "SOL_SOCKET", decode = seconds(1e9) }

types.SCM_SECURITY = { level = "SOL_SOCKET", decode = function(_, bytes) return { value = bytes:match "^[^%z]*" } end }

types.IP_ORIGDSTADDR = {
  level = "IPPROTO_IP",
  decode = function(r, bytes) return { address = address.unpack(r.sys, bytes) } end,
}

--- struct sock_extended_err, and the address of who reported it; see IP_RECVERR in ip(7).
local function extended_error(r, bytes)
  return {
    errno = to_i32(bytes), name = r.sys.errno[to_i32(bytes)], origin = bytes:byte(5), ee_type = bytes:byte(6), code = bytes:byte(7),
    info = to_i32(bytes, 9) % 2 ^ 32, offender = address.unpack(r.sys, bytes:sub(17)),
  }
end
types.IP_RECVERR = { level = "IPPROTO_IP", decode = extended_error }
types.IPV6_RECVERR = { level = "IPPROTO_IPV6", decode = extended_error }

--- Types that are one number of so many bytes.
local function define_numbers(level, size, names)
  for name in names:gmatch "%S+" do
    types[name] = {
      level = level,
      words = "value = a number",
      encode = function(_, message)
        if type(message.value) ~= "number" then return nil end
        return i32(message.value):sub(1, size)
      end,
      decode = function(_, bytes)
        local number = 0
        for i = math.min(#bytes, 4), 1, -1 do number = number * 256 + bytes:byte(i) end
        return { value = number }
      end,
    }
  end
end
define_numbers("IPPROTO_IP", 4, "IP_TTL IP_TOS")
define_numbers("IPPROTO_IPV6", 4, "IPV6_HOPLIMIT IPV6_TCLASS")
define_numbers("IPPROTO_UDP", 2, "UDP_SEGMENT")
define_numbers("IPPROTO_UDP", 4, "UDP_GRO")
define_numbers("SOL_SOCKET", 4, "SO_RXQ_OVFL SO_MARK")

-- ---- to and from bytes ----

local function bad(r, message) error(errors.new(r.process, "sendmsg", nil, message), 0) end

local function encode_one(r, message)
  if type(message) ~= "table" then bad(r, ("a control message is a table, not %s"):format(type(message))) end
  local known = types[message.type]
  if message.data then
    if not known and message.level == nil then bad(r, "a control message with data needs a level and a type") end
    local level = r.sys:const(message.level or known.level, "SOL_", "sendmsg")
    return level, r.sys:const(message.type, "SCM_", "sendmsg"), message.data
  end
  if not known or not known.encode then
    bad(r, ("there is no control message %s to be sent by name; give level, type and data"):format(tostring(message.type)))
  end
  local data = known.encode(r, message)
  if not data then bad(r, ("the control message %s needs %s"):format(message.type, known.words)) end
  return r.sys.C[known.level], r.sys.C[message.type], data
end

--- The bytes of a list of control messages.
---@param r afar.Recorder  the fds in them are its process's
---@param list afar.ControlMessage[]
---@return string
function cmsg.encode(r, list)
  local parts = {}
  for _, message in ipairs(list) do
    local level, type_, data = encode_one(r, message)
    local header = ffi.new(r.sys.ctype.cmsghdr, HEADER + #data, level, type_)
    parts[#parts + 1] = ffi.string(header, HEADER) .. data .. ("\0"):rep(-#data % 8)
  end
  return table.concat(parts)
end

local function decode_one(r, level, type_, bytes)
  for name, known in pairs(types) do
    if r.sys.C[name] == type_ and r.sys.C[known.level] == level and known.decode then
      local message = known.decode(r, bytes)
      message.type = name
      return message
    end
  end
  return { level = level, type = type_, data = bytes }
end

--- The control messages in bytes that recvmsg(2) gave. Fds among them become handles of the recorder's process.
---@param r afar.Recorder
---@param bytes string
---@return afar.ControlMessage[]
function cmsg.decode(r, bytes)
  local list, at = {}, 1
  while at + HEADER - 1 <= #bytes do
    local length = to_i64(bytes, at)
    if length < HEADER or at + length - 1 > #bytes then break end
    list[#list + 1] = decode_one(r, to_i32(bytes, at + 8), to_i32(bytes, at + 12), bytes:sub(at + HEADER, at + length - 1))
    at = at + length + -length % 8
  end
  return list
end

return cmsg
