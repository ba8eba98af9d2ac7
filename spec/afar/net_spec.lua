-- Networks: interfaces made and set up by ioctl, packets that the script itself carries, packet sockets, vsock.

local address = require "afar.address"
local afar = require "afar"
local ffi = require "ffi"
local probe = require "spec.support.probe"
local sys = require "afar.sys"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").saying

--- An ifreq: its name, and whatever else it is to hold.
local function ifreq(m, name, fields)
  local value = ffi.new(m.ctype.ifreq)
  ffi.copy(value.ifr_name, name)
  for key, field in pairs(fields or {}) do
    if key == "ifr_addr" then
      local bytes = address.pack(m, field)
      ffi.copy(value.ifr_addr, bytes, #bytes)
    else
      value[key] = field
    end
  end
  return value
end

local function addr_of(m, value) return address.unpack(m, ffi.string(ffi.cast("const char *", value) + ffi.offsetof(value, "ifr_addr"), 16)) end

--- Asks about an interface, through any socket; the ifreq as the kernel left it.
local function ask(p, socket, request, name, fields)
  local memory = p:ptr(ifreq(p.machine.sys, name, fields))
  socket:ioctl(request, memory)
  return memory:read()
end

--- A tun interface that is up, with an address and the other end's; its fd.
local function tun(p, own, other)
  local C = p.machine.sys.C
  local fd = p:open("/dev/net/tun", "O_RDWR|O_NONBLOCK")
  ask(p, fd, "TUNSETIFF", "tun0", { ifr_flags = C.IFF_TUN + C.IFF_NO_PI })
  local socket = p:socket("AF_INET", "SOCK_DGRAM")
  ask(p, socket, "SIOCSIFADDR", "tun0", { ifr_addr = own .. ":0" })
  ask(p, socket, "SIOCSIFDSTADDR", "tun0", { ifr_addr = other .. ":0" })
  ask(p, socket, "SIOCSIFFLAGS", "tun0", { ifr_flags = C.IFF_UP })
  socket:close()
  return fd
end

local function lo_up(p)
  local socket = p:socket("AF_INET", "SOCK_DGRAM")
  ask(p, socket, "SIOCSIFFLAGS", "lo", { ifr_flags = p.machine.sys.C.IFF_UP })
  socket:close()
end

for _, name in ipairs { "here", "over pipes" } do
  describe("a network of its own", function()
    ways.over(ways.get(name), function(way)
      local before

      before_each(function() before = probe.holds(way.root) end)
      after_each(function() assert.same(before, probe.holds(way.root, before)) end)

      local function with_net(f)
        local p = way.root:clone "CLONE_NEWUSER|CLONE_NEWNET"
        local ok, err = pcall(f, p)
        p:exit(0)
        if not ok then error(err, 0) end
      end

      local function has_tun() return pcall(way.root.access, way.root, "/dev/net/tun", "R_OK|W_OK") or pending "/dev/net/tun can't be opened here" end

      it("has a tun interface where it makes one, with an index, flags and an address", function()
        if not has_tun() then return end
        with_net(function(p)
          local m = p.machine.sys
          local fd = p:open("/dev/net/tun", "O_RDWR")
          ask(p, fd, "TUNSETIFF", "tun0", { ifr_flags = m.C.IFF_TUN + m.C.IFF_NO_PI })
          local socket = p:socket("AF_INET", "SOCK_DGRAM")
          assert.equal(2, ask(p, socket, "SIOCGIFINDEX", "tun0").ifr_ifindex)
          assert.equal(0, ask(p, socket, "SIOCGIFFLAGS", "tun0").ifr_flags % 2)
          ask(p, socket, "SIOCSIFFLAGS", "tun0", { ifr_flags = m.C.IFF_UP })
          assert.equal(1, ask(p, socket, "SIOCGIFFLAGS", "tun0").ifr_flags % 2)
          ask(p, socket, "SIOCSIFADDR", "tun0", { ifr_addr = "10.0.0.1:0" })
          assert.equal("10.0.0.1", addr_of(m, ask(p, socket, "SIOCGIFADDR", "tun0")).addr)
          assert.equal("ENODEV", fails("SIOCGIFINDEX", socket.ioctl, socket, "SIOCGIFINDEX", p:ptr(ifreq(m, "nosuch"))).name)
          socket:close()
          fd:close()
        end)
      end)

      it("is joined to another one by packets that the script carries", function()
        if not has_tun() then return end
        with_net(function(p)
          local q = p:clone "CLONE_NEWNET"
          local left, right = tun(p, "10.0.0.1", "10.0.0.2"), tun(q, "10.0.0.2", "10.0.0.1")
          local listener = q:socket "AF_INET"
          listener:bind "10.0.0.2:80"
          listener:listen()
          local carried, got = 0, nil
          afar.timeout(60, afar.nursery, function(n)
            for from, to in pairs { [left] = right, [right] = left } do
              n:spawn(function()
                while true do
                  to:write(from:read(2048)) -- a packet a time
                  carried = carried + 1
                end
              end)
            end
            local done = 0
            n:spawn(function()
              local connection, peer = listener:accept()
              assert.equal("10.0.0.1", peer.addr)
              got = connection:reader():exactly(11)
              connection:close()
              done = done + 1
            end)
            local client = p:socket "AF_INET"
            client:connect "10.0.0.2:80"
            client:write "hello world"
            assert.equal("", client:read())
            client:close()
            assert.is_true(probe.soon(function() return done == 1 end))
            n:cancel()
          end)
          assert.equal("hello world", got)
          assert.is_true(carried >= 6)
          for _, fd in ipairs { left, right, listener } do fd:close() end
          q:exit(0)
        end)
      end)

      it("is listened to, and spoken to, by a packet socket", function()
        with_net(function(p)
          lo_up(p)
          local ETH_P_IP, EXPERIMENTAL = 0x800, 0x88b5
          local all = p:socket("AF_PACKET", "SOCK_DGRAM", 8) -- ETH_P_IP, as the network has it
          all:bind { family = "AF_PACKET", ifindex = 1, protocol = ETH_P_IP }
          local receiver, sender = p:socket("AF_INET", "SOCK_DGRAM"), p:socket("AF_INET", "SOCK_DGRAM")
          local to = receiver:bind "127.0.0.1:0"
          sender:sendto("a datagram", 0, to)
          local packet, from = all:recvfrom(2048)
          assert.equal("AF_PACKET", from.family)
          assert.same({ 1, ETH_P_IP }, { from.ifindex, from.protocol })
          assert.equal(4, math.floor(packet:byte(1) / 16)) -- IPv4
          assert.equal("a datagram", packet:sub(-10))
          assert.equal("a datagram", receiver:recv())
          -- A protocol of our own: there is nobody in the kernel who would speak it.
          local one, other = p:socket("AF_PACKET", "SOCK_DGRAM"), p:socket("AF_PACKET", "SOCK_RAW")
          for _, fd in ipairs { one, other } do fd:bind(("packet:1:0x%x"):format(EXPERIMENTAL)) end
          one:sendto("our own", 0, { family = "AF_PACKET", ifindex = 1, protocol = EXPERIMENTAL, addr = "00:00:00:00:00:00" })
          local frame = afar.timeout(60, other.recv, other)
          assert.equal(("\0"):rep(12) .. "\136\181our own", frame) -- with its header, as the cable has it
          one:close()
          other:close()
          for _, fd in ipairs { all, receiver, sender } do fd:close() end
        end)
      end)
    end)
  end)

  describe("vsock", function()
    ways.over(ways.get(name), function(way)
      it("goes from a process to another of this machine", function()
        local ok, listener = pcall(way.root.socket, way.root, "AF_VSOCK")
        if not ok then return pending "the kernel has no AF_VSOCK" end
        local bound, at = pcall(listener.bind, listener, { family = "AF_VSOCK" })
        assert.is_true(bound, tostring(at))
        assert.equal("AF_VSOCK", at.family)
        assert.is_true(at.port < 2 ^ 32 - 1)
        listener:listen()
        local client = way.root:socket "AF_VSOCK"
        local reached, err = pcall(afar.timeout, 0.5, client.connect, client, { family = "AF_VSOCK", cid = 1, port = at.port })
        if reached then
          local connection, peer = listener:accept()
          assert.equal(1, peer.cid)
          client:write "hello"
          assert.equal("hello", connection:read())
          connection:close()
        end
        client:close()
        listener:close()
        if not reached then return pending("the kernel has no loopback of vsock: " .. tostring(err)) end
      end)
    end)
  end)
end

describe("an ifreq", function()
  for _, arch in ipairs { "x86_64", "aarch64" } do
    it("goes to the kernel's structure and back, on " .. arch, function()
      local m = sys.machine(arch)
      local value = ifreq(m, "tun0", { ifr_addr = "10.1.2.3:80" })
      assert.equal(40, ffi.sizeof(value))
      assert.equal("tun0", ffi.string(value.ifr_name))
      local back = addr_of(m, value)
      assert.same({ "AF_INET", "10.1.2.3", 80 }, { back.family, back.addr, back.port })
    end)
  end
end)
