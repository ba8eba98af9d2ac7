--- Structured concurrency: nurseries, timeouts, cancellation; and that nothing stays behind far away.

local afar = require "afar"
local probe = require "spec.support.probe"
local sched = require "afar.sched"

local function message(f, ...)
  local ok, err = pcall(f, ...)
  assert(not ok, "it should have failed")
  return tostring(err), err
end

describe("a nursery", function()
  it("ends when all in it have ended, and gives what its function returns", function()
    local order = {}
    local result = afar.nursery(function(n)
      for i = 3, 1, -1 do
        n:spawn(function(text)
          afar.sleep(i * 0.01)
          order[#order + 1] = text .. i
        end, "r")
      end
      return "done"
    end)
    assert.equal("done", result)
    assert.same({ "r1", "r2", "r3" }, order)
  end)

  it("cancels all others at the first error, and raises it", function()
    local ended = {}
    local text = message(afar.nursery, function(n)
      n:spawn(function()
        local ok, err = pcall(afar.sleep, 60)
        ended[1] = { ok, afar.is_cancelled(err) }
        error(err, 0)
      end)
      n:spawn(function()
        afar.sleep(0.01)
        error "the first"
      end)
      local ok, err = pcall(afar.sleep, 60)
      ended[2] = { ok, afar.is_cancelled(err) }
      error(err, 0)
    end)
    assert.matches("the first$", text)
    assert.same({ { false, true }, { false, true } }, ended)
  end)

  it("passes an error in its own function on, after the others have ended", function()
    local ended
    assert.matches("own", message(afar.nursery, function(n)
      n:spawn(function()
        pcall(afar.sleep, 60)
        ended = true
      end)
      afar.sleep(0)
      error "own"
    end))
    assert.is_true(ended)
  end)

  it("runs what was deferred however it ends, the last first", function()
    local order = {}
    message(afar.nursery, function(n)
      n:defer(function() order[#order + 1] = "a" end)
      n:defer(function()
        afar.sleep(0.01)
        order[#order + 1] = "b"
      end)
      error "x"
    end)
    assert.same({ "b", "a" }, order)
  end)

  it("can be cancelled, which is no error", function()
    local slept = 0
    afar.nursery(function(n)
      n:spawn(function()
        afar.sleep(60)
        slept = slept + 1
      end)
      afar.sleep(0.01)
      n:cancel()
    end)
    assert.equal(0, slept)
  end)

  it("takes nobody in once it has ended", function()
    local kept
    afar.nursery(function(n) kept = n end)
    assert.matches("it has ended", message(kept.spawn, kept, print))
  end)

  it("is cancelled with all inside by a timeout around it", function()
    local inner
    local text, err = message(afar.timeout, 0.05, function()
      afar.nursery(function(n)
        n:spawn(function()
          local _, why = pcall(afar.sleep, 60)
          inner = afar.is_cancelled(why)
          error(why, 0)
        end)
      end)
    end)
    assert.is_true(err.timeout)
    assert.matches("not done within 0.05 s", text)
    assert.is_true(inner)
  end)
end)

describe("a timeout", function()
  it("gives what its function returns", function()
    assert.same({ 1, 2 }, { afar.timeout(1, function(a, b) return a, b end, 1, 2) })
  end)

  it("is an error that try returns", function()
    local ok, err = afar.try(afar.timeout, 0.01, afar.sleep, 60)
    assert.is_nil(ok)
    assert.is_true(err.timeout)
    afar.sleep(0.02) -- and is over
  end)

  it("lets errors pass", function() assert.matches("inner", message(afar.timeout, 1, error, "inner")) end)
end)

describe("try", function()
  it("returns what the function does, or nil and the error", function()
    assert.equal(7, afar.try(function() return 7 end))
    local ok, err = afar.try(afar.here.open, afar.here, "/no/such")
    assert.is_nil(ok)
    assert.equal("ENOENT", err.name)
  end)

  it("lets cancellations pass", function()
    local went_on
    afar.nursery(function(n)
      n:spawn(function()
        afar.try(afar.sleep, 60)
        went_on = true
      end)
      afar.sleep(0.01)
      n:cancel()
    end)
    assert.is_nil(went_on)
  end)
end)

describe("cancelling", function()
  local p
  before_each(function() p = afar.here:fork() end)
  after_each(function() p:exit(0) end)

  --- What the process holds after 20 waits of `f()` were cut short is what it held before.
  local function leaves_nothing(f)
    pcall(afar.timeout, 0.005, f)
    local before = probe.holds(p)
    for i = 1, 20 do
      pcall(afar.timeout, i * 0.0005, f)
    end
    assert.same(before, probe.holds(p))
  end

  it("a wait for a pipe leaves no fd and no memory", function()
    leaves_nothing(function()
      local from, to = p:pipe2()
      local ok, err = pcall(from.read, from, 10000)
      from:close()
      to:close()
      if not ok then error(err, 0) end
    end)
  end)

  it("a run leaves no process, no fd and no memory", function()
    leaves_nothing(function() p:run { "sleep", "60" } end)
  end)

  it("an open leaves no fd", function()
    leaves_nothing(function()
      while true do p:open "/etc/passwd" end
    end)
  end)

  it("can't interrupt what can't wait, and says so", function()
    assert.matches("can't wait here", message(table.sort, { 2, 1, 3 }, function(a, b)
      afar.sleep(0.001)
      return a < b
    end))
  end)
end)

describe("coroutines of the script's own", function()
  it("may make calls, and yield values meanwhile", function()
    local numbers = coroutine.wrap(function()
      for i = 1, 3 do
        afar.sleep(0.001)
        coroutine.yield(afar.here:getpid() - afar.here.pid + i)
      end
    end)
    assert.same({ 1, 2, 3 }, { numbers(), numbers(), numbers() })
  end)

  it("are resumed as usual when they raise", function()
    local co = coroutine.create(function()
      afar.sleep(0.001)
      error "inside"
    end)
    local ok, err = coroutine.resume(co)
    assert.is_false(ok)
    assert.matches("inside", err)
    assert.is_table(sched.current())
  end)
end)
