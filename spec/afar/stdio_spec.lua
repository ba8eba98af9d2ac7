--- Standard fds: here those of the host; far away /dev/null, and channels that end in the host's.

local afar = require "afar"

local function shell(script)
  local result = afar.here:run { "build/afar", "-e", script, check = false }
  return result.stdout, result.stderr, result.status
end

local FAR = [[
  local afar = require "afar"
  local function far(name) return afar.here:bootstrap { "sh", "-c", afar.SCRIPT, name = name } end
]]

describe("standard fds", function()
  it("are the host's, here", function()
    local out, err = shell [[require("afar").here:fork():exec({ "sh", "-c", "echo out; echo err >&2" }):check()]]
    assert.equal("out\n", out)
    assert.equal("err\n", err)
  end)

  it("end in the host's, from far away, in order with what the script prints", function()
    local out, err = shell(FAR .. [[
      local root = far "web"
      print "before"
      root:fork():exec({ "sh", "-c", "echo out; echo err >&2; printf end" }):check()
    ]])
    assert.equal("before\nout\nend", out)
    assert.equal("err\n", err)
  end)

  it("name the machine when there are several", function()
    local out = shell(FAR .. [[
      local one, two = far "one", far "two"
      one:fork():exec({ "sh", "-c", "echo from one; printf unfinished" }):check()
      two:fork():exec({ "sh", "-c", "echo from two; echo again" }):check()
    ]])
    assert.matches("one: from one\n", out)
    assert.matches("one: unfinished\n", out)
    assert.matches("two: from two\ntwo: again\n", out)
  end)

  it("lose nothing of much output", function()
    local out = shell(FAR .. [[
      far("web"):fork():exec({ "seq", "200000" }):check()
    ]])
    local count = select(2, out:gsub("\n", ""))
    assert.equal(200000, count)
    assert.matches("\n200000\n$", out)
  end)

  it("give far programs nothing to read", function()
    local out = shell(FAR .. [[far("web"):fork():exec({ "wc", "-c" }):check()]])
    assert.equal("0\n", out)
  end)

  it("don't keep the program from ending while something lives far away", function()
    local _, err, status = shell(FAR .. [[far("web"):fork():exec { "sleep", "100" }]])
    assert.equal("", err)
    assert.equal(0, status.code)
  end)
end)
