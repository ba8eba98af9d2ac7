--- Addresses of sockets, as values: from strings and tables, to and from the kernel's structures, and as text again.
---
---   "127.0.0.1:80"  "*:80"  "[::1]:80"  "[fe80::1%2]:80"     ip(7), ipv6(7): %2 is the interface's index
---   "/run/x.sock"  "./x.sock"  "@abstract"                  unix(7)
---   "vsock:2:1234"                                          vsock(7): context, port
---   "netlink:0:0x1"                                         netlink(7): port id, groups
---   "packet:2:0x800"  "packet:2:0x800:52:54:00:12:34:56"    packet(7): the interface's index, protocol, hardware address

local bit = require "bit"
local ffi = require "ffi"
local inet = require "afar.inet"
local nearest = require "afar.nearest"

local address = {}

local PATH_MOST = 107 -- of a socket: sun_path has room for the NUL too
address.PATH_MOST = PATH_MOST

---@class afar.Address
---@field family string|integer  "AF_INET" ...; a number where this module doesn't know the family
---@field addr? string           AF_INET, AF_INET6: "127.0.0.1", "::1"; AF_PACKET: "52:54:00:12:34:56"
---@field port? integer          AF_INET, AF_INET6, AF_VSOCK
---@field scope_id? integer      AF_INET6: the interface's index
---@field flowinfo? integer      AF_INET6
---@field path? string           AF_UNIX
---@field abstract? string       AF_UNIX: without the leading NUL. Neither of both: unnamed
---@field cid? integer           AF_VSOCK
---@field pid? integer           AF_NETLINK: the port id
---@field groups? integer        AF_NETLINK
---@field ifindex? integer       AF_PACKET
---@field protocol? integer      AF_PACKET: an ETH_P_, in the host's byte order
---@field hatype? integer        AF_PACKET: an ARPHRD_
---@field pkttype? integer       AF_PACKET: a PACKET_
---@field data? string           any other family: the bytes behind the family
local Address = { __name = "address" }
Address.__index = Address
address.Address = Address

local function bad(message, ...) error(("address: " .. message):format(...), 0) end

local function number_in(value, name, most, default)
  if value == nil then value = default end
  if type(value) ~= "number" or value < 0 or value > most or value % 1 ~= 0 then
    bad("%s must be a whole number from 0 to %.0f, not %s", name, most, tostring(value))
  end
  return value
end

local function swap16(value) return value % 256 * 256 + (value - value % 256) / 256 end

local U16, U32 = 2 ^ 16 - 1, 2 ^ 32 - 1

-- ---- one family each: which fields, which structure, which text ----

local families = {}

families.AF_INET = {
  fields = { addr = true, port = true },
  check = function(a)
    if type(a.addr) ~= "string" or not inet.v4(a.addr) then bad("%s is no IPv4 address", tostring(a.addr)) end
    a.port = number_in(a.port, "port", U16, 0)
  end,
  pack = function(ctype, a)
    local s = ffi.new(ctype.sockaddr_in)
    s.sin_port = swap16(a.port)
    ffi.copy(s.sin_addr, inet.v4(a.addr), 4)
    return s
  end,
  unpack = function(ctype, bytes)
    local s = ffi.new(ctype.sockaddr_in)
    ffi.copy(s, bytes, math.min(#bytes, ffi.sizeof(s)))
    return { addr = inet.v4_text(ffi.string(s.sin_addr, 4)), port = swap16(s.sin_port) }
  end,
  text = function(a) return ("%s:%d"):format(a.addr, a.port) end,
}

families.AF_INET6 = {
  fields = { addr = true, port = true, scope_id = true, flowinfo = true },
  check = function(a)
    if type(a.addr) ~= "string" or not inet.v6(a.addr) then bad("%s is no IPv6 address", tostring(a.addr)) end
    a.addr, a.port = inet.v6_text(inet.v6(a.addr)), number_in(a.port, "port", U16, 0)
    a.scope_id, a.flowinfo = number_in(a.scope_id, "scope_id", U32, 0), number_in(a.flowinfo, "flowinfo", U32, 0)
  end,
  pack = function(ctype, a)
    local s = ffi.new(ctype.sockaddr_in6)
    s.sin6_port, s.sin6_scope_id = swap16(a.port), a.scope_id
    s.sin6_flowinfo = bit.bswap(bit.tobit(a.flowinfo))
    ffi.copy(s.sin6_addr, inet.v6(a.addr), 16)
    return s
  end,
  unpack = function(ctype, bytes)
    local s = ffi.new(ctype.sockaddr_in6)
    ffi.copy(s, bytes, math.min(#bytes, ffi.sizeof(s)))
    return {
      addr = inet.v6_text(ffi.string(s.sin6_addr, 16)), port = swap16(s.sin6_port), scope_id = s.sin6_scope_id,
      flowinfo = bit.bswap(bit.tobit(s.sin6_flowinfo)) % 2 ^ 32,
    }
  end,
  text = function(a) return ("[%s%s]:%d"):format(a.addr, a.scope_id ~= 0 and "%" .. a.scope_id or "", a.port) end,
}

families.AF_UNIX = {
  fields = { path = true, abstract = true },
  check = function(a)
    local name = a.path or a.abstract
    if a.path and a.abstract then bad "a unix socket has a path or an abstract name, not both" end
    if name == nil then return end
    if type(name) ~= "string" then bad("a string was expected as a unix socket's name, not %s", type(name)) end
    if a.path == "" then bad "a unix socket's path is empty" end
    if a.path and a.path:find("\0", 1, true) then bad("%q has a NUL byte in it", a.path) end
    if a.abstract and #a.abstract > PATH_MOST then
      bad("the abstract name has %d bytes; %d is the most", #a.abstract, PATH_MOST)
    end
  end,
  pack = function(ctype, a)
    local s = ffi.new(ctype.sockaddr_un)
    local name = a.path and a.path .. "\0" or a.abstract and "\0" .. a.abstract or ""
    if #name > PATH_MOST + 1 then bad("the path has %d bytes; a socket's address takes %d", #name - 1, PATH_MOST) end
    ffi.copy(s.sun_path, name, #name)
    return s, 2 + #name
  end,
  unpack = function(_, bytes)
    local name = bytes:sub(3)
    if name == "" then return {} end
    if name:byte() == 0 then return { abstract = name:sub(2) } end
    return { path = name:match "^[^%z]*" }
  end,
  text = function(a)
    if a.abstract then return "@" .. a.abstract:gsub("%z", "@") end
    return a.path and (a.path:find "^%.?%.?/" and a.path or "./" .. a.path) or "(unnamed)"
  end,
}

families.AF_VSOCK = {
  fields = { cid = true, port = true },
  check = function(a)
    a.cid, a.port = number_in(a.cid, "cid", U32, U32), number_in(a.port, "port", U32, U32)
  end,
  pack = function(ctype, a)
    local s = ffi.new(ctype.sockaddr_vm)
    s.svm_cid, s.svm_port = a.cid, a.port
    return s
  end,
  unpack = function(ctype, bytes)
    local s = ffi.new(ctype.sockaddr_vm)
    ffi.copy(s, bytes, math.min(#bytes, ffi.sizeof(s)))
    return { cid = s.svm_cid, port = s.svm_port }
  end,
  text = function(a) return ("vsock:%.0f:%.0f"):format(a.cid, a.port) end,
}

families.AF_NETLINK = {
  fields = { pid = true, groups = true },
  check = function(a)
    a.pid, a.groups = number_in(a.pid, "pid", U32, 0), number_in(a.groups, "groups", U32, 0)
  end,
  pack = function(ctype, a)
    local s = ffi.new(ctype.sockaddr_nl)
    s.nl_pid, s.nl_groups = a.pid, a.groups
    return s
  end,
  unpack = function(ctype, bytes)
    local s = ffi.new(ctype.sockaddr_nl)
    ffi.copy(s, bytes, math.min(#bytes, ffi.sizeof(s)))
    return { pid = s.nl_pid, groups = s.nl_groups }
  end,
  text = function(a) return ("netlink:%.0f:0x%x"):format(a.pid, a.groups) end,
}

--- "52:54:00:12:34:56" as bytes, or nil.
local function hardware(text)
  if text == "" then return "" end
  local bytes = {}
  for part in (text .. ":"):gmatch "([^:]*):" do
    if not part:find "^%x%x?$" then return nil end
    bytes[#bytes + 1] = string.char(tonumber(part, 16))
  end
  return #bytes <= 8 and table.concat(bytes) or nil
end

families.AF_PACKET = {
  fields = { ifindex = true, protocol = true, hatype = true, pkttype = true, addr = true },
  check = function(a)
    a.addr = a.addr or ""
    if type(a.addr) ~= "string" or not hardware(a.addr) then bad("%s is no hardware address", tostring(a.addr)) end
    a.ifindex, a.protocol = number_in(a.ifindex, "ifindex", 2 ^ 31 - 1, 0), number_in(a.protocol, "protocol", U16, 0)
    a.hatype, a.pkttype = number_in(a.hatype, "hatype", U16, 0), number_in(a.pkttype, "pkttype", 255, 0)
  end,
  pack = function(ctype, a)
    local s, bytes = ffi.new(ctype.sockaddr_ll), hardware(a.addr)
    s.sll_protocol, s.sll_ifindex, s.sll_hatype, s.sll_pkttype = swap16(a.protocol), a.ifindex, a.hatype, a.pkttype
    s.sll_halen = #bytes
    ffi.copy(s.sll_addr, bytes, #bytes)
    return s
  end,
  unpack = function(ctype, bytes)
    local s = ffi.new(ctype.sockaddr_ll)
    ffi.copy(s, bytes, math.min(#bytes, ffi.sizeof(s)))
    local shown = {}
    for i = 0, math.min(s.sll_halen, 8) - 1 do shown[i + 1] = ("%02x"):format(s.sll_addr[i]) end
    return {
      ifindex = s.sll_ifindex, protocol = swap16(s.sll_protocol), hatype = s.sll_hatype, pkttype = s.sll_pkttype,
      addr = table.concat(shown, ":"),
    }
  end,
  text = function(a) return ("packet:%d:0x%x%s"):format(a.ifindex, a.protocol, a.addr ~= "" and ":" .. a.addr or "") end,
}

-- ---- from what a script gives ----

local HOST_NAME = "p:getaddrinfo(host, service) resolves names"

local parsers = {
  { "^%[([%x:.]+)%%?(%d*)%]:(%d+)$", function(addr, scope, port)
    return { family = "AF_INET6", addr = addr, scope_id = tonumber(scope) or 0, port = tonumber(port) }
  end },
  { "^%*:(%d+)$", function(port) return { family = "AF_INET", addr = "0.0.0.0", port = tonumber(port) } end },
  { "^([%d.]+):(%d+)$", function(addr, port) return { family = "AF_INET", addr = addr, port = tonumber(port) } end },
  { "^@(.*)$", function(name) return { family = "AF_UNIX", abstract = name } end },
  { "^(%.?%.?/.*)$", function(path) return { family = "AF_UNIX", path = path } end },
  { "^vsock:(%d+):(%d+)$", function(cid, port) return { family = "AF_VSOCK", cid = tonumber(cid), port = tonumber(port) } end },
  { "^netlink:(%d+):(%w+)$", function(pid, groups)
    return { family = "AF_NETLINK", pid = tonumber(pid), groups = tonumber(groups) }
  end },
  { "^packet:(%d+):(%w+):?([%x:]*)$", function(index, protocol, addr)
    return { family = "AF_PACKET", ifindex = tonumber(index), protocol = tonumber(protocol), addr = addr }
  end },
}

local function of_string(text)
  for _, parser in ipairs(parsers) do
    local captured = { text:match(parser[1]) }
    if #captured > 0 then return parser[2](unpack(captured)) end
  end
  bad('%q is none; "127.0.0.1:80", "[::1]:80", "/path", "@abstract" are; %s', text, HOST_NAME)
end

--- The family that a table without one must be of.
local function family_of(a)
  if a.family then return a.family end
  if a.path or a.abstract then return "AF_UNIX" end
  if a.cid then return "AF_VSOCK" end
  if type(a.addr) == "string" then return a.addr:find(":", 1, true) and "AF_INET6" or "AF_INET" end
  bad "a table without a family needs a path, an abstract name, an addr or a cid"
end

local function of_table(given)
  local a = {}
  for key, value in pairs(given) do a[key] = value end
  a.family = family_of(a)
  local family = families[a.family]
  if not family then
    if type(a.family) == "number" and type(a.data) == "string" then return a end
    bad("there is no family %s; another one is given by number, with its bytes as data", tostring(a.family))
  end
  for key in pairs(a) do
    if key ~= "family" and not family.fields[key] then
      local near = nearest(tostring(key), family.fields)
      bad("one of %s has no %q%s", a.family, tostring(key), near and (" (did you mean %q?)"):format(near) or "")
    end
  end
  return a
end

--- An address from a string (see the top of this file) or a table; an address stays what it is. Raises a plain string for what is none.
---@param value string|table|afar.Address
---@return afar.Address
function address.of(value)
  if getmetatable(value) == Address then return value end
  local a
  if type(value) == "string" then
    a = of_string(value)
  elseif type(value) == "table" then
    a = of_table(value)
  else
    bad("a string or a table was expected, not %s", type(value))
  end
  local family = families[a.family]
  if family then family.check(a) end
  return setmetatable(a, Address)
end

-- ---- to and from the kernel's structures ----

--- The bytes of an address, as the kernel takes them. Raises a plain string.
---@param sys table  the machine's numbers
---@param value string|table|afar.Address
---@return string
function address.pack(sys, value)
  local a = address.of(value)
  local family = families[a.family]
  if not family then return string.char(a.family % 256, (a.family - a.family % 256) / 256) .. a.data end
  local structure, size = family.pack(sys.ctype, a)
  ffi.cast("uint16_t *", ffi.cast("void *", structure))[0] = sys.C[a.family]
  return ffi.string(ffi.cast("const char *", ffi.cast("const void *", structure)), size or ffi.sizeof(structure))
end

--- The address in bytes from the kernel; nil where there are none: the peer has no name, or the protocol has no addresses.
---@param sys table
---@param bytes string
---@return afar.Address?
function address.unpack(sys, bytes)
  if #bytes < 2 then return nil end
  local number = bytes:byte(1) + bytes:byte(2) * 256
  for name, family in pairs(families) do
    if sys.C[name] == number then
      local a = family.unpack(sys.ctype, bytes)
      a.family = name
      return setmetatable(a, Address)
    end
  end
  return setmetatable({ family = number, data = bytes:sub(3) }, Address)
end

function Address:__tostring()
  local family = families[self.family]
  return family and family.text(self) or ("family %s (%d bytes)"):format(self.family, #self.data)
end

--- Two are equal when the kernel takes them for the same.
function Address.__eq(a, b)
  if a.family ~= b.family then return false end
  for _, pair in ipairs { { a, b }, { b, a } } do
    for key, value in pairs(pair[1]) do
      if pair[2][key] ~= value then return false end
    end
  end
  return true
end

return address
