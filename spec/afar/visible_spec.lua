-- What others say never does anything to the terminal that it is shown on.

local afar = require "afar"
local errors = require "afar.error"
local visible = require "afar.visible"

describe("what others say", function()
  it("is shown without control characters", function()
    assert.equal("plain text, \195\164 \226\130\172", visible "plain text, \195\164 \226\130\172")
    assert.equal("\\27[2Jx\\n\\r\\0\\127", visible "\27[2Jx\n\r\0\127")
    assert.equal("\\194\\155 2J", visible "\194\155 2J")
    assert.equal("a\tb", visible "a\tb")
  end)

  it("is one harmless line in an error", function()
    local err = errors.new(nil, "ssh", { "\27]0;x\7" }, "it said \27[31mred\nafar: all is well")
    local text = tostring(err)
    assert.is_nil(text:find "%c")
    assert.truthy(text:find("it said \\27[31mred\\nafar: all is well", 1, true))
  end)

  it("is harmless in a bootstrap's error, and in a machine's name", function()
    local ok, err = pcall(afar.here.bootstrap, afar.here, { "sh", "-c", [[printf "\\033[31mno\\033[0m" >&2; exit 3]], name = "\27[2Jfar" })
    assert.is_false(ok)
    assert.is_nil(tostring(err):find "%c")
    local far = afar.here:bootstrap { "sh", name = "\27[2Jfar" }
    assert.equal("\\27[2Jfar", far.machine.name)
    far:disconnect()
  end)
end)
