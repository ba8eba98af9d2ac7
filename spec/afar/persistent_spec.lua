-- Processes that outlive their host; hosts that come back to them.

local afar = require "afar"
local lfs = require "lfs"
local monotonic = require("afar.loop").monotonic
local other = require "spec.support.other_host"
local probe = require "spec.support.probe"
local session = require "afar.session"
local superuser = require "spec.support.superuser"
local raised = require "spec.support.raised"
local sshd = require "spec.support.sshd"
local ways = require "spec.support.ways"

local function error_of(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  return err
end

local function parent_death_signal(p)
  local at = p:ptr "\255\255\255\255"
  p:syscall("prctl", 2, at, 0, 0, 0)
  return at:read():byte(1)
end

--- What system call it is in, as the kernel says it.
local function call_of(pid)
  local file = assert(io.open(("/proc/%d/syscall"):format(pid)))
  local text = file:read "*a"
  file:close()
  return text
end

--- Bytes of memory that are there because of the process, shared ones too.
local function memory_of(pid)
  local bytes = probe.rss(pid)
  for range, name in afar.here:read_file(("/proc/%d/maps"):format(pid)):gmatch "([%x-]+) rw%-s [^\n]*(/memfd:afar%-arena)" do
    bytes = bytes + afar.here:stat(("/proc/%d/map_files/%s"):format(pid, range)).st_blocks * 512
    assert(name)
  end
  return bytes
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

  it("performs each call exactly once, however often the connection breaks (PERS-F02)", function()
    local function reach() return afar.here:bootstrap { "sh", "-c", afar.SCRIPT } end
    local root = reach()
    local p = root:fork()
    p:persistent(path, {
      reach = function()
        root:disconnect() -- what has been started to reach it ends
        root = reach()
        return root
      end,
    })
    local log = p:open(dir .. "/log", "O_WRONLY|O_CREAT|O_APPEND", "0600")
    local memory = p:ptr(("0123456789"):rep(10000))
    local calls, cuts, writers = 0, 0, 4
    afar.nursery(function(n)
      n:spawn(function()
        while writers > 0 do
          local before = calls
          repeat afar.sleep(0.03) until calls > before or writers == 0 -- it has been reached again
          cuts = cuts + 1
          pcall(afar.here.kill, afar.here, root.pid, "SIGKILL") -- it may be between two
        end
      end)
      n:spawn(function()
        while writers > 0 do assert.equal(("0123456789"):rep(10000), memory:read()) end
      end)
      for i = 1, writers do
        n:spawn(function()
          for k = 1, 1000 do
            log:write "x"
            calls = calls + 1
            if k % 250 == 0 then p.kept["writer" .. i] = k end
          end
          writers = writers - 1
        end)
      end
    end)
    assert.is_true(cuts > 2)
    assert.equal(4000, calls)
    assert.equal(4000, afar.here:stat(dir .. "/log").st_size)
    for i = 1, 4 do assert.equal(1000, p.kept["writer" .. i]) end
    p:exit()
    root:disconnect()
  end)

  it("waits for another way when its connection has broken, and fails what it can't do any more", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local p = root:fork():persistent(path)
    local from, to = p:pipe2()
    local got
    afar.nursery(function(n)
      n:spawn(function() got = from:read() end)
      probe.settle(p)
      afar.here:kill(root.pid, "SIGKILL")
      afar.sleep(0.1)
      assert.is_true(p:is_alive())
      p:resume(afar.here)
      to:write "x"
    end)
    assert.equal("x", got)
    p:exit()
    root:disconnect()
  end)

  it("goes on over another way, though nobody has noticed that the first one is dead (PERS-F03)", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local p = root:fork():persistent(path)
    local log = p:open(dir .. "/log", "O_WRONLY|O_CREAT|O_APPEND", "0600")
    afar.here:kill(root.pid, "SIGSTOP")
    local written = 0
    afar.nursery(function(n)
      n:spawn(function()
        for _ = 1, 50 do
          log:write "x"
          written = written + 1
        end
      end)
      afar.sleep(0.1)
      assert.equal(0, written)
      p:resume(afar.here)
    end)
    assert.equal(50, afar.here:stat(dir .. "/log").st_size)
    afar.here:kill(root.pid, "SIGKILL")
    p:exit()
    root:disconnect()
  end)

  it("goes on over another way while the first one still brings answers, each call once", function()
    for turn = 1, 5 do
      local p = afar.here:fork():persistent(path)
      local log = p:open(dir .. "/log" .. turn, "O_WRONLY|O_CREAT|O_APPEND", "0600")
      afar.nursery(function(n)
        for _ = 1, 2 do
          n:spawn(function()
            for _ = 1, 60 do log:write "x" end
          end)
        end
        for _ = 1, 2 do
          n:spawn(function()
            for _ = 1, 3 do p:resume(afar.here) end
          end)
        end
      end)
      assert.equal(120, afar.here:stat(dir .. "/log" .. turn).st_size)
      p:exit()
    end
  end)

  it("ends when it is told so, also where the way to it ends before it has heard that", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local p = root:fork():persistent(path, { reach = function() return afar.here end })
    afar.here:kill(root.pid, "SIGSTOP")
    afar.nursery(function(n)
      n:spawn(p.exit, p)
      probe.settle(afar.here)
      afar.here:kill(root.pid, "SIGKILL")
    end)
    assert.is_true(probe.soon(function() return not probe.runs(p.pid) end))
    assert.equal("ENOENT", error_of(afar.here.stat, afar.here, path).name)
    root:disconnect()
  end)

  it("is not lost to a way that ends as it has just been found", function()
    local function new_root() return afar.here:bootstrap { "sh", "-c", afar.SCRIPT } end
    local root, found = new_root(), 0
    local p = root:fork():persistent(path, {
      reach = function()
        root:disconnect()
        root, found = new_root(), found + 1
        return root
      end,
    })
    local connect = session.connect
    function session.connect(q, ...)
      local connection = connect(q, ...)
      session.connect = connect
      afar.here:kill(q.pid, "SIGKILL")
      probe.soon(function() return not q:is_alive() end)
      return connection
    end
    afar.here:kill(root.pid, "SIGKILL")
    assert.equal(p.pid, p:getpid())
    assert.equal(2, found)
    p:exit()
    root:disconnect()
  end)

  it("stays when the root above it is killed, and goes on", function()
    other.run([[
      local afar, path = require "afar", ...
      local p = afar.here:fork():persistent(path)
      p.kept.child = p:fork():exec { "sleep", "1000", stdout = "null", stderr = "null" }
      local root = afar.here
      pcall(root.kill, root, root.pid, "SIGKILL")
      assert(p:getpid() == p.pid and p:getppid() ~= root.pid and not root:is_alive())
      p.kept.state = 1
    ]], path)
    local p = afar.reconnect(path)
    assert.equal(1, p.kept.state)
    assert.is_true(probe.runs(p.kept.child.pid))
    p:exit()
  end)

  it("whose machine's network has gone is missed within the time that was set", function()
    afar.set_pings(0.5, 2)
    local counts = dir .. "/counts"
    local root = afar.here:bootstrap { "build/relay", "-c", counts, "--", "sh", "-c", afar.SCRIPT }
    afar.set_pings(30, 3)
    local relay = tonumber(afar.here:read_file(counts):match "pid%s+(%d+)")
    local p = root:fork():persistent(path, { limit = 0.1 })
    assert.equal(p.pid, p:getpid())
    afar.here:kill(relay, "SIGSTOP")
    local err = error_of(afar.timeout, 60, p.getpid, p) -- four pings' time, and the limit, are less
    assert.equal("lost", err.name)
    afar.here:kill(relay, "SIGKILL")
    root:disconnect()
    afar.reconnect(path):exit()
  end)

  it("that nobody reaches in time is lost, and stays", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local p = root:fork():persistent(path, { limit = 0.2 })
    afar.here:kill(root.pid, "SIGKILL")
    assert.is_true(probe.soon(function() return not root:is_alive() end))
    local err = error_of(p.getpid, p)
    assert.is_true(err.name == "lost" or err.name == "unsent")
    assert.is_true(probe.runs(p.pid))
    afar.reconnect(path):exit()
    root:disconnect()
  end)

  describe("has one host at a time", function()
    it("and the one before learns who came", function()
      local p = afar.here:fork():persistent(path)
      local from = p:pipe2()
      local err
      afar.nursery(function(n)
        n:spawn(function() err = error_of(from.read, from) end)
        probe.settle(p)
        assert.equal("", other.run([[require("afar").reconnect((...))]], path))
      end)
      assert.matches("^read%(.*%S+@%S+, started from process %d+ has taken the process over; it may have been performed$", tostring(err))
      assert.matches("has taken the process over; it was surely not performed$", tostring(error_of(p.getpid, p)))
      afar.reconnect(path):exit()
    end)

    it("also when that is stopped with full buffers", function()
      local host = other.start([[
        local afar = require "afar"
        local p = afar.here:fork():persistent((...))
        local memory = p:malloc(1000000)
        print "ready"
        afar.nursery(function(n)
          for i = 1, 20 do n:spawn(function() while true do memory:read() end end) end
        end)
      ]], path)
      afar.sleep(0.1)
      host:kill "SIGSTOP"
      afar.sleep(0.1)
      local p = afar.reconnect(path)
      probe.works(p)
      p:exit()
      other.kill(host)
    end)

    it("which is told what it is blocked in, and may interrupt that", function()
      local p = afar.here:fork():persistent(path)
      local from = p:pipe2()
      local memory = p:malloc(1)
      afar.nursery(function(n)
        n:spawn(function() pcall(p.syscall, p, "read", from.number, memory, 1) end)
        assert.is_true(probe.soon(function() return call_of(p.pid):find(("^%d "):format(p.machine.sys.nr.read)) end))
        local err = error_of(afar.reconnect, path, { patience = 0.1 })
        assert.equal("read", err.blocked_in)
        assert.matches("process %d+ does not answer: it is in read; interrupt = true interrupts that call$", tostring(err))
        err = error_of(afar.timeout, 0.1, afar.reconnect, path, { patience = 30, interrupt = true }) -- who gives up interrupts nothing
        assert.is_true(err.timeout)
        assert.matches(("^%d "):format(p.machine.sys.nr.read), call_of(p.pid))
        local q = afar.reconnect(path, { patience = 0.1, interrupt = true })
        probe.works(q)
        q:exit()
      end)
    end)
  end)

  describe("keeps", function()
    it("fds, children and data by name, for whoever comes", function()
      other.run([[
        local afar = require "afar"
        local path, dir = ...
        local p = afar.here:fork():persistent(path)
        p.kept.file = p:open(dir .. "/file", "O_RDWR|O_CREAT", "0600")
        p.kept.child = p:fork():exec { "sleep", "1000" }
        p.kept.state = { n = 1.5, list = { "a", "b" }, yes = true, no = false, text = "\0\255;{}" }
        p.kept.gone = 1
        p.kept.gone = nil
        p.kept.state = { n = 2 }
        p.kept.state = { n = 1.5, list = { "a", "b" }, yes = true, no = false, text = "\0\255;{}" }
      ]], path, dir)
      local p = afar.reconnect(path)
      local names = {}
      for name in p.kept() do names[#names + 1] = name end
      assert.same({ "child", "file", "state" }, names)
      assert.same({ n = 1.5, list = { "a", "b" }, yes = true, no = false, text = "\0\255;{}" }, p.kept.state)
      p.kept.file:write "x"
      assert.equal("x", afar.here:read_file(dir .. "/file"))
      assert.equal("sleep", p.kept.child.argv[1])
      assert.is_nil(p.kept.gone)
      assert.same({}, p:lost())
      p.kept.child:kill()
      assert.equal("SIGTERM", p.kept.child:wait().signal)
      p:exit()
    end)

    it("nothing else", function()
      local p = afar.here:fork():persistent(path)
      local loop = {}
      loop.loop = loop
      for _, bad in ipairs { { print, "a function is no plain data" }, { loop, "twice, or in itself" }, { { [{}] = 1 }, "a table can't be a key" } } do
        assert.matches(bad[2], tostring(error_of(function() p.kept.bad = bad[1] end)), 1, true)
      end
      assert.matches("belongs to", tostring(error_of(function() p.kept.bad = afar.here:open "/dev/null" end)))
      local inert = p:fork()
      assert.matches("once it has executed something", tostring(error_of(function() p.kept.bad = inert end)))
      assert.matches("names are strings", tostring(error_of(function() p.kept[1] = 1 end)))
      assert.is_nil(p.kept.bad)
      p:exit()
    end)

    it("its entries when the handles are garbage here", function()
      local function visit(f)
        f(afar.reconnect(path))
        collectgarbage()
        collectgarbage()
        afar.sleep(0.01)
      end
      afar.here:fork():persistent(path):disconnect()
      local number
      visit(function(p)
        p.kept.file = p:open "/etc/hosts"
        number = p.kept.file.number
      end)
      visit(function(p) assert.equal(number, p.kept.file.number) end)
      visit(function(p)
        assert.equal(number, p.kept.file.number)
        p:exit()
      end)
    end)

    it("no entry of what is something else now, or has ended: that is said", function()
      local p = afar.here:fork():persistent(path)
      p.kept.closed, p.kept.other, p.kept.fine = p:open "/etc/hosts", p:open "/etc/hosts", p:open "/etc/hosts"
      p.kept.child, p.kept.awaited = p:fork():exec { "true" }, p:fork():exec { "true" }
      local null = p:open "/dev/null"
      p:syscall("dup3", null.number, p.kept.other.number, 0)
      p:syscall("wait4", p.kept.awaited.pid, 0, 0, 0)
      local pid = p.kept.awaited.pid
      p:syscall("close", p.kept.closed.number)
      local q = afar.reconnect(path)
      local lost = q:lost()
      assert.matches("^fd %d+ is ", lost.closed) -- not open; or what q's own connection is
      assert.matches("^fd %d+ is another file now$", lost.other)
      assert.equal(("child %d has ended, and was awaited"):format(pid), lost.awaited)
      assert.is_nil(q.kept.closed or q.kept.other or q.kept.awaited)
      assert.is_true(q.kept.child:wait().ok)
      q.kept.closed = 1
      assert.is_nil(q:lost().closed)
      q:exit()
    end)

    it("and lists what no entry names", function()
      other.run([[
        local afar = require "afar"
        local p = afar.here:fork():persistent((...))
        p.kept.named = p:open "/etc/hosts"
        p:syscall("openat", -100, p:ptr "/etc/passwd\0", 0, 0)
        p:fork():exec { "sleep", "1000" }
      ]], path)
      local p = afar.reconnect(path)
      local list = {}
      for _, one in ipairs(p:unclaimed()) do -- the host's own may have been started with more
        if one.child or one.target == "/etc/passwd" then list[#list + 1] = one end
      end
      assert.equal(2, #list)
      assert.equal("sleep 1000", list[1].command)
      assert.equal("/etc/passwd", list[2].target)
      p.kept.sleeper, p.kept.passwd = list[1].child, list[2].fd
      for _, one in ipairs(p:unclaimed()) do assert.is_true(one.child == nil and one.target ~= "/etc/passwd") end
      p.kept.sleeper = nil
      p:exit()
    end)

    it("with no place in any file system but its socket", function()
      superuser.needed()
      local p = afar.here:fork():persistent(path)
      p:unshare "CLONE_NEWNS"
      p:mount("none", "/", nil, "MS_REC|MS_PRIVATE")
      p.kept.child = p:fork():exec { "sleep", "1000" }
      p:mount("none", "/", nil, "MS_REMOUNT|MS_BIND|MS_RDONLY")
      assert.equal("EROFS", error_of(p.open, p, dir .. "/x", "O_WRONLY|O_CREAT", "0600").name)
      p.kept.state = { 1 }
      local q = afar.reconnect(path)
      assert.same({ 1 }, q.kept.state)
      assert.equal(p.kept.child.pid, q.kept.child.pid)
      q:exit()
    end)
  end)

  it("takes fds and children of others", function()
    local p = afar.here:fork():persistent(path)
    local owner = afar.here:fork()
    local from, to = owner:pipe2()
    local child = owner:fork():exec { "sleep", "1000" }
    p.kept.pipe, p.kept.pidfd = p:take(from), p:take(child)
    to:write "x"
    assert.equal("x", p.kept.pipe:read())
    child:kill()
    assert.is_true(p.kept.pidfd:wait().POLLIN)
    child:wait()
    owner:exit(0)
    p:exit()
  end)

  it("learns how children of others have ended, once their parent has awaited them", function()
    local p = afar.here:fork():persistent(path)
    local owner = afar.here:fork()
    local child = owner:fork():exec { "sh", "-c", "exit 9" }
    p.kept.child = p:take(child)
    p:disconnect()
    p = afar.reconnect(path)
    local keeps, status
    afar.nursery(function(n)
      n:spawn(function() keeps, status = pcall(p.kept.child.exit_status, p.kept.child) end)
      p.kept.child:wait()
      child:wait()
    end)
    if keeps then
      assert.equal(9, status.code)
      assert.equal(9, p.kept.child:exit_status().code)
      assert.matches("it is no pidfd$", tostring(error_of(function() return p:open("/dev/null"):exit_status() end)))
    else
      assert.matches("this kernel doesn't tell how a process has ended that is no child; Linux 6.15", tostring(status))
    end
    owner:exit(0)
    p:exit()
  end)

  it("gives back the memory of the host before", function()
    superuser.needed()
    local pid = tonumber(other.run([[
      local afar = require "afar"
      local p = afar.here:fork():persistent((...))
      p:ptr(("x"):rep(100000000))
      p.kept.state = ("y"):rep(100000)
      print(p.pid)
    ]], path))
    assert.is_true(memory_of(pid) > 90e6)
    local p = afar.reconnect(path)
    assert.is_true(memory_of(pid) < 10e6)
    assert.equal(("y"):rep(100000), p.kept.state)
    for i = 1, 10 do p.kept.state = i end
    p:disconnect()
    for _ = 1, 3 do
      p = afar.reconnect(path)
      assert.equal(10, p.kept.state)
      p:ptr(("z"):rep(10000000))
      p:disconnect()
    end
    p = afar.reconnect(path)
    assert.is_true(memory_of(pid) < 10e6)
    p:exit()
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
