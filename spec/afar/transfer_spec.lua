-- Bytes through sockets and pipes, with flags and addresses, in both levels.

local afar = require "afar"
local ffi = require "ffi"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local failure = require("spec.support.raised").err

local function datagrams(p)
  local s = p:socket("AF_INET", "SOCK_DGRAM")
  return s, s:bind "127.0.0.1:0"
end

describe("bytes", function()
  ways.each(function(way)
    local p

    before_each(function() p = way.root:fork() end)
    after_each(function() p:exit() end)

    it("go through a pipe from pointers to pointers", function()
      local from, to = p:pipe2()
      local written, rest = to:write(p:ptr "hello")
      assert.equal(5, written.size)
      assert.equal(0, rest.size)
      written:write "xxxxx"
      assert.equal("hello", from:read(written):read())
    end)

    it("go through a pipe from several places to several, in order", function()
      local from, to = p:pipe2()
      local function vector(a, b)
        local iov = ffi.new(ffi.typeof("$[2]", p.machine.sys.ctype.iovec))
        iov[0].iov_base, iov[0].iov_len, iov[1].iov_base, iov[1].iov_len = a.address, a.size, b.address, b.size
        return p:ptr(iov)
      end
      local a, b = p:ptr "foobar", p:ptr "quux"
      assert.equal(10, to:writev(vector(a, b), 2))
      local c, d = p:malloc(6), p:malloc(4)
      assert.equal(10, from:readv(vector(c, d), 2))
      assert.equal("foobar", c:read())
      assert.equal("quux", d:read())
    end)

    it("don't come out of a pipe as out of a socket", function()
      local from, to = p:pipe2()
      to:write "x"
      assert.equal("ENOTSOCK", failure(from.recv, from, 5).name)
      assert.equal("x", from:read())
    end)

    it("into a socket that isn't connected, or a pipe that nobody reads, are an error and not the end", function()
      local s = p:socket "AF_INET"
      assert.equal("EPIPE", failure(s.write, s, "x").name)
      assert.equal("EPIPE", failure(s.send, s, "x").name)
      local from, to = p:pipe2()
      from:close()
      assert.equal("EPIPE", failure(to.write, to, "x").name)
      assert.is_true(p:is_alive())
    end)

    it("go to an address, and come from one", function()
      local s, a = datagrams(p)
      local c, b = datagrams(p)
      assert.equal(3, c:sendto("abc", 0, a))
      local data, from = s:recvfrom(100)
      assert.equal("abc", data)
      assert.equal(b, from)
      assert.equal(0, s:sendto("", 0, from))
      assert.equal("", c:recv())
    end)

    it("go to a connected datagram socket, a message a time", function()
      local s, a = datagrams(p)
      local c = p:socket("AF_INET", "SOCK_DGRAM")
      c:connect(a)
      c:write "one"
      c:send "two"
      assert.equal("one", s:read())
      assert.equal("tw", s:recv(2))
      c:write "three"
      assert.equal("three", s:recv())
    end)

    it("are waited for without blocking the process, unless they shall not be", function()
      local a, b = p:socketpair()
      local got
      afar.nursery(function(n)
        n:spawn(function() got = a:recv() end)
        afar.sleep(0.01)
        assert.equal(p.pid, p:getpid())
        assert.is_nil(got)
        b:send "x"
      end)
      assert.equal("x", got)
      assert.equal("EAGAIN", failure(a.recv, a, 10, "MSG_DONTWAIT").name)
      b:send "peek"
      assert.equal("pe", a:recv(2, "MSG_PEEK"))
      assert.equal("peek", a:recv(10, "MSG_DONTWAIT"))
    end)

    it("all go out, however slowly they are taken; or, on request, what can go at once", function()
      local a, b = p:socketpair()
      local text = ("0123456789abcdef"):rep(200000)
      local got, size = {}, 0
      afar.nursery(function(n)
        n:spawn(function() assert.equal(#text, a:send(text)) end)
        while size < #text do
          got[#got + 1] = b:recv(300000)
          size = size + #got[#got]
        end
      end)
      assert.is_true(table.concat(got) == text)
      local sent = a:send(text:sub(1, 2 ^ 20), "MSG_DONTWAIT")
      assert.is_true(sent > 0 and sent < 2 ^ 20)
      assert.equal("EAGAIN", failure(function()
        for _ = 1, 100 do a:send(text:sub(1, 2 ^ 20), "MSG_DONTWAIT") end
      end).name)
    end)

    it("out of band are waited for by themselves", function()
      local l = p:socket "AF_INET"
      local a = l:bind "127.0.0.1:0"
      l:listen()
      local c = p:socket "AF_INET"
      c:connect(a)
      local s = l:accept()
      local got
      afar.nursery(function(n)
        n:spawn(function() got = s:recv(10, "MSG_OOB") end)
        c:send "plain"
        afar.sleep(0.02)
        assert.is_nil(got)
        c:send("!", "MSG_OOB")
      end)
      assert.equal("!", got)
      assert.equal("plain", s:recv())
    end)

    it("go by the system call itself with pointers", function()
      local s, a = datagrams(p)
      local c, b = datagrams(p)
      local sent, rest = c:sendto(p:ptr "pointer", 0, a)
      assert.equal(7, sent.size)
      assert.equal(0, rest.size)
      local memory, name, length = p:malloc(100), p:malloc "sockaddr_in", p:ptr(16, "uint32_t")
      local filled
      filled, rest = s:recvfrom(memory, 0, name, length)
      assert.equal("pointer", filled:read())
      assert.equal(93, rest.size)
      assert.equal(b.port, bit.bswap(bit.lshift(name:read().sin_port, 16)))
      assert.equal(3, c:sendto("abc", 0, a))
      assert.equal("abc", (s:recv(p:malloc(10), "MSG_DONTWAIT")):read())
      assert.equal("EAGAIN", failure(s.recv, s, p:malloc(10), "MSG_DONTWAIT").name)
    end)

    it("that nobody takes any more end all who wait for them", function()
      local a, b = p:socketpair()
      local ends = {}
      local function note(i, ok, result) ends[i] = ok and result or result.name end
      afar.nursery(function(n)
        for i = 1, 3 do
          n:spawn(function() note(i, pcall(a.recv, a)) end)
        end
        n:spawn(function() note(4, pcall(a.send, a, ("x"):rep(2 ^ 22))) end)
        probe.settle(p)
        assert.same({}, ends)
        b:close()
      end)
      -- What was never read makes the end a reset for the first who learns of it.
      local resets = 0
      for i = 1, 4 do
        if ends[i] == "ECONNRESET" then resets = resets + 1 end
      end
      assert.equal(1, resets)
      assert.is_true(ends[4] == "EPIPE" or ends[4] == "ECONNRESET")
      assert.is_true(ends[1] == "" or ends[1] == "ECONNRESET")
    end)

    it("of a fd that is closed meanwhile don't come from its successor", function()
      local a, b = p:socketpair()
      local number, err = a.number, nil
      afar.nursery(function(n)
        n:spawn(function() err = failure(a.recv, a) end)
        probe.settle(p)
        a:close()
        b:close()
        local from, to = p:pipe2()
        assert.equal(number, from.number)
        to:write "other"
        afar.sleep(0.01)
        assert.equal("other", from:read())
      end)
      assert.equal("EBADF", err.name)
    end)
  end)

  it("refuse bad input before any call", function()
    local p = afar.here
    local a = p:socketpair()
    for expected, f in pairs {
      ["recv: a number of bytes or a pointer was expected, not x"] = function() a:recv "x" end,
      ["recv: a number of bytes or a pointer was expected, not %-1"] = function() a:recv(-1) end,
      ["send: a string or a pointer was expected, not number"] = function() a:send(5) end,
      ["send: a string or a pointer was expected, not nil"] = function() a:send() end,
      ['no constant "MSG_PEAK" %(did you mean "MSG_PEEK"'] = function() a:recv(5, "MSG_PEAK") end,
      ['sendto%("here"%).*"here" is none'] = function() a:sendto("x", 0, "here") end,
    } do
      assert.matches(expected, tostring(failure(f)))
    end
  end)

  -- Each writer's blocks are sent by one call each; the kernel mixes those of several.
  it("of several processes into one TCP connection are none lost", function()
    local p = afar.here
    local l = p:socket "AF_INET"
    local a = l:bind "127.0.0.1:0"
    l:listen()
    local c = p:socket "AF_INET"
    c:connect(a)
    local s, size, count = l:accept(), 100000, 5
    local total = 0
    afar.nursery(function(n)
      for i = 1, count do
        n:spawn(function()
          local kid = p:fork()
          assert.equal(size, kid:inherit(c):send(("%d"):format(i):rep(size)))
          kid:exit()
        end)
      end
      local seen = {}
      while total < size * count do
        local data = s:recv()
        for i = 1, count do
          seen[i] = (seen[i] or 0) + select(2, data:gsub(tostring(i), ""))
        end
        total = total + #data
      end
      for i = 1, count do assert.equal(size, seen[i]) end
    end)
  end)
end)
