-- Connections: accept and connect wait without blocking their process, whatever happens meanwhile.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local failure = require("spec.support.raised").err

local function listener(p, family, where)
  local l = p:socket(family)
  local a = l:bind(where)
  l:listen()
  return l, a
end

--- Whether it would block for whoever else uses it.
local function blocks(fd) return fd:fcntl "F_GETFL" % 0x1000 < 0x800 end

describe("a connection", function()
  ways.each(function(way)
    local p

    before_each(function() p = way.root:fork() end)
    after_each(function() p:exit() end)

    for name, where in pairs { ["TCP"] = { "AF_INET", "127.0.0.1:0" }, ["a unix socket"] = { "AF_UNIX", { family = "AF_UNIX" } } } do
      it("over " .. name .. " carries bytes both ways, and tells both names", function()
        local l, a = listener(p, where[1], where[2])
        local c, s, peer = p:socket(where[1]), nil, nil
        afar.nursery(function(n)
          n:spawn(function() s, peer = l:accept4() end)
          afar.sleep(0.01)
          assert.equal(p.pid, p:getpid()) -- it serves others meanwhile
          c:connect(a)
        end)
        assert.equal(a, c:getpeername())
        assert.equal(a, s:getsockname())
        assert.equal(c:getsockname(), peer)
        assert.equal(5, c:write "hello")
        assert.equal("hello", s:read())
        s:write "world"
        assert.equal("world", c:read())
        assert.equal(1, s:fcntl "F_GETFD")
        s:close()
        assert.equal("", c:read())
      end)
    end

    it("leaves the sockets blocking, as programs expect them", function()
      local l, a = listener(p, "AF_INET", "127.0.0.1:0")
      local c = p:socket "AF_INET"
      c:connect(a)
      local s, t = l:accept(), p:socket("AF_INET", "SOCK_STREAM|SOCK_NONBLOCK")
      assert.is_true(blocks(l))
      assert.is_true(blocks(c))
      assert.is_true(blocks(s))
      t:connect(a)
      assert.is_false(blocks(t))
      assert.is_false(blocks((l:accept4 "SOCK_NONBLOCK")))
    end)

    it("that nobody takes is an error at once", function()
      local s = p:socket "AF_INET"
      local a = s:bind "127.0.0.1:0"
      local c = p:socket "AF_INET"
      local err = failure(c.connect, c, a)
      assert.equal("ECONNREFUSED", err.name)
      assert.matches("^connect%(fd %d+, 127.0.0.1:%d+%) in process .*: Connection refused", tostring(err))
      assert.is_true(blocks(c))
      assert.equal("ENOENT", failure(c.connect, p:socket "AF_UNIX", "/no/such").name)
      assert.equal("ENOTSOCK", failure(c.connect, p:open "/dev/null", a).name)
      assert.equal("EISCONN", failure(function()
        local u, v = listener(p, "AF_UNIX", { family = "AF_UNIX" })
        local w = p:socket "AF_UNIX"
        w:connect(v)
        w:connect(v)
        u:close()
      end).name)
    end)

    it("waits while the listener's queue is full, and goes on when there is room", function()
      local l = p:socket "AF_UNIX"
      local a = l:bind { family = "AF_UNIX" }
      l:listen(0)
      local count = 0
      afar.nursery(function(n)
        for _ = 1, 4 do
          n:spawn(function()
            p:socket("AF_UNIX"):connect(a)
            count = count + 1
          end)
        end
        assert.is_true(probe.soon(function() return count == 1 end))
        afar.sleep(0.05)
        assert.equal(1, count)
        for _ = 1, 4 do l:accept() end
      end)
      assert.equal(4, count)
    end)

    it("that is waited for can be cancelled, and the socket closed", function()
      local l = listener(p, "AF_INET", "127.0.0.1:0")
      local err = failure(afar.timeout, 0.03, l.accept, l)
      assert.is_true(err.timeout)
      assert.is_true(blocks(l))
      err = failure(afar.nursery, function(n)
        n:spawn(l.accept, l)
        probe.settle(p)
        l:close()
      end)
      assert.equal("EBADF", err.name)
      assert.matches("the fd was closed meanwhile", tostring(err))
      assert.equal(p.pid, p:getpid())
    end)

    it("goes to one of several who wait, and the others wait on", function()
      local l, a = listener(p, "AF_INET", "127.0.0.1:0")
      local got = 0
      afar.nursery(function(n)
        for _ = 1, 3 do
          n:spawn(function()
            l:accept()
            got = got + 1
          end)
        end
        afar.sleep(0.02)
        for i = 1, 3 do
          p:socket("AF_INET"):connect(a)
          assert.is_true(probe.soon(function() return got == i end))
          assert.equal(p.pid, p:getpid())
        end
      end)
    end)

    it("is accepted with the system call's own structures", function()
      local l, a = listener(p, "AF_INET", "127.0.0.1:0")
      local c = p:socket "AF_INET"
      c:connect(a)
      local name, length = p:malloc "sockaddr_in", p:ptr(16, "uint32_t")
      local s = l:accept4(name, length, "SOCK_NONBLOCK")
      assert.equal(16, length:read())
      assert.equal(2, name:read().sin_family)
      assert.is_false(blocks(s))
    end)

    it("can be a part of a chain where it is accepted, not where it is made", function()
      local l, a = listener(p, "AF_UNIX", { family = "AF_UNIX" })
      local c = p:socket "AF_UNIX"
      c:connect(a)
      c:write "abc"
      assert.equal("abc", p:chain(function(chain) return chain:accept(l):read(10) end))
      assert.matches("connect can't be part of a chain", tostring(failure(p.chain, p, function(chain) chain:connect(c, a) end)))
    end)

    it("leaves nothing behind, whether it comes about or not", function()
      local l, a = listener(p, "AF_INET", "127.0.0.1:0")
      local function use()
        local c = p:socket "AF_INET"
        c:connect(a)
        local s = l:accept()
        s:close()
        c:close()
        pcall(c.connect, c, a)
        pcall(afar.timeout, 0.005, l.accept, l)
      end
      use()
      local before = probe.holds(p)
      for _ = 1, 10 do use() end
      assert.same(before, probe.holds(p, before))
    end)
  end)

  it("on a socket that came from elsewhere never changes how that behaves", function()
    local p = afar.here:fork()
    local a, b = p:socketpair()
    local l, where = listener(p, "AF_INET", "127.0.0.1:0")
    a:sendmsg { data = "l", fds = { l } }
    local copy = b:recvmsg().fds[1]
    assert.is_true(copy.state.foreign)
    local c = p:socket "AF_INET"
    afar.nursery(function(n)
      n:spawn(function() c:connect(where) end)
      assert.equal(c:getsockname().family, select(2, copy:accept()).family)
    end)
    local err = failure(afar.timeout, 0.03, copy.accept, copy)
    assert.is_true(err.timeout)
    p:exit()
  end)
end)
