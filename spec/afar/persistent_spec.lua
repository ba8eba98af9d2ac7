-- Processes that outlive their host.

local afar = require "afar"
local lfs = require "lfs"
local monotonic = require("afar.loop").monotonic
local other = require "spec.support.other_host"
local probe = require "spec.support.probe"
local sched = require "afar.sched"
local session = require "afar.session"
local superuser = require "spec.support.superuser"
local raised = require "spec.support.raised"
local sshd = require "spec.support.sshd"
local ways = require "spec.support.ways"

local error_of = raised.err

local function parent_death_signal(p)
  local at = p:ptr "\255\255\255\255"
  p:syscall("prctl", 2, at, 0, 0, 0)
  return at:read():byte(1)
end

describe("a persistent process", function()
  local dir, path

  before_each(function()
    dir = afar.here:mkdtemp "/tmp/persistent-XXXXXX"
    path = dir .. "/socket"
  end)
  after_each(function() afar.here:remove_tree(dir, { force = true }) end)

  describe("reached", function()
    ways.each(function(way)
      if way.emulated then return end

      it("works, is reconnected, works, and exits (PERS-01)", function()
        local p = way.root:fork()
        assert.equal(p, p:persistent(path))
        probe.works(p)
        assert.equal("x\n", p:run({ "echo", "x" }).stdout)
        local q = way.root:reconnect(path)
        assert.equal(p.pid, q.pid)
        assert.equal(q.pid, q:getpid())
        probe.works(q)
        assert.equal("y\n", q:run({ "echo", "y" }).stdout)
        q:exit()
        assert.is_nil(lfs.symlinkattributes(path))
        assert.is_true(probe.soon(function() return not probe.runs(p.pid) end))
      end)

      it("that has ended refuses at once (PERS-02)", function()
        local p = way.root:fork():persistent(path)
        p:exit()
        assert.equal("ENOENT", error_of(way.root.reconnect, way.root, path).name)
        p = way.root:fork():persistent(path)
        pcall(p.syscall, p, "exit_group", 0) -- without a word to its socket
        assert.equal("ECONNREFUSED", error_of(way.root.reconnect, way.root, path).name)
      end)

      it("can be a child that shares its parent's table, with children of its own (PERS-04)", function()
        local parent = way.root:fork()
        local p = parent:clone "CLONE_FILES"
        p:persistent(path)
        local child = p:fork():exec { "sleep", "1000" }
        p.kept.child = child
        parent:exit(0)
        local q = way.root:reconnect(path)
        q.kept.child:kill()
        assert.equal("SIGTERM", q.kept.child:wait().signal)
        q:exit()
      end)
    end)
  end)

  it("is reached over the ssh connection that made it, and over a new one (PERS-05, PERS-06)", function()
    local server = sshd.start(2)
    local first = afar.here:ssh("afar1", { config = server.config })
    first:fork():persistent(path)
    first:reconnect(path):disconnect()
    first:disconnect()
    local second = afar.here:ssh("afar2", { config = server.config })
    local p = second:reconnect(path)
    assert.equal("x\n", p:run({ "echo", "x" }).stdout)
    p:exit()
    second:disconnect()
    server:stop()
  end)

  it("is one only when it is asked for: then with a session of its own and no death signal (PERS-F01)", function()
    superuser.needed()
    local p = afar.here:fork()
    assert.equal(9, parent_death_signal(p))
    assert.are_not.equal(p.pid, p:syscall("getsid", 0))
    p:persistent(path)
    assert.equal(0, parent_death_signal(p))
    assert.equal(p.pid, p:syscall("getsid", 0))
    for fd = 0, 2 do assert.equal("/dev/null", p:readlink("/proc/self/fd/" .. fd)) end
    assert.equal(0, parent_death_signal(p), "after a change of credentials: " .. tostring(p:syscall("setgid", 0)))
    p:exit()
  end)

  it("stays when its host is killed, with its children (PERS-F04)", function()
    local host, line = other.start([[
      local afar = require "afar"
      local p = afar.here:fork():persistent((...))
      local child = p:fork():exec { "sleep", "1000" }
      p.kept.child = child
      print(p.pid, child.pid)
      afar.sleep(1000)
    ]], path)
    local pid, child = line:match "(%d+)%s(%d+)"
    other.kill(host)
    afar.sleep(0.05)
    assert.is_true(probe.runs(pid) and probe.runs(child))
    local p = afar.reconnect(path)
    assert.equal(tonumber(child), p.kept.child.pid)
    p:exit()
    assert.is_true(probe.soon(function() return not probe.runs(child) end))
  end)

  it("leaves nothing when it could not become one, and dies with its parent then", function()
    local shared = dir .. "/shared"
    afar.here:mkdir(shared)
    afar.here:chmod(shared, "0777")
    local p = afar.here:fork()
    local err = error_of(p.persistent, p, shared .. "/socket")
    assert.equal("EPERM", err.name)
    assert.matches("others may write to its directory %(0777%); chmod 700 it$", tostring(err))
    assert.same({}, afar.here:listdir(shared))
    assert.equal("ENOENT", error_of(p.persistent, p, dir .. "/none/socket").name)
    assert.equal(9, parent_death_signal(p))
    probe.works(p)
    p:exit(0)
  end)

  it("is refused with nonsense", function()
    local p = afar.here:fork()
    assert.matches("lease: a number of seconds was expected", tostring(error_of(p.persistent, p, path, { lease = "x" })))
    assert.matches("a path, or a name, was expected", tostring(error_of(p.persistent, p, 7)))
    p:persistent(path)
    assert.matches("it is persistent already, at ", tostring(error_of(p.persistent, p, path)))
    assert.matches("a persistent process must stay what it is; p:fork%(%):exec{...}$", tostring(error_of(p.exec, p, { "true" })))
    p:exit()
  end)

  it("has a socket that is stale once it was killed: that is told, and a new one takes its place", function()
    local p = afar.here:fork():persistent(path)
    afar.here:kill(p.pid, "SIGKILL")
    assert.is_true(probe.soon(function() return not p:is_alive() end))
    local err = error_of(afar.reconnect, path)
    assert.equal("ECONNREFUSED", err.name)
    assert.matches("its process has ended, and has left this socket behind$", tostring(err))
    assert.equal("unsent", error_of(p.getpid, p).name)
    local again = afar.here:fork():persistent(path)
    local second = afar.here:fork()
    assert.equal("EADDRINUSE", error_of(second.persistent, second, path).name)
    second:exit(0)
    probe.works(again)
    again:exit()
  end)

  it("is nobody's but its owner's", function()
    superuser.needed()
    local p = afar.here:fork():persistent(path)
    afar.here:chmod(dir, "0755")
    local stranger = afar.here:fork()
    stranger:setresuid(65534, 65534, 65534)
    assert.equal("EACCES", error_of(stranger.reconnect, stranger, path).name)
    afar.here:chmod(path, "0777")
    local err = error_of(stranger.reconnect, stranger, path)
    assert.equal("EPERM", err.name)
    assert.matches("it is a process of user 0, not of user 65534$", tostring(err))
    local socket = stranger:socket("AF_UNIX", "SOCK_STREAM")
    socket:connect(path)
    assert.equal("", socket:read(10)) -- it is shown the door
    probe.works(p)
    stranger:exit(0)
    p:exit()
  end)

  it("with a lease ends by itself, with its children, when nobody comes back", function()
    local host, line = other.start([[
      local afar = require "afar"
      local p = afar.here:fork():persistent((...), { lease = 1 })
      print(p.pid, p:fork():exec({ "sleep", "1000" }).pid)
      afar.sleep(1000)
    ]], path)
    local pid, child = line:match "(%d+)%s(%d+)"
    afar.sleep(1.2)
    assert.is_true(probe.runs(pid))
    local left = monotonic()
    other.kill(host)
    local stays = probe.runs(pid) and probe.runs(child)
    assert.is_true(stays or monotonic() - left >= 1)
    assert.is_true(probe.soon(function() return not probe.runs(pid) and not probe.runs(child) end))
    assert.is_nil(lfs.symlinkattributes(path))
  end)

  it("has those wait who clone before it is reached again", function()
    local over = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    for _, way in ipairs { afar.here, over } do
      local p = way:fork()
      local connect, child = session.connect, nil
      afar.nursery(function(n)
        function session.connect(...)
          session.connect = connect
          n:spawn(function() child = p:fork() end)
          for _ = 1, 10 do sched.turn() end
          return connect(...)
        end
        p:persistent(path)
      end)
      probe.works(child)
      child:exit()
      p:exit()
    end
    over:disconnect()
  end)

  it("is none while others wait for more answers than it can keep", function()
    local server = sshd.start(1)
    local root = afar.here:ssh("afar1", { config = server.config }) -- its memory isn't ours, so the bytes come with the answers
    local p = root:fork()
    local fd, going = p:open "/proc/self/exe", true
    afar.nursery(function(n)
      for _ = 1, 40 do
        n:spawn(function()
          while going do fd:pread(16000, 0) end
        end)
      end
      local text = raised.message(p.persistent, p, path)
      assert.matches("others wait for more answers than it can keep; make it persistent before they begin", text, 1, true)
      assert.is_nil(lfs.symlinkattributes(path))
      going = false
    end)
    p:persistent(path)
    assert.is_true(p:getppid() > 0)
    p:exit()
    root:disconnect()
    server:stop()
  end)

  it("is reached with a full table of fds", function()
    local p = afar.here:fork():persistent(path)
    p:syscall("prlimit64", 0, 7, p:ptr(("\64" .. ("\0"):rep(7)):rep(2)), 0)
    local ok
    repeat
      ok = pcall(p.syscall, p, "dup", 0)
    until not ok
    local q = afar.reconnect(path)
    q.kept.state = 1
    assert.equal("EMFILE", error_of(q.open, q, "/dev/null").name)
    for _ = 1, 3 do q = afar.reconnect(path) end
    assert.equal(1, q.kept.state)
    q:exit()
  end)
end)
