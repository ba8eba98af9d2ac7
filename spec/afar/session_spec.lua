-- A host's session with a persistent process: ways that break, hosts that come after each other.

local afar = require "afar"
local other = require "spec.support.other_host"
local error_of = require("spec.support.raised").err
local probe = require "spec.support.probe"
local session = require "afar.session"

--- What system call it is in, as the kernel says it.
local function call_of(pid)
  local file = assert(io.open(("/proc/%d/syscall"):format(pid)))
  local text = file:read "*a"
  file:close()
  return text
end

describe("a persistent process", function()
  local dir, path

  before_each(function()
    dir = afar.here:mkdtemp "/tmp/persistent-XXXXXX"
    path = dir .. "/socket"
  end)
  after_each(function() afar.here:remove_tree(dir, { force = true }) end)

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

  it("may still run when nobody could reach it to tell it to end: that is said, and its socket is still there", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local p = root:fork():persistent(path, { limit = 0.2 })
    afar.here:kill(root.pid, "SIGSTOP") -- it brings nothing more
    local err
    afar.nursery(function(n)
      n:spawn(function() err = error_of(p.exit, p) end)
      probe.settle(afar.here)
      afar.here:kill(root.pid, "SIGKILL")
    end)
    assert.equal("lost", err.name)
    assert.matches("it may have been performed; if it still runs, its socket is still there$", tostring(err))
    assert.is_true(probe.runs(p.pid))
    root:disconnect()
    afar.reconnect(path):exit()
    assert.is_true(probe.soon(function() return not probe.runs(p.pid) end))
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
end)
