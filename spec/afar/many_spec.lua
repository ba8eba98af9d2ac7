-- Many children of one process, all of them alive and awaited.

local afar = require "afar"
local probe = require "spec.support.probe"

describe("many children", function()
  local h = afar.here

  it("can be more than the fds below a root's own", function()
    local kids = {}
    for i = 1, 80 do kids[i] = h:fork() end
    for _, kid in ipairs(kids) do
      assert.equal(kid.pid, kid:getpid())
      kid:exit(0)
    end
  end)

  it("leave out what is the root's own, and keep what the script holds, wherever it is", function()
    local high = {}
    for i = 1, 70 do high[i] = h:open "/etc/hosts" end
    local kid = h:fork()
    assert.equal("", kid:inherit(high[70]):read(0))
    assert.is_true(high[70].number > 64)
    assert.is_true(probe.fds(kid.pid) < probe.fds(h.pid))
    kid:exit(0)
    for _, fd in ipairs(high) do fd:close() end
  end)
end)
