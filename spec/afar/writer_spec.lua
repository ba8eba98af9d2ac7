-- Writing many small pieces through a buffer.

local afar = require "afar"
local ways = require "spec.support.ways"

local failure = require("spec.support.raised").err

describe("a writer", function()
  ways.each(function(way)
    it("brings many pieces to a reader", function()
      way:with_fork(function(p)
        local from, to = p:pipe2()
        local count, last = 0, nil
        afar.nursery(function(n)
          n:spawn(function()
            local w = to:writer()
            for i = 1, 20000 do w:write("line ", i, "\n") end
            w:close()
          end)
          for line in from:lines() do
            count, last = count + 1, line
          end
        end)
        assert.equal(20000, count)
        assert.equal("line 20000", last)
      end)
    end)
  end)

  it("writes when enough has come together, and when it is told to", function()
    local from, to = afar.here:pipe2()
    local w = to:writer { size = 10 }
    w:write "12345"
    assert.is_false(pcall(afar.timeout, 0.02, from.read, from))
    w:write "67890"
    assert.equal("1234567890", from:read())
    w:write("x"):flush()
    assert.equal("x", from:read())
    w:write "rest"
    w:close()
    assert.equal("rest", from:read())
    assert.equal("", from:read())
  end)

  it("closes its fd also when the last bytes can't be written", function()
    local from, to = afar.here:pipe2()
    local w = to:writer():write "x"
    from:close()
    assert.equal("EPIPE", failure(w.close, w).name)
    assert.matches("was closed before", tostring(failure(to.write, to, "x")))
    assert.matches("a string was expected, not table", failure(w.write, w, {}))
  end)
end)
