-- Structured concurrency: no routine outlives its nursery, and an error in one cancels the others.

local afar = require "afar"
local loop = require "afar.loop"
local probe = require "spec.support.probe"
local sched = require "afar.sched"

local p = afar.here

local fails = require("spec.support.raised").err

local function took(f, ...)
  local start = loop.monotonic()
  f(...)
  return loop.monotonic() - start
end

describe("a nursery", function()
  it("runs all side by side, and ends when all have ended", function()
    local log, begun, together = {}, 0, nil
    local seconds = took(afar.nursery, function(n)
      for i = 1, 10 do
        n:spawn(function()
          begun = begun + 1
          afar.sleep(0.05)
          together = together or begun
          log[#log + 1] = i
        end)
      end
      assert.same({}, log)
    end)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, log)
    assert.equal(10, together) -- when the first one ended
    assert.is_true(seconds >= 0.05, seconds)
  end)

  it("wakes each of thousands who wait at once, and those who are cancelled besides", function()
    local woken, cancelled = 0, 0
    afar.nursery(function(n)
      for i = 1, 5000 do
        local routine = n:spawn(function()
          local ok = pcall(afar.sleep, i % 7 == 0 and 60 or 0.01)
          if ok then woken = woken + 1 else cancelled = cancelled + 1 end
        end)
        if i % 7 == 0 then
          n:spawn(function()
            afar.sleep(0.005)
            sched.cancel(routine, "cancelled")
          end)
        end
      end
    end)
    assert.same({ 4286, 714 }, { woken, cancelled })
  end)

  it("wakes all who wait for the same, but who was cancelled before", function()
    local id, log = loop.id(), {}
    afar.nursery(function(n)
      local routines = {}
      sched.once(id, function() log.once = true end)
      for i = 1, 4 do
        routines[i] = n:spawn(function()
          local ok = pcall(sched.wait, id, function() return true end)
          log[i] = ok
        end)
      end
      sched.turn()
      sched.cancel(routines[2], "cancelled")
      sched.turn()
      assert.same({ [2] = false }, log)
      loop.complete(id)
    end)
    assert.same({ true, false, true, true, once = true }, log)
  end)

  it("makes the calls of its routines in turns, so that none goes ahead of the others", function()
    local child, most = p:fork(), 0
    local made = {}
    afar.nursery(function(n)
      for i = 1, 20 do
        n:spawn(function()
          for j = 1, 50 do
            child:getppid()
            made[i] = j
            most = math.max(most, j - (made[i % 20 + 1] or 0))
          end
        end)
      end
    end)
    assert.is_true(most <= 3, most)
    child:exit(0)
  end)

  it("gives what its function returns, nil too", function()
    assert.same({ n = 3, [1] = 1, [3] = "x" }, (function(...)
      return { n = select("#", ...), ... }
    end)(afar.nursery(function() return 1, nil, "x" end)))
  end)

  it("passes arguments, nil too", function()
    local got
    afar.nursery(function(n)
      n:spawn(function(...) got = { n = select("#", ...), ... } end, 1, nil, nil)
    end)
    assert.same({ n = 3, 1 }, got)
  end)

  it("may be nested, and spawned into from its routines", function()
    local log = {}
    afar.nursery(function(outer)
      outer:spawn(function()
        afar.nursery(function(inner)
          inner:spawn(function()
            afar.sleep(0.01)
            outer:spawn(function() log[#log + 1] = "outer" end)
            log[#log + 1] = "inner"
          end)
        end)
        log[#log + 1] = "after inner"
      end)
    end)
    assert.same({ "inner", "after inner", "outer" }, log)
  end)

  it("can't be used when it has ended", function()
    local kept
    afar.nursery(function(n) kept = n end)
    assert.matches("it has ended", fails(kept.spawn, kept, print))
  end)

  describe("in which a routine fails", function()
    it("cancels all others, and raises that", function()
      local ended, cancelled = 0, 0
      local seconds = took(function()
        local err = fails(afar.nursery, function(n)
          for _ = 1, 5 do
            n:spawn(function()
              local ok, err = pcall(afar.sleep, 10)
              assert(not ok and afar.is_cancelled(err))
              cancelled = cancelled + 1
              error(err, 0)
            end)
          end
          n:spawn(function()
            afar.sleep(0.01)
            error("this one", 0)
          end)
          afar.sleep(10)
          ended = ended + 1
        end)
        assert.equal("this one", err)
      end)
      assert.equal(0, ended)
      assert.equal(5, cancelled)
      assert.is_true(seconds < 9)
    end)

    it("waits until the others have cleaned up", function()
      local cleaned
      fails(afar.nursery, function(n)
        n:spawn(function()
          pcall(afar.sleep, 10)
          afar.sleep(0.02)
          cleaned = true
        end)
        afar.sleep(0.01)
        error "no"
      end)
      assert.is_true(cleaned)
    end)

    it("raises the first error, and that of its function", function()
      assert.equal("first", fails(afar.nursery, function(n)
        n:spawn(function() error("first", 0) end)
        n:spawn(function() error("second", 0) end)
      end))
      assert.equal("own", fails(afar.nursery, function() error("own", 0) end))
    end)

    it("passes error objects on as they are, with where they came from", function()
      local err = fails(afar.nursery, function(n)
        n:spawn(function() p:open "/no/such" end)
      end)
      assert.is_true(afar.is_error(err, "ENOENT"))
      assert.matches("nursery_spec.lua", err.traceback)
    end)

    it("is catchable outside of the inner one, with the outer going on", function()
      local log = {}
      afar.nursery(function(outer)
        outer:spawn(function()
          assert.is_true(probe.soon(function() return #log > 0 end))
          log[#log + 1] = "outer lives"
        end)
        local value, err = afar.try(afar.nursery, function(inner)
          inner:spawn(function() error("inner dies", 0) end)
        end)
        assert.is_nil(value)
        log[#log + 1] = err
      end)
      assert.same({ "inner dies", "outer lives" }, log)
    end)
  end)

  describe("that is cancelled", function()
    it("ends at once, without an error", function()
      local seconds = took(afar.nursery, function(n)
        n:spawn(afar.sleep, 10)
        n:spawn(function() afar.nursery(function(inner) inner:spawn(afar.sleep, 10) end) end)
        afar.sleep(0.01)
        n:cancel()
        assert.is_true(afar.is_cancelled(fails(afar.sleep, 10)))
      end)
      assert.is_true(seconds < 9)
    end)

    it("cancels what is spawned later, too", function()
      local slept
      afar.nursery(function(n)
        n:cancel()
        n:spawn(function()
          afar.sleep(5)
          slept = true
        end)
      end)
      assert.is_nil(slept)
    end)

    it("takes the results of what was sent: nothing is left open far away", function()
      local child = p:fork()
      child:getcwd()
      local held = probe.holds(child)
      for _ = 1, 20 do
        afar.nursery(function(n)
          for _ = 1, 10 do
            n:spawn(function()
              child:open "/etc/passwd"
              child:pipe2()
            end)
          end
          n:spawn(function()
            afar.sleep(0)
            n:cancel()
          end)
        end)
      end
      assert.is_true(probe.soon(function() return probe.holds(child).fds <= held.fds end))
      assert.same(held, probe.holds(child, held))
      child:exit()
    end)

    it("ends what waits far away, in order", function()
      local from, to = p:pipe2()
      local log = {}
      afar.nursery(function(n)
        for i = 1, 3 do
          n:spawn(function()
            local ok, err = pcall(from.read, from)
            log[#log + 1] = tostring(ok) .. tostring(afar.is_cancelled(err))
            error(err, 0)
          end, i)
        end
        afar.sleep(0.01)
        n:cancel()
      end)
      assert.same({ "falsetrue", "falsetrue", "falsetrue" }, log)
      to:write "x"
      assert.equal("x", from:read())
      from:close()
      to:close()
    end)
  end)

  it("defers what is to be done in any case, the last first", function()
    local log = {}
    local function note(word) log[#log + 1] = word end
    fails(afar.nursery, function(n)
      n:defer(note, "first")
      n:defer(note, "second")
      n:spawn(function()
        pcall(afar.sleep, 5)
        note "routine"
      end)
      afar.sleep(0.01)
      error "no"
    end)
    assert.equal("routine second first", table.concat(log, " "))
  end)
end)

describe("a timeout", function()
  it("leaves alone what is fast enough", function()
    assert.equal("x", afar.timeout(60, function()
      afar.sleep(0.01)
      return "x"
    end))
    afar.sleep(0.02)
  end)

  it("ends what isn't, and says so", function()
    local err
    local seconds = took(function() err = fails(afar.timeout, 0.05, afar.sleep, 60) end)
    assert.is_true(err.timeout)
    assert.equal("timeout: not done within 0.05 s", tostring(err))
    assert.is_true(seconds >= 0.05 and seconds < 50)
  end)

  it("can be nested: each ends its own", function()
    local value, inner = afar.timeout(60, function() return afar.try(afar.timeout, 0.02, afar.sleep, 60) end)
    assert.is_nil(value)
    assert.is_true(inner.timeout)
    local log = {}
    local err = fails(afar.timeout, 0.05, function()
      log[1] = fails(afar.timeout, 60, afar.sleep, 60)
      error(log[1], 0)
    end)
    assert.is_true(err.timeout)
    assert.equal("timeout: not done within 0.05 s", tostring(err))
  end)

  it("ends a nursery, and all in it", function()
    local cancelled = 0
    local err = fails(afar.timeout, 0.03, afar.nursery, function(n)
      for _ = 1, 3 do
        n:spawn(function()
          pcall(afar.sleep, 5)
          cancelled = cancelled + 1
        end)
      end
    end)
    assert.is_true(err.timeout)
    assert.equal(3, cancelled)
  end)

  it("of 0 still lets a call be made that needs no waiting", function()
    assert.equal(1, afar.timeout(0, function() return 1 end))
    assert.is_true(fails(afar.timeout, 0, afar.sleep, 1).timeout)
  end)

  it("passes other errors on", function() assert.equal("mine", fails(afar.timeout, 60, error, "mine", 0)) end)
end)

describe("try", function()
  it("gives what the function gives, or nil and the error", function()
    assert.same({ 1, 2 }, { afar.try(function() return 1, 2 end) })
    assert.same({ true }, { afar.try(function() end) })
    assert.same({}, { afar.try(function() return nil end) })
    local value, err = afar.try(p.open, p, "/no/such")
    assert.is_nil(value)
    assert.equal("ENOENT", err.name)
    assert.same({ nil, "mine" }, { afar.try(error, "mine", 0) })
  end)

  it("lets cancellations pass", function()
    local after
    afar.nursery(function(n)
      n:spawn(function()
        afar.try(afar.sleep, 5)
        after = true
      end)
      afar.sleep(0.01)
      n:cancel()
    end)
    assert.is_nil(after)
  end)
end)

describe("a cancellation", function()
  local child, moment

  before_each(function()
    child = p:fork()
    moment = child:ptr(("\0"):rep(8) .. "\0\45\49\1\0\0\0\0") -- a struct timespec: 20 ms
  end)
  after_each(function() child:exit() end)

  local function blocked() child:nanosleep(moment, 0) end

  it("that comes while another one is to be raised is raised after that", function()
    local rounds = 0
    local err = fails(afar.timeout, 0.015, function()
      for i = 1, 10 do
        rounds = i
        afar.try(afar.timeout, 0.01, blocked)
      end
    end)
    assert.is_true(err.timeout)
    assert.is_true(rounds < 10)
  end)

  it("that is to be raised when a nursery's function ends lets no routine outlive it, and what is deferred runs", function()
    local deferred, running = false, true
    fails(afar.timeout, 0.01, afar.nursery, function(n)
      n:defer(function() deferred = not running end)
      n:spawn(function()
        pcall(afar.sleep, 5)
        afar.sleep(0.01)
        running = false
      end)
      blocked()
    end)
    assert.is_true(deferred)
  end)

  it("is not lost where a program can't be executed, and nothing of that stays", function()
    for i = 1, 10 do
      local err = fails(afar.timeout, 0.002 + 0.0004 * i, function()
        for _ = 1, 1000 do afar.try(p.run, p, { "/nonexistent" }) end
      end)
      assert.is_true(err.timeout)
    end
  end)
end)
