-- Waiting for fds from coroutines: it never blocks the process, whatever the fd is, and whatever happens to it meanwhile.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local function sockets(p) return p:socketpair("AF_UNIX", "SOCK_STREAM") end

describe("fd:wait", function()
  ways.each(function(way)
    local p

    before_each(function() p = way.root:fork() end)
    after_each(function() p:exit() end)

    it("returns what is there as a set", function()
      local a, b = sockets(p)
      assert.same({ POLLOUT = true }, a:wait "POLLIN|POLLOUT")
      b:write "x"
      assert.same({ POLLIN = true }, a:wait())
      assert.same({ POLLIN = true, POLLOUT = true }, a:wait "POLLIN|POLLOUT")
    end)

    it("waits, and the process serves other calls meanwhile", function()
      local from, to = p:pipe2()
      local events
      afar.nursery(function(n)
        n:spawn(function() events = from:wait "POLLIN" end)
        afar.sleep(0.02)
        assert.is_nil(events)
        assert.equal(p.pid, p:getpid())
        to:write "x"
      end)
      assert.same({ POLLIN = true }, events)
    end)

    it("is at once for files and directories, which poll always reports", function()
      for _, path in ipairs { "/etc/hosts", "/etc", "/dev/null" } do
        assert.is_true(p:open(path):wait("POLLIN").POLLIN, path)
      end
    end)

    it("ends with a hangup, which nobody asked for", function()
      local from, to = p:pipe2()
      local events
      afar.nursery(function(n)
        n:spawn(function() events = from:wait "POLLIN" end)
        afar.sleep(0.02)
        to:close()
      end)
      assert.is_true(events.POLLHUP)
    end)

    it("ends with an error of the fd", function()
      local from, to = p:pipe2()
      from:close()
      assert.is_true(to:wait("POLLOUT").POLLERR)
    end)

    it("ends with an error when the fd is closed meanwhile", function()
      local from, to = p:pipe2()
      local err
      afar.nursery(function(n)
        n:spawn(function() err = select(2, afar.try(from.wait, from)) end)
        probe.settle(p)
        from:close()
      end)
      assert.equal("EBADF", err.name)
      assert.matches("closed meanwhile", tostring(err))
      to:close()
    end)

    it("does not take a new file under the same number for the old one", function()
      local from = p:pipe2()
      local err
      afar.nursery(function(n)
        n:spawn(function() err = select(2, afar.try(from.wait, from)) end)
        probe.settle(p)
        local number = from.number
        from:close()
        local other = p:open "/dev/null"
        assert.equal(number, other.number)
        assert.is_true(other:wait().POLLIN)
      end)
      assert.equal("EBADF", err.name)
    end)

    it("lets several wait for different events of one fd", function()
      local a, b = sockets(p)
      local got = {}
      afar.nursery(function(n)
        n:spawn(function() got.out = a:wait "POLLOUT" end)
        n:spawn(function() got.into = a:wait "POLLIN" end)
        n:spawn(function() got.hangup = a:wait "POLLRDHUP" end)
        assert.is_true(probe.soon(function() return got.out end))
        assert.is_nil(got.into)
        b:write "x"
        assert.is_true(probe.soon(function() return got.into end))
        assert.is_nil(got.hangup)
        b:shutdown(1)
      end)
      assert.same({ POLLOUT = true }, got.out)
      assert.is_true(got.hangup.POLLRDHUP)
    end)

    it("ends after a timeout, and the process goes on", function()
      local from = p:pipe2()
      local ok, err = pcall(afar.timeout, 0.02, from.wait, from)
      assert.is_false(ok)
      assert.is_true(err.timeout)
      assert.equal(p.pid, p:getpid())
    end)

    it("gives what comes to one of several readers, and blocks no other", function()
      local from, to = p:pipe2()
      local got = {}
      afar.nursery(function(n)
        for i = 1, 5 do
          n:spawn(function() table.insert(got, from:read() .. i) end)
        end
        afar.sleep(0.02)
        for i = 1, 5 do
          to:write "x"
          assert.is_true(probe.soon(function() return #got == i end))
          assert.equal(p.pid, afar.timeout(60, p.getpid, p))
        end
      end)
      table.sort(got)
      assert.same({ "x1", "x2", "x3", "x4", "x5" }, got)
    end)

    it("can be part of a chain", function()
      local from, to = p:pipe2()
      local data
      afar.nursery(function(n)
        n:spawn(function()
          local events
          events, data = p:chain(function(c) return c:fcntl(from, "F_GETFD"), c:read(from, 10) end)
          assert.equal(1, events)
        end)
        to:write "x"
      end)
      assert.equal("x", data)
    end)

    it("waits for the end of any process by its pidfd", function()
      way:needs "pidfd_open"
      local child = p:fork()
      local pidfd = p:pidfd_open(child.pid)
      local events
      afar.nursery(function(n)
        n:spawn(function() events = pidfd:wait() end)
        afar.sleep(0.02)
        assert.is_nil(events)
        child:exit()
      end)
      assert.is_true(events.POLLIN)
    end)
  end)

  it("refuses what are no events", function()
    local fd = afar.here:open "/dev/null"
    assert.has_error(function() fd:wait "POLLINN" end, 'wait: there is no constant "POLLINN" (did you mean "POLLIN"?)')
    assert.has_error(function() fd:wait(-1) end, 'wait: events are names such as "POLLIN|POLLOUT"')
    fd:close()
    assert.matches("was closed before", tostring(select(2, pcall(fd.wait, fd))))
  end)
end)
