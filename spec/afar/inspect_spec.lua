-- How the prompt shows values, and what it knows of them.

local afar = require "afar"
local inspect = require "afar.inspect"
local members = require "afar.members"

describe("a value at the prompt", function()
  it("is shown as print shows it, if it is no plain table", function()
    assert.equal("two\nlines", inspect "two\nlines")
    assert.equal("nil", inspect(nil))
    assert.equal(tostring(afar.here), inspect(afar.here))
  end)

  it("is shown with what is in it, if it is a table", function()
    assert.equal("{}", inspect {})
    assert.equal('{ 1, "a\\n\\"b\\"\\0", { c = true, ["d e"] = false } }', inspect { 1, 'a\n"b"\0', { c = true, ["d e"] = false } })
    assert.equal("{ [2] = 1, [10] = 2, a = 3 }", inspect { [10] = 2, [2] = 1, a = 3 })
    assert.equal(("{ %s }"):format(tostring(afar.here)), inspect { afar.here })
    local loop = {}
    loop.loop = loop
    assert.equal("{ loop = { itself } }", inspect(loop))
    assert.equal("{ { { { { { ... } } } } } }", inspect { { { { { { 1 } } } } } })
  end)

  it("is shown on several lines, if one is too short", function()
    local long = ("x"):rep(60)
    assert.equal(('{\n  "%s",\n  "%s",\n}'):format(long, long), inspect { long, long })
    local many = {}
    for i = 1, 1000 do many[i] = i end
    local text = inspect(many)
    assert.matches("^{\n  1, 2, 3, .*, 300,%s+%.%.%. 700 more,\n}$", text)
    for line in text:gmatch "[^\n]+" do assert.is_true(#line <= 101) end
  end)

  it("that is a run's result is what the program wrote, and how it ended", function()
    local result = afar.here:run { "sh", "-c", "echo out; echo err >&2; exit 3", check = false }
    assert.equal("out\nerr\nexit code 3", inspect(result))
    assert.equal("exit code 0", inspect(afar.here:run { "true" }))
  end)
end)

describe("the names behind a value", function()
  local function has(value, name)
    for _, found in ipairs(members.of(value)) do
      if found == name then return true end
    end
    return false
  end

  it("are its methods and fields", function()
    assert.is_true(has(afar, "nursery") and has(afar, "here"))
    assert.is_true(has(afar.here, "read_file") and has(afar.here, "pid"))
    assert.is_false(has(afar.here, "task"))
    assert.is_true(has("text", "rep"))
    local fd = afar.here:open "/dev/null"
    assert.is_true(has(fd, "read") and has(fd, "number"))
    assert.is_false(has(fd, "guard"))
    fd:close()
    assert.same({}, members.of(5))
  end)

  it("are listed in columns", function()
    assert.equal("a    c\nbbb  d", members.columns({ "a", "bbb", "c", "d" }, 8))
    assert.equal("a\nb", members.columns({ "a", "b" }, 1))
  end)
end)
