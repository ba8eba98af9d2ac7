-- Signals: masks, dispositions, sending with values, and the sequence of those that come.

local afar = require "afar"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").saying

describe("signals", function()
  ways.each(function(way)
    it("that are blocked come as a sequence, with their sender and value", function()
      way:with_fork(function(p)
        local s = p:signals { "SIGUSR1", "SIGRTMIN+2" }
        way.root:kill(p, "SIGUSR1")
        local info = afar.timeout(60, s.next, s)
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
    superuser.needed()
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

describe("several sequences of one process", function()
  for _, name in ipairs { "here", "over pipes" } do
    ways.over(ways.get(name), function(way)
      local function is_blocked(p, signal) return p:sigprocmask()[signal] or false end

      it("each get every signal of their set, whoever reads it first", function()
        way:with_fork(function(p)
          local a, b, c = p:signals { "SIGUSR1", "SIGRTMIN+1" }, p:signals { "SIGUSR1", "SIGRTMIN+1" }, p:signals "SIGUSR2"
          local got = { [a] = {}, [b] = {} }
          afar.timeout(60, afar.nursery, function(n)
            for _, one in ipairs { a, b } do
              n:spawn(function()
                for info in one do
                  table.insert(got[one], info.value)
                  if #got[one] == 50 then return end
                end
              end)
            end
            for i = 1, 50 do
              p:rt_sigqueueinfo(p, "SIGRTMIN+1", i)
              if i % 7 == 0 then afar.sleep(0.001) end
            end
          end)
          assert.same(got[a], got[b])
          assert.equal(50, got[a][50])
          for _ = 1, 20 do
            local seen = 0
            afar.timeout(60, afar.nursery, function(n)
              for _, one in ipairs { a, b } do
                n:spawn(function()
                  assert.equal("SIGUSR1", one:next().signal)
                  seen = seen + 1
                end)
              end
              p:kill(p, "SIGUSR1")
            end)
            assert.equal(2, seen)
          end
          p:kill(p, "SIGUSR2")
          assert.equal("SIGUSR2", c:next().signal)
          for _, one in ipairs { a, b, c } do one:close() end
        end)
      end)

      it("keep it blocked until the last one that wants it ends", function()
        way:with_fork(function(p)
          local a = p:signals { "SIGUSR1", "SIGUSR2" }
          local b = p:signals "SIGUSR1"
          a:close()
          assert.is_true(is_blocked(p, "SIGUSR1"))
          assert.is_false(is_blocked(p, "SIGUSR2"))
          p:kill(p, "SIGUSR1")
          assert.equal("SIGUSR1", b:next().signal)
          b:close()
          b:close()
          assert.is_false(is_blocked(p, "SIGUSR1"))
          p:sigprocmask("SIG_BLOCK", "SIGUSR1")
          b = p:signals "SIGUSR1"
          b:close()
          assert.is_true(is_blocked(p, "SIGUSR1"))
          local c, d
          afar.nursery(function(n)
            local old = p:signals "SIGUSR2"
            n:spawn(function() c = p:signals "SIGUSR2" end)
            n:spawn(old.close, old)
            n:spawn(function() d = p:signals "SIGUSR2" end)
          end)
          assert.is_true(is_blocked(p, "SIGUSR2"))
          c:close()
          d:close()
          assert.is_false(is_blocked(p, "SIGUSR2"))
        end)
      end)

      it("of SIGCHLD see the children that others wait for, and take no news from them", function()
        way:with_fork(function(p)
          local own = p:signals "SIGCHLD"
          local child = p:fork():exec { "sleep", "100" }
          local heard = {}
          afar.timeout(60, afar.nursery, function(n)
            n:spawn(function()
              for info in own do
                heard[#heard + 1] = info.signal
                if child.status then return end
              end
            end)
            for _ = 1, 50 do
              n:spawn(child.kill, child, "SIGSTOP")
              assert.equal("SIGSTOP", child:wait({ stopped = true }).stopped)
              n:spawn(child.kill, child, "SIGCONT")
              assert.is_true(child:wait({ continued = true }).continued)
            end
            child:kill "SIGKILL"
            assert.equal("SIGKILL", child:wait({ stopped = true }).signal)
            n:cancel()
          end)
          assert.is_true(#heard > 10)
          assert.equal("SIGCHLD", heard[1])
          own:close()
        end)
      end)
    end)
  end
end)
