-- The environment variables that processes share until a script asks for them.

local afar = require "afar"

local function prints(p, name) return p:run({ "sh", "-c", "echo $" .. name }).stdout end

describe("the environment of a process", function()
  it("is its parent's as that was when it was cloned, and its own to change", function()
    local p = afar.here:fork()
    p.environ.AFAR_FIRST = "parent"
    local before = p:fork()
    p.environ.AFAR_FIRST = "later"
    local after = p:fork()
    assert.equal("parent\n", prints(before, "AFAR_FIRST"))
    assert.equal("later\n", prints(after, "AFAR_FIRST"))
    before.environ.AFAR_FIRST = "child"
    assert.equal("child\n", prints(before, "AFAR_FIRST"))
    assert.equal("later\n", prints(p, "AFAR_FIRST"))
    assert.equal("later", after.environ.AFAR_FIRST)
    assert.is_nil(afar.here.environ.AFAR_FIRST)
    p:exit()
  end)

  it("is not copied for one that nobody asks", function()
    local p = afar.here:fork()
    local q = p:fork()
    assert.is_nil(rawget(q, "environ"))
    assert.equal(rawget(p, "shared_environ"), rawget(q, "shared_environ"))
    assert.equal(afar.here.environ.PATH, q.environ.PATH)
    p:exit()
  end)
end)
