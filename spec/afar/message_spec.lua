-- Messages that carry more than bytes: fds, credentials, what the network tells.

local afar = require "afar"
local cmsg = require "afar.cmsg"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local failure = require("spec.support.raised").err

local function control(message, type_)
  for _, one in ipairs(message.control) do
    if one.type == type_ then return one end
  end
  error("no " .. type_)
end

describe("a message", function()
  ways.each(function(way)
    local p

    before_each(function() p = way.root:fork() end)
    after_each(function() p:exit() end)

    it("brings an fd as a new handle, close-on-exec, and nothing else", function()
      local a, b = p:socketpair()
      a:sendmsg { data = "data", fds = { b } }
      local m = b:recvmsg(100)
      assert.equal("data", m.data)
      assert.equal(1, #m.fds)
      assert.equal(1, #m.control)
      assert.is_nil(m.name)
      assert.equal(p.machine.sys.C.MSG_CMSG_CLOEXEC, m.flags)
      assert.is_false(m.truncated)
      local copy = m.fds[1]
      assert.not_equal(b.number, copy.number)
      assert.equal(p.table, copy.table)
      assert.equal(1, copy:fcntl "F_GETFD")
      b:close()
      a:write "x"
      assert.equal("x", copy:read())
    end)

    it("brings as many fds as the kernel allows, of all kinds, in order", function()
      local a, b = p:socketpair()
      local file, from = p:open "/etc/hosts", p:pipe2()
      local list = { file, from, a }
      for i = 4, 253 do list[i] = file end
      a:sendmsg { data = "x", fds = list }
      local m = b:recvmsg()
      assert.equal(253, #m.fds)
      assert.same({ "file", "pipe", "socket" }, { m.fds[1].kind, m.fds[2].kind, m.fds[3].kind })
      assert.equal(file:fstat().st_ino, m.fds[253]:fstat().st_ino)
      assert.is_false(m.control_truncated)
    end)

    it("takes fds from one table to another", function()
      local a, b = p:socketpair()
      local q = p:fork()
      local other = q:inherit(b)
      local got
      afar.nursery(function(n)
        n:spawn(function() got = other:recvmsg() end)
        local fd = p:open "/etc/hostname"
        a:sendmsg { data = "x", fds = { fd } }
        fd:close()
      end)
      assert.equal(q.table, got.fds[1].table)
      assert.equal(p:read_file "/etc/hostname", got.fds[1]:read())
      local err = failure(a.sendmsg, a, { data = "x", fds = { got.fds[1] } })
      assert.matches("the fd belongs to fd table %d+ .*, the process to fd table %d+", tostring(err))
      q:exit()
    end)

    it("tells who sent it", function()
      local a, b = p:socketpair()
      b:setsockopt("SO_PASSCRED", true)
      a:sendmsg { data = "x" }
      local who = control(b:recvmsg(), "SCM_CREDENTIALS")
      assert.same({ p.pid, p:geteuid(), p:getegid() }, { who.pid, who.uid, who.gid })
      local q = p:fork()
      q:inherit(a):sendmsg { data = "x" }
      assert.equal(q.pid, control(b:recvmsg(), "SCM_CREDENTIALS").pid)
      assert.equal(p.pid, b:getsockopt("SO_PEERCRED").pid)
      q:exit()
    end)

    it("takes and tells what belongs to its packet", function()
      local s, c = p:socket("AF_INET", "SOCK_DGRAM"), p:socket("AF_INET", "SOCK_DGRAM")
      local a = s:bind "0.0.0.0:0"
      s:setsockopt("IP_PKTINFO", true)
      s:setsockopt("IP_RECVTTL", true)
      s:setsockopt("SO_TIMESTAMP", true)
      c:sendmsg {
        data = { "in ", "parts" }, name = { addr = "127.0.0.3", port = a.port },
        control = { { type = "IP_TTL", value = 7 }, { type = "IP_PKTINFO", spec_dst = "127.0.0.2" } },
      }
      local m = s:recvmsg(4)
      assert.equal("in p", m.data)
      assert.is_true(m.truncated)
      assert.equal("127.0.0.2", m.name.addr)
      assert.equal(7, control(m, "IP_TTL").value)
      assert.equal("127.0.0.3", control(m, "IP_PKTINFO").addr)
      assert.equal(1, control(m, "IP_PKTINFO").ifindex)
      assert.is_true(math.abs(control(m, "SCM_TIMESTAMP").value - os.time()) < 60)
    end)

    it("of IPv6 tells its destination", function()
      local s, c = p:socket("AF_INET6", "SOCK_DGRAM"), p:socket("AF_INET6", "SOCK_DGRAM")
      local a = s:bind "[::]:0"
      s:setsockopt("IPV6_RECVPKTINFO", true)
      s:setsockopt("IPV6_RECVHOPLIMIT", true)
      c:sendmsg { data = "x", name = { addr = "::1", port = a.port }, control = { { type = "IPV6_HOPLIMIT", value = 9 } } }
      local m = s:recvmsg()
      assert.same({ "::1", 1 }, { control(m, "IPV6_PKTINFO").addr, control(m, "IPV6_PKTINFO").ifindex })
      assert.equal(9, control(m, "IPV6_HOPLIMIT").value)
    end)

    it("of the error queue tells what the network said", function()
      local closed = p:socket("AF_INET", "SOCK_DGRAM")
      local a = closed:bind "127.0.0.1:0"
      closed:close()
      local s = p:socket("AF_INET", "SOCK_DGRAM")
      s:setsockopt("IP_RECVERR", true)
      local m
      afar.nursery(function(n)
        n:spawn(function() m = s:recvmsg(100, "MSG_ERRQUEUE") end)
        s:sendto("lost", 0, a)
      end)
      assert.equal("lost", m.data)
      assert.equal(a, m.name)
      local err = control(m, "IP_RECVERR")
      assert.equal("ECONNREFUSED", err.name)
      assert.equal("127.0.0.1", err.offender.addr)
    end)

    it("goes by the system call itself with pointers", function()
      local ffi = require "ffi"
      local ctype = p.machine.sys.ctype
      local a, b = p:socketpair()
      local data, into = p:ptr "pointer", p:malloc(20)
      local function header(memory)
        local iov = p:ptr(ffi.new(ctype.iovec, memory.address, memory.size))
        local h = ffi.new(ctype.msghdr)
        h.msg_iov, h.msg_iovlen = iov.address, 1
        return p:ptr(h), iov
      end
      local out, keep_out = header(data)
      local back, keep_back = header(into)
      assert.equal(7, a:sendmsg(out))
      assert.equal(7, b:recvmsg(back, "MSG_DONTWAIT"))
      assert.equal("pointer", into:bytes(0, 7))
      assert.is_not_nil(keep_out and keep_back)
    end)

    it("waits, and what a cancelled one would have brought comes to the next", function()
      local a, b = p:socketpair()
      assert.is_true(failure(afar.timeout, 0.02, b.recvmsg, b).timeout)
      a:sendmsg { data = "x", fds = { a } }
      assert.equal(1, #b:recvmsg().fds)
    end)

    it("leaves nothing behind: fds that nobody holds any more are closed", function()
      local a, b = p:socketpair()
      local function use()
        a:sendmsg { data = "x", fds = { a, b, a } }
        b:recvmsg()
      end
      use()
      local before = probe.holds(p)
      for _ = 1, 20 do use() end
      assert.same(before, probe.holds(p, before))
    end)
  end)

  local p = afar.here

  it("refuses bad input before any call", function()
    local a = p:socketpair()
    local many = {}
    for i = 1, 254 do many[i] = a end
    for expected, m in pairs {
      ["a table or a pointer was expected, not string"] = "text",
      ['a message has no "dta" %(did you mean "data"%?%)'] = { dta = "x" },
      ["data is a string or a list of strings, not number"] = { data = 5 },
      ["the control message SCM_RIGHTS needs fds = a list of 1 to 253 fds"] = { data = "x", fds = {} },
      ["SCM_RIGHTS needs fds = a list of 1 to 253"] = { data = "x", fds = many },
      ["an fd was expected, not table"] = { data = "x", fds = { {} } },
      ["there is no control message SCM_RIGHT to be sent by name"] = { control = { { type = "SCM_RIGHT" } } },
      ["there is no control message IP_RECVERR to be sent by name"] = { control = { { type = "IP_RECVERR" } } },
      ["SCM_CREDENTIALS needs pid, uid, gid"] = { control = { { type = "SCM_CREDENTIALS", pid = 1 } } },
      ["IP_PKTINFO needs ifindex, spec_dst"] = { control = { { type = "IP_PKTINFO", addr = "x" } } },
      ["a control message is a table, not string"] = { control = { "x" } },
      ["needs a level and a type"] = { control = { { data = "x" } } },
      ['"nowhere" is none'] = { data = "x", name = "nowhere" },
    } do
      assert.matches(expected, tostring(failure(a.sendmsg, a, m)))
    end
    local b = p:open "/etc/hosts"
    b:close()
    assert.matches("was closed before", tostring(failure(a.sendmsg, a, { fds = { b } })))
  end)

  it("can't take an fd along that its own chain opens", function()
    local a = p:socketpair()
    local err = failure(p.chain, p, function(c) c:sendmsg(a, { data = "x", fds = { c:open "/etc/hosts" } }) end)
    assert.matches("its number is not known yet", tostring(err))
  end)

  it("of a type that isn't known keeps its bytes; one that is cut off ends the list", function()
    local r = { sys = p.machine.sys, process = p, pin = function() end }
    local bytes = cmsg.encode(r, { { level = 99, type = 7, data = "abc" }, { type = "IP_TTL", value = 5 } })
    assert.equal(0, #bytes % 8)
    local list = cmsg.decode(r, bytes)
    assert.same({ { level = 99, type = 7, data = "abc" }, { type = "IP_TTL", value = 5 } }, list)
    assert.equal(1, #cmsg.decode(r, bytes:sub(1, -6)))
    assert.same({}, cmsg.decode(r, ("\0"):rep(32)))
    assert.same({}, cmsg.decode(r, ("\255"):rep(40)))
  end)
end)
