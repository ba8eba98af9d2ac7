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

describe("a name that afar doesn't have", function()
  it("is told with the nearest", function()
    assert.error_matches(function() return afar.nurserry end, 'afar has no "nurserry" %(did you mean "nursery"%?%)')
    assert.error_matches(function() return afar.hree end, 'afar has no "hree" %(did you mean "here"%?%)')
    assert.error_matches(function() return afar[4] end, 'afar has no "4"$')
  end)
end)

describe("a method that was called with a dot", function()
  it("says so, with the script's own line", function()
    local p, fd = afar.here, afar.here:open "/etc/passwd"
    local function says(f, text)
      local _, err = pcall(f)
      assert.equal(text, err:match "^spec/afar/lookup_spec%.lua:%d+: (.*)$")
    end
    says(function() p.open "/etc/hosts" end, 'open: a process was expected, not "/etc/hosts"; is it p:open(...), with a colon?')
    says(function() p.run { "ls" } end, "run: a process was expected, not table; is it p:run(...), with a colon?")
    says(function() p.getsid(0) end, "getsid: a process was expected, not number; is it p:getsid(...), with a colon?")
    says(function() fd.read() end, "read: an fd was expected, not nil; is it fd:read(...), with a colon?")
    says(function() fd.flock(2) end, "flock: an fd was expected, not number; is it fd:flock(...), with a colon?")
    says(function() fd.reader() end, "reader: an fd was expected, not nil; is it fd:reader(...), with a colon?")
    says(function()
      afar.nursery(function(n) n.spawn(afar.sleep, 0) end)
    end, "spawn: a nursery was expected, not function; is it n:spawn(...), with a colon?")
    fd:close()
  end)
end)

describe("an argument that the kernel can't be given", function()
  it("is told with the method's name", function()
    assert.error_matches(function() afar.here:open {} end, "^open: a string was expected, not table$")
    assert.error_matches(function() afar.here:stat "a\0b" end, '^stat: "a\\0b" has a NUL byte in it; the kernel takes no such string$')
  end)
end)
