--- Options of sockets by name: which level each belongs to, and how its value looks in Lua; see socket(7), ip(7), ipv6(7), tcp(7),
--- udp(7), packet(7), netlink(7), unix(7), vsock(7).

local ffi = require "ffi"
local inet = require "afar.inet"
local nearest = require "afar.nearest"

local sockopt = {}

-- ---- the kinds of values ----
-- encode(sys, value) gives bytes, or nil where the value isn't one of the kind; decode(sys, bytes) the reverse. size: bytes that
-- the kernel is asked for. words: for errors.

local kinds = {}

local function of_struct(name, words, fill, read)
  kinds[name] = {
    words = words,
    size = function(sys) return ffi.sizeof(sys.ctype[name]) end,
    encode = function(sys, value)
      local s = ffi.new(sys.ctype[name])
      if fill(s, value) == false then return nil end
      return ffi.string(s, ffi.sizeof(s))
    end,
    decode = function(sys, bytes)
      local s = ffi.new(sys.ctype[name])
      ffi.copy(s, bytes, math.min(#bytes, ffi.sizeof(s)))
      return read(s)
    end,
  }
end

local function int_bytes(value) return ffi.string(ffi.new("int32_t[1]", value), 4) end

local function to_int(bytes)
  if #bytes == 1 then return bytes:byte() end -- IP_MULTICAST_TTL and others answer one byte at times
  local box = ffi.new "int32_t[1]"
  ffi.copy(box, bytes, math.min(#bytes, 4))
  return box[0]
end

local function whole(value, least, most)
  if type(value) == "boolean" then value = value and 1 or 0 end
  if type(value) ~= "number" or value % 1 ~= 0 or value < least or value > most then return nil end
  return value
end

kinds.int = {
  words = "a whole number or a boolean",
  encode = function(_, value)
    local number = whole(value, -2 ^ 31, 2 ^ 32 - 1)
    return number and int_bytes(number < 2 ^ 31 and number or number - 2 ^ 32)
  end,
  decode = function(_, bytes) return to_int(bytes) end,
}

kinds.bool = {
  words = "a boolean",
  encode = function(_, value)
    local number = whole(value, 0, 1)
    return number and int_bytes(number)
  end,
  decode = function(_, bytes) return to_int(bytes) ~= 0 end,
}

local function u64(size)
  return {
    words = "a whole number",
    size = function() return size end,
    encode = function(_, value)
      local number = whole(value, 0, 2 ^ 53)
      return number and ffi.string(ffi.new("uint64_t[1]", number), size)
    end,
    decode = function(_, bytes)
      local box = ffi.new "uint64_t[1]"
      ffi.copy(box, bytes, math.min(#bytes, 8))
      return tonumber(box[0])
    end,
  }
end
kinds.u64 = u64(8)
kinds.u32 = u64(4)

kinds.string = {
  words = "a string",
  size = function() return 256 end,
  encode = function(_, value) return type(value) == "string" and value or nil end,
  decode = function(_, bytes) return bytes:match "^[^%z]*" end,
}

kinds.bytes = {
  words = "a string",
  size = function() return 4096 end,
  encode = function(_, value) return type(value) == "string" and value or nil end,
  decode = function(_, bytes) return bytes end,
}

kinds.gids = {
  words = "a list of numbers",
  size = function() return 65536 * 4 end,
  encode = function() return nil end,
  decode = function(_, bytes)
    local list = {}
    for at = 1, #bytes, 4 do list[#list + 1] = to_int(bytes:sub(at, at + 3)) % 2 ^ 32 end
    return list
  end,
}

of_struct("linger", "seconds, or false", function(s, value)
  if value == false then return end
  if not whole(value, 0, 2 ^ 31 - 1) then return false end
  s.l_onoff, s.l_linger = 1, value
end, function(s) return s.l_onoff ~= 0 and s.l_linger end)

of_struct("ucred", "what the kernel tells only", function() return false end, function(s)
  return { pid = s.pid, uid = s.uid, gid = s.gid }
end)

--- Seconds, as a struct timeval of the kernel.
kinds.timeval = {
  words = "seconds (0: for ever)",
  size = function() return 16 end,
  encode = function(_, value)
    if type(value) ~= "number" or value < 0 or value ~= value or value > 2 ^ 40 then return nil end
    local seconds = math.floor(value)
    return ffi.string(ffi.new("int64_t[2]", seconds, math.floor((value - seconds) * 1e6)), 16)
  end,
  decode = function(_, bytes)
    local box = ffi.new "int64_t[2]"
    ffi.copy(box, bytes, math.min(#bytes, 16))
    return tonumber(box[0]) + tonumber(box[1]) / 1e6
  end,
}

of_struct("ip_mreqn", '{ multiaddr = "224.0.0.1", address = , ifindex = }', function(s, value)
  local group = type(value) == "table" and type(value.multiaddr) == "string" and inet.v4(value.multiaddr)
  local own = type(value) == "table" and inet.v4(value.address or "0.0.0.0")
  if not group or not own then return false end
  ffi.copy(s.imr_multiaddr, group, 4)
  ffi.copy(s.imr_address, own, 4)
  s.imr_ifindex = value.ifindex or 0
end, function(s) return inet.v4_text(ffi.string(s.imr_multiaddr, 4)) end)

of_struct("ipv6_mreq", '{ multiaddr = "ff02::1", ifindex = }', function(s, value)
  local group = type(value) == "table" and type(value.multiaddr) == "string" and inet.v6(value.multiaddr)
  if not group then return false end
  ffi.copy(s.ipv6mr_multiaddr, group, 16)
  s.ipv6mr_ifindex = value.ifindex or 0
end, function(s) return inet.v6_text(ffi.string(s.ipv6mr_multiaddr, 16)) end)

-- ---- which option has which; all others are `int` ----

local kind_of = {}
for kind, names in pairs {
  bool = [[SO_DEBUG SO_REUSEADDR SO_DONTROUTE SO_BROADCAST SO_KEEPALIVE SO_OOBINLINE SO_REUSEPORT SO_PASSCRED SO_PASSSEC
    SO_ACCEPTCONN SO_TIMESTAMP SO_TIMESTAMPNS SO_RXQ_OVFL SO_LOCK_FILTER SO_ZEROCOPY SO_PASSPIDFD SO_PASSRIGHTS SO_NO_CHECK
    TCP_NODELAY TCP_CORK TCP_QUICKACK TCP_FASTOPEN_CONNECT IP_HDRINCL IP_PKTINFO IP_RECVERR IP_RECVTTL IP_RECVTOS IP_FREEBIND
    IP_TRANSPARENT IP_MULTICAST_LOOP IP_MULTICAST_ALL IP_BIND_ADDRESS_NO_PORT IP_RECVORIGDSTADDR IPV6_V6ONLY IPV6_RECVPKTINFO
    IPV6_RECVERR IPV6_RECVHOPLIMIT IPV6_RECVTCLASS IPV6_MULTICAST_LOOP IPV6_FREEBIND UDP_CORK UDP_GRO NETLINK_PKTINFO
    NETLINK_EXT_ACK NETLINK_CAP_ACK NETLINK_NO_ENOBUFS NETLINK_BROADCAST_ERROR NETLINK_GET_STRICT_CHK PACKET_AUXDATA]],
  string = "SO_BINDTODEVICE TCP_CONGESTION TCP_ULP SO_PEERSEC",
  linger = "SO_LINGER",
  timeval = "SO_RCVTIMEO SO_SNDTIMEO",
  ucred = "SO_PEERCRED",
  gids = "SO_PEERGROUPS",
  u32 = "SO_MARK",
  u64 = [[SO_COOKIE SO_NETNS_COOKIE SO_VM_SOCKETS_BUFFER_SIZE SO_VM_SOCKETS_BUFFER_MIN_SIZE SO_VM_SOCKETS_BUFFER_MAX_SIZE]],
  ip_mreqn = "IP_ADD_MEMBERSHIP IP_DROP_MEMBERSHIP",
  ipv6_mreq = "IPV6_ADD_MEMBERSHIP IPV6_DROP_MEMBERSHIP IPV6_JOIN_GROUP IPV6_LEAVE_GROUP",
  bytes = [[SO_ATTACH_FILTER SO_GET_FILTER SO_MEMINFO SO_TXTIME TCP_INFO TCP_CC_INFO TCP_MD5SIG TCP_FASTOPEN_KEY TCP_SAVED_SYN IP_OPTIONS IP_MSFILTER
    PACKET_ADD_MEMBERSHIP PACKET_DROP_MEMBERSHIP PACKET_STATISTICS PACKET_RX_RING PACKET_TX_RING PACKET_FANOUT_DATA
    NETLINK_LIST_MEMBERSHIPS MCAST_JOIN_GROUP MCAST_LEAVE_GROUP MCAST_JOIN_SOURCE_GROUP MCAST_LEAVE_SOURCE_GROUP]],
} do
  for name in names:gmatch "%S+" do kind_of[name] = kind end
end

local levels = {
  { "SO_VM_", 40 }, -- AF_VSOCK; see vsock(7)
  { "SO_", "SOL_SOCKET" }, { "TCP_", "IPPROTO_TCP" }, { "UDP_", "IPPROTO_UDP" }, { "IPV6_", "IPPROTO_IPV6" }, { "IP_", "IPPROTO_IP" },
  { "MCAST_", "IPPROTO_IP" }, { "PACKET_", "SOL_PACKET" }, { "NETLINK_", "SOL_NETLINK" },
}

--- The level that an option's name tells, or nil.
local function level_of(sys, name)
  for _, level in ipairs(levels) do
    if name:sub(1, #level[1]) == level[1] then return sys.C[level[2]] or level[2] end
  end
end

local function option_number(sys, name, call)
  if type(name) == "number" then return name end
  if type(name) ~= "string" then error(("%s: an option's name was expected, not %s"):format(call, type(name)), 0) end
  local number = sys.C[name]
  if number and level_of(sys, name) then return number end
  local likely = {}
  for constant in pairs(sys.C) do
    if level_of(sys, constant) then likely[constant] = true end
  end
  local near = nearest(name, likely)
  error(("%s: there is no option %q%s"):format(call, name, near and (" (did you mean %q?)"):format(near) or ""), 0)
end

---@class afar.SockOpt
---@field level integer
---@field number integer
---@field name string
---@field kind table

--- The option that a call's arguments name: (level, option), or the option alone, whose name tells the level.
---@param sys table
---@param call string
---@return afar.SockOpt option
---@return integer taken  how many of the arguments these were
function sockopt.of(sys, call, level, name)
  local alone = type(level) == "string" and level_of(sys, level) ~= nil
  if alone then name = level end
  local number = option_number(sys, name, call)
  if alone then
    level = level_of(sys, name)
  else
    level = sys:const(level, "SOL_", call)
  end
  local kind = kinds[kind_of[name] or (type(name) == "string" and "int" or "bytes")]
  return { level = level, number = number, name = tostring(name), kind = kind }, alone and 1 or 2
end

--- The bytes of a value; strings are bytes as they are for any option. Raises a plain string.
---@param option afar.SockOpt
function sockopt.encode(sys, option, value)
  if type(value) == "string" then return value end
  local kind = type(value) ~= "string" and option.kind == kinds.bytes and kinds.int or option.kind
  local bytes = kind.encode(sys, value)
  if bytes then return bytes end
  error(("setsockopt: the value of %s is %s, not %s"):format(option.name, kind.words, tostring(value)), 0)
end

--- How many bytes to ask for.
function sockopt.size(sys, option) return option.kind.size and option.kind.size(sys) or 4 end

--- The value in the kernel's bytes; of an option given by number, an integer where it has 4 bytes, else the bytes.
function sockopt.decode(sys, option, bytes)
  if option.kind == kinds.bytes and not kind_of[option.name] and #bytes == 4 then return to_int(bytes) end
  return option.kind.decode(sys, bytes)
end

return sockopt
