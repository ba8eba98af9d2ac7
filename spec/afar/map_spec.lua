-- The same on many machines at once.

local afar = require "afar"
local sshd = require "spec.support.sshd"

local function here() return afar.here:bootstrap { "sh", "-c", afar.SCRIPT } end

describe("afar.map", function()
  it("visits all, side by side, and gives the results in order", function()
    local together, most = 0, 0
    local results = afar.map({ here, here, here, here }, function(root, _, i)
      together = together + 1
      most = math.max(most, together)
      while most < 4 do afar.sleep(0.01) end
      return i * 10, root:getpid()
    end)
    assert.equal(4, most)
    assert.equal(0, results.failed)
    for i, result in ipairs(results) do
      assert.is_true(result.ok)
      assert.equal(i * 10, result.value)
      assert.equal(2, result.values.n)
      assert.is_true(result.seconds > 0)
    end
  end)

  it("does no more at once than it may", function()
    local together, most = 0, 0
    local results = afar.map({ here, here, here, here, here }, function()
      together = together + 1
      most = math.max(most, together)
      while most < 2 do afar.sleep(0.01) end
      afar.sleep(0.05)
      together = together - 1
    end, { limit = 2 })
    assert.equal(2, most)
    assert.equal(0, results.failed)
  end)

  it("ends the connections that it has made, and no others", function()
    local mine, theirs = here(), nil
    afar.map({ mine, function()
      theirs = here()
      return theirs
    end }, function(root) return root:getpid() end)
    assert.is_true(mine:is_alive())
    assert.is_false(theirs:is_alive())
    mine:disconnect()
  end)

  it("awaits the commands that led to those whose connection has ended meanwhile", function()
    local command
    local results = afar.map({ here }, function(root)
      command = root.machine.via
      afar.here:kill(root.pid, "SIGKILL")
      return root:getpid()
    end)
    assert.equal(1, results.failed)
    assert.equal("SIGKILL", command.status.signal)
  end)

  it("goes on where one fails, and tells which and why", function()
    local server = sshd.start(2)
    local results = afar.map({
      { ssh = "afar1", config = server.config },
      { ssh = "afar-closed", config = server.config },
      { "afar2", config = server.config },
      { name = "odd", open = function() error("out of order", 0) end },
    }, function(root, name)
      if name == "afar2" then root:open "/no/such/file" end
      return "fine"
    end)
    server:stop()
    assert.equal(3, results.failed)
    assert.equal("fine", results.afar1.value)
    assert.equal("refused", results["afar-closed"].err.name)
    assert.equal("ENOENT", results.afar2.err.name)
    assert.equal("out of order", results.odd.err)
    local text = tostring(results)
    assert.matches("afar1 +%d+%.%d%d s  fine\n", text)
    assert.matches("afar%-closed +%d+%.%d%d s  FAILED ssh.*connection was refused.*does sshd listen there%?\n", text)
    assert.matches("1 of 4 done, 3 failed$", text)
  end)

  it("is cancelled as a whole", function()
    local begun, ended = 0, 0
    local ok, err = pcall(afar.timeout, 0.5, afar.map, { here, here, here }, function()
      begun = begun + 1
      local _, why = pcall(afar.sleep, 60)
      ended = ended + 1
      error(why, 0)
    end)
    assert.is_false(ok)
    assert.is_true(err.timeout)
    assert.equal(begun, ended)
  end)

  it("forgets a machine once it was left", function()
    local function grow()
      afar.map({ here, here, here, here, here, here, here, here }, function() end)
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    local before, least = grow(), math.huge
    for _ = 1, 5 do
      local now = grow()
      before, least = now, math.min(least, now - before)
    end
    assert.is_true(least < 50, ("%d KiB are kept, for 8"):format(least))
  end)

  it("refuses what can't be meant before it begins", function()
    for _, case in ipairs {
      { { "x", print }, "a list of destinations was expected" },
      { { { "x" } }, "a function was expected" },
      { { { 5 }, print }, "destination 1 is a number" },
      { { { {} }, print }, "destination 1 is a table" },
      { { { "x" }, print, { limit = 0 } }, "limit is a number from 1 on" },
      { { { "x" }, print, { limits = 1 } }, 'no option "limits"' },
    } do
      local ok, err = pcall(afar.map, unpack(case[1]))
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(case[2], 1, true), tostring(err))
    end
  end)
end)
