-- Sockets: making them, their names, and what they are set to.

local afar = require "afar"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

describe("a socket", function()
  ways.each(function(way)
    local p, dir

    before_each(function()
      p = way.root:fork()
      dir = way.root:run({ "mktemp", "-d" }).stdout:gsub("\n", "")
    end)
    after_each(function()
      p:exit()
      way.root:run { "rm", "-rf", dir }
    end)

    it("is close-on-exec, and of the type that was asked for", function()
      local s = p:socket("AF_INET", "SOCK_DGRAM|SOCK_NONBLOCK", "IPPROTO_UDP")
      assert.equal(1, s:fcntl "F_GETFD")
      assert.equal(2 + 0x800, s:fcntl "F_GETFL")
      assert.equal(2, s:getsockopt "SO_TYPE")
      assert.equal(17, s:getsockopt "SO_PROTOCOL")
      assert.equal(2, s:getsockopt "SO_DOMAIN")
    end)

    it("tells the address that it was bound to really", function()
      local s = p:socket "AF_INET"
      local a = s:bind "127.0.0.1:0"
      assert.equal("AF_INET", a.family)
      assert.is_true(a.port > 0)
      assert.equal(a, s:getsockname())
      local u = p:socket "AF_UNIX"
      assert.equal("(unnamed)", tostring(u:getsockname()))
      a = u:bind { family = "AF_UNIX" }
      assert.equal(5, #a.abstract)
      assert.equal(a, u:getsockname())
    end)

    it("of IPv6 can be for that alone", function()
      local function both()
        local s = p:socket "AF_INET6"
        s:setsockopt("IPV6_V6ONLY", true)
        assert.is_true(s:getsockopt "IPV6_V6ONLY")
        local a = s:bind "[::1]:0"
        local other = p:socket "AF_INET"
        return a.port == other:bind({ addr = "127.0.0.1", port = a.port }).port
      end
      assert.is_true(probe.soon(function() return afar.try(both) end)) -- somebody else may have that port
    end)

    it("has a path of any length", function()
      local deep = dir .. "/" .. ("d"):rep(100) .. "/" .. ("e"):rep(100)
      p:run { "mkdir", "-p", deep }
      local path = deep .. "/socket"
      local l = p:socket "AF_UNIX"
      assert.equal(path, l:bind(path).path)
      assert.equal("socket", p:stat(path).type)
      l:listen()
      local c = p:socket "AF_UNIX"
      local open = probe.holds(p).fds
      c:connect(path)
      assert.is_true(probe.fds(p) <= open)
      local s = l:accept()
      s:send "x"
      assert.equal("x", c:recv())
      assert.matches("the socket's name alone has 108 bytes", message(c.bind, c, deep .. "/" .. ("n"):rep(108)))
      assert.matches("ENOENT", message(c.connect, c, deep .. "/none/" .. ("x"):rep(20)))
      assert.matches("within a chain a path has at most 107 bytes", message(p.chain, p, function(chain) chain:socket("AF_UNIX"):bind(path) end))
    end)

    it("is made, bound and listens in one chain", function()
      local s, a = p:chain(function(c)
        local s = c:socket("AF_INET", "SOCK_STREAM")
        s:setsockopt("SO_REUSEADDR", true)
        local a = s:bind "127.0.0.1:0"
        s:listen(5)
        return s, a
      end)
      assert.is_true(s:getsockopt "SO_ACCEPTCONN")
      assert.is_true(s:getsockopt "SO_REUSEADDR")
      assert.equal(a, s:getsockname())
    end)

    it("has options of all kinds, by name", function()
      local s = p:socket "AF_INET"
      for name, values in pairs {
        SO_KEEPALIVE = { true, false },
        TCP_NODELAY = { true, false },
        TCP_KEEPIDLE = { 33 },
        IP_TTL = { 9 },
        IP_TOS = { 16 },
        SO_RCVTIMEO = { 1.5, 0 },
        SO_LINGER = { 3, 0, false },
        SO_PRIORITY = { 3 },
      } do
        for _, value in ipairs(values) do
          s:setsockopt(name, value)
          assert.equal(value, s:getsockopt(name), name)
        end
      end
      s:setsockopt("SO_RCVBUF", 8192)
      assert.equal(2 * 8192, s:getsockopt "SO_RCVBUF") -- the kernel takes it twice
      assert.equal(2 * 8192, s:getsockopt("SOL_SOCKET", "SO_RCVBUF"))
      assert.equal(2 * 8192, s:getsockopt(1, 8))
      s:setsockopt("SOL_SOCKET", "SO_RCVBUF", "\0\64\0\0")
      assert.equal(2 * 16384, s:getsockopt "SO_RCVBUF")
      assert.equal(0, s:getsockopt "SO_ERROR")
    end)

    it("takes the system call's own structures", function()
      local s = p:socket "AF_INET"
      local int, size = p:ptr(1, "int32_t"), p:ptr(4, "uint32_t")
      s:setsockopt("SOL_SOCKET", "SO_KEEPALIVE", int)
      int:write(7)
      s:getsockopt("SOL_SOCKET", "SO_KEEPALIVE", int, size)
      assert.equal(1, int:read())
      local name, length = p:malloc(128), p:ptr(128, "uint32_t")
      s:bind(p:ptr "\2\0\0\0\127\0\0\1\0\0\0\0\0\0\0\0")
      s:getsockname(name, length)
      assert.equal("\2\0", name:read(2))
      assert.equal(16, length:read())
      assert.equal("\127\0\0\1", name:bytes(4, 4))
    end)

    it("of netlink has its port", function()
      local s = p:socket("AF_NETLINK", "SOCK_RAW", "NETLINK_ROUTE")
      local a = s:bind { family = "AF_NETLINK", groups = 1 }
      assert.equal("AF_NETLINK", a.family)
      assert.equal(1, a.groups)
    end)

    it("can be shut down", function()
      local a, b = p:socketpair()
      a:shutdown "SHUT_WR"
      assert.equal("", b:recv())
      b:send "x"
      assert.equal("x", a:recv())
    end)

    it("leaves nothing behind", function()
      local function use()
        local s = p:socket "AF_INET"
        s:bind "127.0.0.1:0"
        s:setsockopt("SO_RCVBUF", 9000)
        s:getsockopt "SO_RCVBUF"
        pcall(s.bind, s, "127.0.0.1:0")
        s:close()
      end
      use()
      local before = probe.holds(p)
      for _ = 1, 20 do use() end
      assert.same(before, probe.holds(p, before))
    end)
  end)

  local p = afar.here

  it("shows what it was asked for when the kernel refuses", function()
    local s = p:socket "AF_INET"
    assert.matches('bind%(fd %d+, "192.0.2.1:80"%) in process .*EADDRNOTAVAIL', message(s.bind, s, "192.0.2.1:80"))
    assert.matches('socket%("AF_INET", 77%) in process .*EINVAL', message(p.socket, p, "AF_INET", 77))
    assert.matches("EOPNOTSUPP", message(function() p:socket("AF_INET", "SOCK_DGRAM"):listen() end))
  end)

  it("refuses bad input before any call", function()
    local s = p:socket "AF_INET"
    for expected, f in pairs {
      ['there is no constant "AF_INTE" %(did you mean "AF_INET"%?%)'] = function() p:socket "AF_INTE" end,
      ["a domain was expected"] = function() p:socket() end,
      ['no constant "SOCK_STREEM"'] = function() p:socket("AF_INET", "SOCK_STREEM") end,
      ['bind%("foo:80"%).*"foo:80" is none'] = function() s:bind "foo:80" end,
      ["a string or a table was expected, not nil"] = function() s:bind() end,
      ['no option "SO_REUSADDR" %(did you mean "SO_REUSEADDR"%?%)'] = function() s:setsockopt("SO_REUSADDR", 1) end,
      ["the value of SO_REUSEADDR is a boolean, not table"] = function() s:setsockopt("SO_REUSEADDR", {}) end,
      ["the value of SO_REUSEADDR is a boolean, not 2"] = function() s:setsockopt("SO_REUSEADDR", 2) end,
      ["the value of SO_RCVBUF is a whole number or a boolean, not 1.5"] = function() s:setsockopt("SO_RCVBUF", 1.5) end,
      ["the value of SO_RCVBUF is a whole number or a boolean, not nil"] = function() s:setsockopt "SO_RCVBUF" end,
      ["the value of SO_RCVTIMEO is seconds"] = function() s:setsockopt("SO_RCVTIMEO", -1) end,
      ["the value of SO_LINGER is seconds, or false"] = function() s:setsockopt("SO_LINGER", {}) end,
      ["the value of SO_PEERCRED is what the kernel tells only"] = function() s:setsockopt("SO_PEERCRED", {}) end,
      ["the value of IP_ADD_MEMBERSHIP is { multiaddr"] = function() s:setsockopt("IP_ADD_MEMBERSHIP", { multiaddr = "x" }) end,
      ["an option's name was expected, not nil"] = function() s:getsockopt("SOL_SOCKET", nil) end,
      ['"SHUT_RD", "SHUT_WR" or "SHUT_RDWR" was expected'] = function() s:shutdown() end,
      ["listen: a number was expected"] = function() s:listen "x" end,
      ["bind: an fd was expected, not string"] = function() p:bind("x", "127.0.0.1:0") end,
    } do
      assert.matches(expected, message(f))
    end
    s:close()
    assert.matches("fd %d+ was closed before", message(s.bind, s, "127.0.0.1:0"))
    assert.matches("fd %d+ was closed before", message(s.setsockopt, s, "SO_KEEPALIVE", true))
  end)

  it("of another table is refused, and both are named", function()
    local q = p:fork()
    local s = q:socket "AF_INET"
    assert.matches("the fd belongs to fd table %d+ .*, the process to fd table %d+", message(p.bind, p, s, "127.0.0.1:0"))
    q:exit()
  end)
end)

describe("with one port to choose from", function()
  if superuser.missing() then return pending(superuser.missing()) end
  local p, s, t

  before_each(function()
    p = afar.here:clone "CLONE_NEWNET|CLONE_NEWNS"
    p:syscall("mount", "none", "/", 0, 0x44000, 0) -- MS_PRIVATE | MS_REC
    p:syscall("mount", "proc", "/proc", "proc", 0, 0)
    p:open("/proc/sys/net/ipv4/ip_local_port_range", "O_WRONLY"):write "40000 40000"
    s, t = p:socket("AF_INET", "SOCK_DGRAM"), p:socket("AF_INET", "SOCK_DGRAM")
  end)
  after_each(function() p:exit() end)

  it("a second socket finds none", function()
    assert.equal(40000, s:bind("127.0.0.1:0").port)
    assert.matches("EADDRINUSE", message(t.bind, t, "127.0.0.1:0"))
  end)

  it("two share it with SO_REUSEADDR", function()
    s:setsockopt("SO_REUSEADDR", true)
    t:setsockopt("SO_REUSEADDR", true)
    assert.equal(s:bind "127.0.0.1:0", t:bind "127.0.0.1:0")
  end)
end)
