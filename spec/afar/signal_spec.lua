-- Signals: masks, dispositions, sending with values, and the sequence of those that come.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").saying

describe("signals", function()
  ways.each(function(way)
    it("that are blocked come as a sequence, with their sender and value", function()
      way:with_fork(function(p)
        local s = p:signals { "SIGUSR1", "SIGRTMIN+2" }
        way.root:kill(p, "SIGUSR1")
        local info = afar.timeout(5, s.next, s)
        assert.equal("SIGUSR1", info.signal)
        if not way.emulated then assert.equal(way.root.pid, info.pid) end
        p:rt_sigqueueinfo(p, "SIGRTMIN+2", 1234)
        p:rt_sigqueueinfo(p, "SIGRTMIN+2", 77)
        local values = {}
        for one in s do
          values[#values + 1] = one.value
          if #values == 2 then break end
        end
        if not way.emulated then assert.same({ 1234, 77 }, values) end
        s:close()
        assert.is_nil(p:sigprocmask().SIGUSR1)
      end)
    end)

    it("are awaited without blocking the process", function()
      way:with_fork(function(p)
        local s, got = p:signals "SIGUSR2", nil
        afar.nursery(function(n)
          n:spawn(function() got = s:next() end)
          afar.sleep(0.05)
          assert.equal(p.pid, p:getpid())
          p:kill(p, "SIGUSR2")
        end)
        assert.equal("SIGUSR2", got.signal)
        s:close()
      end)
    end)

    it("have masks, which are given back as they were", function()
      way:with_fork(function(p)
        local before = p:sigprocmask("SIG_BLOCK", { "SIGUSR1" })
        assert.is_true(before.SIGINT)
        assert.is_nil(before.SIGUSR1)
        assert.is_true(p:sigprocmask().SIGUSR1)
        p:sigprocmask("SIG_SETMASK", before)
        assert.same(before, p:sigprocmask())
      end)
    end)

    it("have dispositions, which are given back as they were set", function()
      way:with_fork(function(p)
        p:sigaction("SIGWINCH", { handler = "SIG_DFL", flags = "SA_RESTART|SA_NODEFER", mask = { "SIGUSR1", "SIGUSR2" } })
        local now = p:sigaction "SIGWINCH"
        assert.equal("SIG_DFL", now.handler)
        assert.same({ SIGUSR1 = true, SIGUSR2 = true }, now.mask)
        p:sigaction("SIGUSR1", "SIG_IGN")
        p:kill(p, "SIGUSR1")
        assert.equal("SIG_IGN", p:sigaction("SIGUSR1").handler)
      end)
    end)

    it("that are wrong are refused before the call", function()
      fails('no constant "SIGNOPE"', way.root.kill, way.root, 0, "SIGNOPE")
      fails("99 is no signal", way.root.kill, way.root, 0, 99)
      fails("runs no handlers", way.root.sigaction, way.root, "SIGUSR1", function() end)
      fails("is a whole number", way.root.rt_sigqueueinfo, way.root, 1, "SIGUSR1", "x")
      fails("a pid was expected", way.root.kill, way.root, "1", "SIGUSR1")
    end)
  end)

  it("go by pidfd too, with a value", function()
    local p = afar.here:fork()
    local s = p:signals "SIGUSR1"
    afar.here:pidfd_send_signal(p.child, "SIGUSR1", 5)
    assert.equal(5, s:next().value)
    s:close()
    p:exit(0)
  end)

  it("never go to the wrong process: an init's own pid is not its pid here", function()
    local p = afar.here:clone "CLONE_NEWPID"
    assert.equal(1, p.pid)
    afar.here:kill(p, "SIGKILL")
    assert.equal("SIGKILL", p:wait().signal)
    local inner = afar.here:clone "CLONE_NEWPID"
    fails("doesn't see by number", inner.kill, inner, afar.here, "SIGUSR1")
    local kid = inner:fork()
    fails("doesn't see by number", afar.here.kill, afar.here, kid, "SIGUSR1")
    inner:exit(0)
    assert.is_true(probe.soon(function() return not kid:is_alive() end))
  end)
end)
