-- Methods are looked up by name.

local afar = require "afar"

describe("a method that doesn't exist", function()
  local function line_of(f)
    local _, err = pcall(f)
    return err:match "^spec/afar/lookup_spec%.lua:(%d+): "
  end

  it("is told with the script's own line", function()
    local here = debug.getinfo(1, "l").currentline
    assert.equal(tostring(here + 1), line_of(function() afar.here:opne "/" end))
    assert.equal(tostring(here + 3), line_of(function()
      afar.here:chain(function(c) c:opne "/" end)
    end))
  end)
end)
