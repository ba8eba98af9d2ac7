-- prctl, capabilities, limits, priority, CPUs.

local afar = require "afar"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").saying

describe("a process's attributes", function()
  ways.each(function(way)
    it("has a name that can be changed", function()
      way:with_fork(function(p)
        p:prctl("PR_SET_NAME", "newname")
        assert.equal("newname", p:prctl "PR_GET_NAME")
      end)
    end)

    it("dies with its parent, unless told otherwise", function()
      way:needs "the parent-death signal of a clone"
      way:with_fork(function(p)
        assert.equal(9, p:prctl "PR_GET_PDEATHSIG")
        p:prctl("PR_SET_PDEATHSIG", "SIGTERM")
        assert.equal(15, p:prctl "PR_GET_PDEATHSIG")
      end)
    end)

    it("has limits, which are given back as they were", function()
      way:with_fork(function(p)
        local before = p:prlimit(0, "RLIMIT_CORE")
        assert.same(before, p:prlimit(0, "RLIMIT_CORE", { soft = 0, hard = before.hard }))
        assert.equal(0, p:prlimit(0, "RLIMIT_CORE").soft)
      end)
    end)

    it("runs on CPUs that can be chosen", function()
      way:with_fork(function(p)
        local all = p:sched_getaffinity()
        assert.is_true(#all >= 1)
        fails("EINVAL", p.sched_setaffinity, p, 0, {})
        p:sched_setaffinity(0, { all[1] })
        assert.same({ all[1] }, p:sched_getaffinity())
        p:sched_setaffinity(0, all)
        assert.same(all, p:sched_getaffinity())
      end)
    end)

    it("has a priority", function()
      way:with_fork(function(p)
        local before = p:getpriority()
        p:setpriority("PRIO_PROCESS", 0, before + 3)
        assert.equal(before + 3, p:getpriority())
      end)
    end)

    it("refuses nonsense before the call", function()
      fails("no constant", way.root.prctl, way.root, "PR_NOPE")
      fails("no CPU's number", way.root.sched_setaffinity, way.root, 0, { -1 })
      fails("new limits are", way.root.prlimit, way.root, 0, "RLIMIT_CORE", {})
    end)
  end)

  it("has capabilities: inheritable and ambient ones in a user namespace", function()
    local p = afar.here:clone "CLONE_NEWUSER"
    local sets = p:capget()
    assert.is_true(sets.effective.CAP_SYS_ADMIN)
    sets.inheritable.CAP_SYS_ADMIN = true
    p:capset(sets)
    assert.is_true(p:capget().inheritable.CAP_SYS_ADMIN)
    assert.equal(0, p:prctl("PR_CAP_AMBIENT", "PR_CAP_AMBIENT_RAISE", "CAP_SYS_ADMIN"))
    assert.equal(1, p:prctl("PR_CAP_AMBIENT", "PR_CAP_AMBIENT_IS_SET", "CAP_SYS_ADMIN"))
    assert.equal(9, p:prctl "PR_GET_PDEATHSIG")
    p:capset { effective = { "CAP_KILL" }, permitted = { "CAP_KILL" } }
    assert.same({ CAP_KILL = true }, p:capget().effective)
    p:exit(0)
  end)
end)
