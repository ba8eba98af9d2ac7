-- afar upgrade: a persistent process gets a newer stub in place. The earlier one is built from an earlier commit.

local afar = require "afar"
local probe = require "spec.support.probe"
local raised = require "spec.support.raised"
local session = require "afar.session"

local program = os.getenv "AFAR" or "build/afar"
local EARLIER = "ee10668" -- the first in which the protocol of persistent processes is as it is documented

--- The stub of that commit, in `dir`; nil: there is no history here.
local function build_earlier(dir)
  local machine = afar.here:run({ "uname", "-m" }).stdout:match "%S+"
  local stub = "build/stub-" .. machine
  local script = ("git archive %s Makefile stub host | tar x -C %s && make -s -C %s %s"):format(EARLIER, dir, dir, stub)
  local has = afar.here:run { "git", "cat-file", "-e", EARLIER, check = false, stderr = "null" }
  if not has.status.ok then return nil end
  afar.here:run { "sh", "-c", script, env = { MAKEFLAGS = false, MAKELEVEL = false, MFLAGS = false } }
  return dir .. "/" .. stub
end

describe("upgrade", function()
  local dir, path, earlier

  setup(function()
    dir = afar.here:mkdtemp "/tmp/persistent-XXXXXX"
    path = dir .. "/socket"
    earlier = build_earlier(dir)
  end)
  teardown(function() afar.here:remove_tree(dir, { force = true }) end)

  --- A process that an earlier stub serves, that keeps something, and that nobody is connected to.
  local function make()
    local root = afar.here:bootstrap { earlier, afar.MARKER, "0", "1" }
    local p = root:fork():persistent(path, { lease = 1000 })
    local from, to = p:pipe2()
    p.kept.from, p.kept.to, p.kept.state = from, to, { "a", { 1 } }
    p.kept.child = p:fork():exec { "sh", "-c", "read x; exit 7", stdin = "null" }
    p.kept.sleeper = p:fork():exec { "sleep", "1000" }
    local pid = p.pid
    p:disconnect()
    root:disconnect()
    return pid
  end

  local function is_whole(p, pid)
    assert.equal(pid, p.pid)
    assert.equal(pid, p:getpid())
    assert.same({}, p:lost())
    assert.same({ "a", { 1 } }, p.kept.state)
    p.kept.to:write "x"
    assert.equal("x", p.kept.from:read())
    assert.equal(1, p:fcntl(p.kept.from, "F_GETFD")) -- close-on-exec, as it was
    assert.equal(7, p.kept.child:wait().code)
    assert.is_true(probe.runs(p.kept.sleeper.pid))
    probe.works(p)
    assert.equal("y\n", p:run({ "echo", "y" }).stdout)
  end

  it("puts this version's stub in the place of an earlier one: pid, children, fds and table stay", function()
    if not earlier then return pending "there is no history of this repository" end
    local pid = make()
    assert.equal(earlier, afar.here:readlink(("/proc/%d/exe"):format(pid)))
    local said = afar.here:run { program, "upgrade", path }
    assert.matches("^process %d+ on here has this program's stub now\n$", said.stdout)
    assert.matches("memfd:afar%-stub", afar.here:readlink(("/proc/%d/exe"):format(pid)))
    local p = afar.reconnect(path)
    is_whole(p, pid)
    p.kept.state = 2
    p = p:upgrade() -- again, by what was upgraded
    assert.equal(2, p.kept.state)
    assert.equal(pid, p.pid)
    assert.equal(1000, p.session.lease)
    local fds = probe.fds(pid)
    p = p:upgrade()
    assert.is_true(probe.soon(function() return probe.fds(pid) == fds end))
    p.kept.sleeper:kill()
    assert.equal("SIGTERM", p.kept.sleeper:wait().signal)
    p:exit()
  end)

  it("is not needed: what an earlier stub serves is taken up as it is", function()
    if not earlier then return pending "there is no history of this repository" end
    local pid = make()
    local p = afar.reconnect(path)
    is_whole(p, pid)
    p:exit()
  end)

  it("that can't be done changes nothing", function()
    local p = afar.here:fork():persistent(path)
    p.kept.state = 1
    local fds = probe.fds(p)
    local stubs = package.loaded["afar.stubs"] or require "afar.stubs"
    local name = p.machine.sys.name
    local image = stubs[name]
    stubs[name] = "no program"
    local err = raised.err(p.upgrade, p)
    stubs[name] = image
    assert.equal("ENOEXEC", err.name)
    probe.works(p)
    assert.equal(1, p.kept.state)
    assert.is_true(probe.soon(function() return probe.fds(p) == fds end))
    local other = session.connect(afar.here, path, p.session.id, p.task:received(), { resume = true })
    session.close(other) -- its connection has broken by that
    probe.works(p)
    p = p:upgrade()
    assert.equal(1, p.kept.state)
    p:exit()
  end)

  it("is for persistent processes, a root among them", function()
    assert.matches("it is not persistent$", (raised.message(afar.here.upgrade, afar.here)))
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local pid = root.pid
    root:persistent(path)
    root.kept.state = 3
    local inert = root:fork()
    local p = root:upgrade()
    assert.equal(pid, p:getpid())
    assert.equal(3, p.kept.state)
    probe.works(p)
    probe.works(inert)
    p:exit()
    root:disconnect()
  end)
end)
