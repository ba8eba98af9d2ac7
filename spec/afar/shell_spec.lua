-- Commands as values.

local afar = require "afar"

describe("a command", function()
  it("is built up, each step a new one", function()
    local echo = afar.command "echo"
    local two = echo:arg("a", 2)
    assert.equal("echo", tostring(echo))
    assert.equal("echo a 2", tostring(two))
    assert.equal("a 2\n", afar.here:run(two).stdout)
  end)

  it("is printed as a shell takes it", function()
    local command = afar.command({ "printf", "%s|", "it's", "a b", "", "$HOME", "*" }):env { X = "1 2", NOPE = false }:with { cwd = "/tmp" }
    local line = tostring(command)
    assert.equal("cd /tmp && env -u NOPE X='1 2' printf '%s|' 'it'\\''s' 'a b' '' '$HOME' '*'", line)
    assert.equal(afar.here:run(command).stdout, afar.here:run({ "sh", "-c", line }).stdout)
  end)

  it("has its environment and its options", function()
    local command = afar.command({ "sh", "-c", "echo $A $B; pwd" }):env({ A = "1" }):env { B = 2 }
    assert.equal("1 2\n/usr\n", afar.here:run(command:with { cwd = "/usr" }).stdout)
  end)

  it("refuses nonsense", function()
    assert.has_error(function() afar.command(1) end)
    assert.has_error(function() afar.command("x"):arg {} end)
    assert.has_error(function() afar.command("x"):env { ["A=B"] = "1" } end)
    assert.has_error(function() afar.command("x"):with { "y" } end)
    assert.is_false((pcall(afar.here.run, afar.here, afar.command("true"):with { cdw = "/" })))
  end)
end)
