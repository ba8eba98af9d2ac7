-- afar ps, attach, stop.

local afar = require "afar"

local program = os.getenv "AFAR" or "build/afar"

describe("on the command line", function()
  local home

  before_each(function() home = afar.here:mkdtemp "/tmp/persistent-XXXXXX" end)
  after_each(function() afar.here:remove_tree(home, { force = true }) end)

  local function command(...)
    local words = { program, ... }
    words.env, words.check = { HOME = home, XDG_STATE_HOME = false }, false
    local result = afar.here:run(words)
    return result.stdout, result.stderr, result.status
  end

  local function make(code) return afar.here:run { program, "-e", code, env = { HOME = home, XDG_STATE_HOME = false } } end

  it("persistent processes are listed, attached to, and stopped", function()
    assert.equal("", (command "ps"))
    make [[
      local p = require("afar").here:fork():persistent "web"
      p.kept.server, p.kept.n = p:fork():exec { "sleep", "1000" }, 1
    ]]
    assert.equal("0700", afar.here:stat(home .. "/.local/state/afar").permissions)
    assert.equal("0600", afar.here:stat(home .. "/.local/state/afar/web").permissions)
    local listed = command "ps"
    assert.matches("^%S+/%.local/state/afar/web: process %d+, since %d+%-%d+%-%d+ [%d:]+, last held by ", listed)
    assert.matches("\n  n +data\n  server +child %d+ %(sleep 1000%)\n$", listed)
    local attached = afar.here:run { program, "attach", "web", stdin = "print('n is', p.kept.n)\n", env = { HOME = home, XDG_STATE_HOME = false } }
    assert.matches("n is\t1\n", attached.stdout)
    assert.matches("^process %d+ on here has ended\n$", (command("stop", "web")))
    assert.equal("", (command "ps"))
    local _, err, status = command("stop", "web")
    assert.matches("No such file or directory", err)
    assert.equal(1, status.code)
    assert.matches("usage: afar stop %[HOST:%]PATH", select(2, command "stop"))
  end)

  it("listing one takes it from nobody", function()
    local p = afar.here:fork():persistent(home .. "/web")
    local state = home .. "/.local/state"
    afar.here:mkdir_p(state)
    afar.here:symlink(home, state .. "/afar")
    assert.matches("/web: process " .. p.pid, (command "ps"))
    assert.equal(p.pid, p:getpid())
    afar.here:kill(p.pid, "SIGKILL")
    assert.equal("SIGKILL", p:wait().signal)
    assert.matches("/web: its process has ended, and has left this socket behind\n", (command "ps"))
  end)
end)
