-- afar ps, attach, stop, upgrade.

local afar = require "afar"
local sshd = require "spec.support.sshd"

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

  it("they are those of another machine, too", function()
    local server = sshd.start(1)
    local client = afar.here:which "ssh"
    afar.here:write_file(home .. "/ssh", ("#!/bin/sh\nexec %s -F %s \"$@\"\n"):format(client, server.config), { mode = "0700" })
    local function there(...)
      local words = { program, ... }
      words.env, words.check = { HOME = home, PATH = home .. ":" .. os.getenv "PATH" }, false
      return afar.here:run(words)
    end
    there("-e", 'local p = require("afar").here:ssh("afar1"):fork():persistent "web"; p.kept.n = 7; p.kept.job = p:fork():exec { "sleep", "1000" }')
    local path = server.dir .. "/state/afar/web"
    assert.equal("socket", afar.here:lstat(path).type)
    assert.matches("^" .. path:gsub("%p", "%%%0") .. ": process %d+, since .*\n  job +child %d+ %(sleep 1000%)\n  n +data\n$", there("ps", "afar1").stdout)
    assert.matches("has this program's stub now", there("upgrade", "afar1:web").stdout)
    local attached = there("attach", "afar1:" .. path)
    assert.is_true(attached.status.ok, attached.stderr)
    assert.matches("^process %d+ on afar1 has ended\n$", there("stop", "afar1:web").stdout)
    assert.equal("", there("ps", "afar1").stdout)
    assert.matches("No such file or directory %(ENOENT%); afar ps lists what there is", there("stop", "afar1:web").stderr)
    server:stop()
  end)
end)
