-- A network in a box: three namespaces, joined by cables (veth pairs), without the `ip` command: rtnetlink(7) spoken by hand. No root is needed.
--
--     left 10.0.1.2 ---- 10.0.1.1 router 10.0.2.1 ---- 10.0.2.2 right

local afar = require "afar"
local ffi = require "ffi"
local sys = afar.here.machine.sys
local C = sys.C

-- ---- messages: structures and attributes, one behind the other ----

local function struct(name, fields)
  local value = ffi.new(sys.ctype[name], fields)
  return ffi.string(value, ffi.sizeof(value))
end

local function u32(number) return ffi.string(ffi.new("uint32_t[1]", number), 4) end

local function ip(text) return string.char(text:match "(%d+)%.(%d+)%.(%d+)%.(%d+)") end

local function attribute(type_, ...)
  local data = table.concat { ... }
  return struct("rtattr", { rta_len = 4 + #data, rta_type = type_ }) .. data .. ("\0"):rep(-#data % 4)
end

--- Asks the kernel of the process's network for something, and raises its refusal.
local function request(p, what, flags, ...)
  local body = table.concat { ... }
  local all = C.NLM_F_REQUEST + C.NLM_F_ACK + flags
  local socket = p:socket("AF_NETLINK", "SOCK_RAW", C.NETLINK_ROUTE)
  socket:send(struct("nlmsghdr", { nlmsg_len = 16 + #body, nlmsg_type = C[what], nlmsg_flags = all, nlmsg_seq = 1 }) .. body)
  local answer = ffi.new(sys.ctype.nlmsgerr)
  ffi.copy(answer, socket:recv(8192):sub(17), ffi.sizeof(answer))
  socket:close()
  if answer.error ~= 0 then error(("%s: %s"):format(what, sys.errno[-answer.error])) end
end

-- ---- what a lab needs ----

local NEW = C.NLM_F_CREATE + C.NLM_F_EXCL
local LOOPBACK = 1

local function up(p, index)
  request(p, "RTM_NEWLINK", 0, struct("ifinfomsg", { ifi_index = index, ifi_flags = C.IFF_UP, ifi_change = C.IFF_UP }))
end

local function address(p, index, text)
  request(p, "RTM_NEWADDR", NEW, struct("ifaddrmsg", { ifa_family = C.AF_INET, ifa_prefixlen = 24, ifa_index = index }),
    attribute(C.IFA_LOCAL, ip(text)), attribute(C.IFA_ADDRESS, ip(text)))
  up(p, index)
end

--- A cable: interface `index` of p's network, with `index` of the network of another at its other end.
local function cable(p, name, other, index)
  local peer = struct("ifinfomsg", { ifi_index = index }) .. attribute(C.IFLA_IFNAME, "eth0\0") .. attribute(C.IFLA_NET_NS_PID, u32(other.pid))
  request(p, "RTM_NEWLINK", NEW, struct("ifinfomsg", { ifi_index = index }), attribute(C.IFLA_IFNAME, name, "\0"),
    attribute(C.IFLA_LINKINFO, attribute(C.IFLA_INFO_KIND, "veth"), attribute(C.IFLA_INFO_DATA, attribute(C.VETH_INFO_PEER, peer))))
end

local function default_route(p, gateway)
  local route = { rtm_family = C.AF_INET, rtm_table = C.RT_TABLE_MAIN, rtm_protocol = C.RTPROT_STATIC, rtm_type = C.RTN_UNICAST }
  request(p, "RTM_NEWROUTE", NEW, struct("rtmsg", route), attribute(C.RTA_GATEWAY, ip(gateway)))
end

-- ---- the lab ----

local router = afar.here:clone "CLONE_NEWUSER|CLONE_NEWNET"
local left, right = router:clone "CLONE_NEWNET", router:clone "CLONE_NEWNET"
for i, host in ipairs { left, right } do
  cable(router, "to" .. i, host, 10 + i)
  address(router, 10 + i, ("10.0.%d.1"):format(i))
  up(host, LOOPBACK)
  address(host, 10 + i, ("10.0.%d.2"):format(i))
  default_route(host, ("10.0.%d.1"):format(i))
end
local switch = router:open("/proc/sys/net/ipv4/ip_forward", "O_WRONLY")
switch:write "1\n"
switch:close()

-- ---- traffic: from the left, through the router, to the right ----

local listener = right:socket("AF_INET", "SOCK_STREAM")
listener:bind "0.0.0.0:80"
listener:listen()
afar.nursery(function(n)
  n:spawn(function()
    local connection, from = listener:accept4()
    print("right", ("%q from %s"):format(connection:read(), from))
    connection:write "hello, left"
    connection:close()
  end)
  local socket = left:socket("AF_INET", "SOCK_STREAM")
  socket:connect "10.0.2.2:80"
  socket:write "hello, right"
  print("left", ("%q"):format(socket:read()))
  socket:close()
end)

for line in router:read_file("/proc/net/dev"):gmatch "[^\n]+" do
  local name, packets = line:match "^%s*(to%d):%s*%d+%s+(%d+)"
  if name then print("router", name, tonumber(packets) > 3 and "has carried it" or "is silent") end
end
for _, p in ipairs { left, right, router } do p:exit() end
