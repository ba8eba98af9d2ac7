-- Cleaning up: what a nursery defers is done whatever ends it, and an fd that is only a number can be closed.

local afar = require "afar"

describe("deferred functions", function()
  local done

  before_each(function() done = {} end)

  local function slowly(name)
    afar.here:getpid()
    afar.sleep(0.02)
    done[#done + 1] = name
  end

  it("may wait, the last first, when a timeout has ended the nursery", function()
    local ok, err = pcall(afar.timeout, 0.05, afar.nursery, function(n)
      n:defer(slowly, "first")
      n:defer(slowly, "last")
      n:spawn(afar.sleep, 60)
    end)
    assert.is_false(ok)
    assert.is_true(err.timeout)
    assert.same({ "last", "first" }, done)
  end)

  it("are done when the timeout comes while they run", function()
    local ok, err = pcall(afar.timeout, 0.03, afar.nursery, function(n)
      n:defer(slowly, "first")
      n:defer(slowly, "last")
    end)
    assert.is_false(ok)
    assert.is_true(err.timeout)
    assert.same({ "last", "first" }, done)
  end)

  it("get their arguments, nil too, and their error is the nursery's", function()
    local ok, err = pcall(afar.nursery, function(n)
      n:defer(function(...) done = { n = select("#", ...), ... } end, nil, "b", nil)
      n:defer(error, "no cleanup", 0)
    end)
    assert.is_false(ok)
    assert.equal("no cleanup", err)
    assert.same({ n = 3, nil, "b", nil }, done)
  end)
end)

describe("p:close of a number", function()
  local p

  before_each(function() p = afar.here:fork() end)
  after_each(function() p:exit() end)

  it("closes what a raw call has opened", function()
    local C = p.machine.sys.C
    local fd = p:syscall("socket", C.AF_INET, C.SOCK_STREAM + C.SOCK_CLOEXEC, 0)
    p:close(fd)
    local _, err = afar.try(p.fstat, p, fd)
    assert.equal("EBADF", err.name)
  end)

  it("closes the handle that has this number", function()
    local read, write = p:pipe2()
    p:close(read.number)
    local _, err = afar.try(read.fstat, read)
    assert.matches("closed before", tostring(err))
    write:close()
  end)

  it("refuses what is no fd", function() assert.has_error(function() p:close "3" end, "close: an fd was expected, not string") end)
end)
