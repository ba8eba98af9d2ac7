-- That what is left behind is found, and what has ended is not.

math.randomseed(os.time())

local leaks = require "spec.support.leaks"

describe("looking for what was left behind", function()
  local before

  before_each(function() before = leaks.snapshot() end)

  local function found(pattern)
    local left = leaks.check(before, 0.5)
    assert.equal(1, #left, table.concat(left, ", "))
    assert.matches(pattern, left[1])
  end

  it("finds nothing where there is nothing", function() assert.same({}, leaks.check(before)) end)

  it("finds an fd", function()
    local file = io.open "/dev/null"
    found "^fd %d+ %(/dev/null%)$"
    file:close()
    assert.same({}, leaks.check(before))
  end)

  it("finds a file of a bootstrap", function()
    local name = ("/tmp/.afar-spec%d"):format(math.random(2 ^ 31)) -- a run that was killed may have left its own
    io.open(name, "w"):close()
    found("^file " .. name:gsub("%p", "%%%0") .. "$")
    os.remove(name)
  end)

  it("finds a process that has left our family", function()
    local pipe = io.popen "sleep 60 </dev/null >/dev/null 2>&1 & echo $!"
    local pid = pipe:read "*l"
    pipe:close()
    found("^process " .. pid .. " %(sleep%)$")
    os.execute("kill " .. pid)
    assert.same({}, leaks.check(before))
  end)

  it("waits for what is just ending", function()
    os.execute "sleep 0.5 </dev/null >/dev/null 2>&1 &"
    assert.same({}, leaks.check(before))
  end)

  it("does not mind what only compiled code still holds", function()
    local afar = require "afar"
    local probe = require "spec.support.probe"
    afar.here:getpid()
    before = leaks.snapshot()
    local TEXT = [[
      local here, probe = ...
      local p, tries = here:fork(), 0
      probe.soon(function()
        tries = tries + 1
        return tries > 3 or not probe.runs(p.pid)
      end)
    ]]
    for _ = 1, 60 do -- each a function of its own, as those of tests are
      coroutine.wrap(assert(loadstring(TEXT)))(afar.here, probe)
    end
    assert.same({}, leaks.check(before))
  end)
end)
