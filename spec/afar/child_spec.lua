-- A child, as its parent sees it.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local function shell(p, text) return p:fork():exec { "sh", "-c", text } end

describe("a child", function()
  ways.each(function(way)
    local before

    before_each(function() before = probe.holds(way.root) end)
    after_each(function() assert.same(before, probe.holds(way.root, before)) end)

    it("tells its exit code", function()
      for _, code in ipairs { 0, 1, 255 } do
        local status = way.root:fork():exit(code)
        assert.same({ code = code, ok = code == 0 }, { code = status.code, ok = status.ok })
        assert.is_nil(status.signal)
        assert.equal("exit code " .. code, tostring(status))
      end
    end)

    it("tells which signal ended it", function()
      local p = way.root:fork()
      local child = p.child
      child:kill "SIGKILL"
      local status = child:wait()
      assert.same({ signal = "SIGKILL", core = false, ok = false }, { signal = status.signal, core = status.core, ok = status.ok })
      assert.equal("killed by SIGKILL", tostring(status))
    end)

    it("execs and can be awaited again and by many", function()
      local child = shell(way.root, "sleep 0.1; exit 3")
      local got = {}
      afar.nursery(function(n)
        for i = 1, 5 do
          n:spawn(function() got[i] = child:wait().code end)
        end
      end)
      assert.same({ 3, 3, 3, 3, 3 }, got)
      assert.equal(3, child:wait().code)
      assert.is_true(child:has_ended())
    end)

    it("is not blocked for, nor is its parent", function()
      local child = shell(way.root, "exec sleep 60")
      afar.nursery(function(n)
        n:spawn(child.wait, child)
        probe.works(way.root)
        assert.is_false(child:has_ended())
        child:kill()
      end)
      assert.equal("SIGTERM", child.status.signal)
    end)

    it("raises in check what is not success", function()
      assert.is_true(shell(way.root, "exit 0"):check().ok)
      local child = shell(way.root, "exit 4")
      local ok, err = pcall(child.check, child)
      assert.is_false(ok)
      assert.equal(4, err.status.code)
      assert.equal(
        ("check(child %d (sh -c exit 4) of %s) in %s: exit code 4"):format(child.pid, tostring(way.root), tostring(way.root)),
        tostring(err)
      )
    end)

    it("that has ended gets no signal, which is no error", function()
      local child = shell(way.root, "exit 0")
      assert.is_true(probe.soon(function() return not probe.runs(child.pid) end))
      child:kill "SIGKILL"
      assert.equal(0, child:wait().code)
      child:kill "SIGKILL"
    end)

    it("gets any signal, and 0 asks whether it is there", function()
      local child = shell(way.root, "trap 'exit 9' USR1; while :; do sleep 0.01; done 2>/dev/null")
      child:kill(0)
      assert.is_true(probe.soon(function() return probe.catches(child.pid, 10) end))
      child:kill "USR1"
      assert.equal(9, child:wait().code)
    end)

    it("may be killed at any instant while it is waited for: its pidfd is its own until the end is known", function()
      for _ = 1, 20 do
        local child = shell(way.root, "exit 4")
        afar.nursery(function(n)
          n:spawn(child.wait, child)
          while not child.status do
            n:spawn(child.kill, child, 0)
            afar.sleep(0)
          end
        end)
        assert.equal(4, child.status.code)
      end
    end)

    it("is waited for no longer when the wait is cancelled", function()
      local child = shell(way.root, "exec sleep 60")
      local held = probe.holds(way.root)
      for _ = 1, 5 do
        local ok, err = pcall(afar.timeout, 0.02, child.wait, child)
        assert.is_false(ok)
        assert.is_true(err.timeout)
      end
      assert.same(held, probe.holds(way.root, held))
      child:kill()
      assert.equal("SIGTERM", child:wait().signal)
    end)

    it("is waited for by the others when one is cancelled", function()
      local child = shell(way.root, "exec sleep 60")
      local got
      afar.nursery(function(n)
        n:spawn(function()
          assert.is_nil(afar.try(afar.timeout, 0.05, child.wait, child))
          child:kill()
        end)
        n:spawn(function()
          afar.sleep(0.02)
          got = child:wait().signal
        end)
      end)
      assert.equal("SIGTERM", got)
    end)

    it("that nobody holds any more is reaped when it ends", function()
      local function start() return shell(way.root, "exec sleep 0.1").pid end
      local pid = start()
      assert.is_true(probe.soon(function()
        collectgarbage()
        collectgarbage()
        return probe.status(pid, "State") == nil
      end))
    end)

    it("exits also when the wait for that is cancelled", function()
      local p = way.root:fork()
      local child = p.child
      child:kill "SIGSTOP"
      afar.nursery(function(n)
        n:spawn(function()
          afar.sleep(0.1)
          child:kill "SIGCONT"
        end)
        local ok, err = pcall(afar.timeout, 0.02, p.exit, p, 4)
        assert.is_false(ok)
        assert.is_true(err.timeout)
        assert.is_false(p:is_alive())
      end)
      assert.equal(4, child:wait().code)
    end)

    it("is in its parent's hands only once", function()
      local p = way.root:fork()
      local child = p.child
      assert.equal(p:exit(2), child:wait())
      assert.equal(2, p:wait().code)
    end)
  end)

  it("says what is no signal", function()
    local child = shell(afar.here, "exec sleep 60")
    local ok, err = pcall(child.kill, child, "SIGTREM")
    assert.is_false(ok)
    assert.matches("SIGTREM.*SIGTERM", tostring(err))
    child:kill()
    child:wait()
  end)
end)
