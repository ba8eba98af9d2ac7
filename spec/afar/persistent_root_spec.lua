-- Roots that become persistent in place.

local afar = require "afar"
local lfs = require "lfs"
local other = require "spec.support.other_host"
local probe = require "spec.support.probe"
local raised = require "spec.support.raised"
local sched = require "afar.sched"
local session = require "afar.session"
local ways = require "spec.support.ways"

describe("a root", function()
  local dir, path

  before_each(function()
    dir = afar.here:mkdtemp "/tmp/persistent-XXXXXX"
    path = dir .. "/socket"
  end)
  after_each(function() afar.here:remove_tree(dir, { force = true }) end)

  local function stays(way)
    local root = way.root
    local pid, inert, program = root.pid, root:fork(), root:fork():exec { "sleep", "1000" }
    local from, to = root:pipe2()
    assert.equal(root, root:persistent(path))
    assert.equal(pid, root:getpid())
    probe.works(root)
    probe.works(inert) -- what it has cloned goes on, too
    assert.equal("x\n", root:run({ "echo", "x" }).stdout)
    root.kept.program, root.kept.from, root.kept.to, root.kept.state = program, from, to, { 1 }
    local second = root:fork()
    assert.equal(pid, second:getppid())
    second:exit(0)
    root:disconnect()
    local p = afar.reconnect(path)
    assert.equal(pid, p.pid)
    assert.same({ 1 }, p.kept.state)
    p.kept.to:write "y"
    assert.equal("y", p.kept.from:read())
    assert.equal(program.pid, p.kept.program.pid)
    p.kept.program:kill()
    assert.equal("SIGTERM", p.kept.program:wait().signal)
    p:exit()
    assert.is_true(probe.soon(function() return not probe.runs(pid) end))
  end

  for _, name in ipairs { "over pipes", "over ssh", "over ssh through ssh" } do
    ways.over(ways.get(name), function(way)
      it("becomes persistent in place, and is taken up again", function() stays(way) end)
    end)
  end

  it("of this machine has a successor, to which the script's other calls go", function()
    local said = other.run([[
      local afar, path = require "afar", ...
      local first = afar.here
      local inert, child = first:fork(), first:fork():exec { "sleep", "1000", stdout = "null", stderr = "null" }
      first:persistent(path)
      first.kept.child = child
      assert(first ~= afar.here and first:getpid() == first.pid and afar.here:getpid() ~= first.pid)
      assert(inert:getppid() == first.pid and first:run({ "echo", "-n", "x" }).stdout == "x")
      local again = afar.here:reconnect(path)
      assert(again.pid == first.pid and again.kept.child.pid == child.pid and not first:is_alive())
      assert(not pcall(first.getpid, first) and inert:getppid() == first.pid)
      again:disconnect()
      first = afar.here
      first:persistent(path .. 2):exit()
      assert(not pcall(afar.here.stat, afar.here, "/proc/" .. first.pid))
      print(again.pid, child.pid)
    ]], path)
    local pid, child = said:match "^(%d+)%s(%d+)$"
    assert.is_true(probe.runs(pid) and probe.runs(child))
    local p = afar.reconnect(path)
    assert.equal(tonumber(child), p.kept.child.pid)
    p:exit()
  end)

  it("stays when its host is killed, and its inert children go", function()
    local host, line = other.start([[
      local afar = require "afar"
      local p = afar.here
      local inert, child = p:fork(), p:fork():exec { "sleep", "1000" }
      p:persistent((...))
      p.kept.child = child
      print(p.pid, inert.pid, child.pid, p.front.pid)
      afar.sleep(1000)
    ]], path)
    local pid, inert, child, front = line:match "(%d+)%s(%d+)%s(%d+)%s(%d+)"
    other.kill(host)
    assert.is_true(probe.soon(function() return not probe.runs(inert) and not probe.runs(front) end))
    assert.is_true(probe.runs(pid) and probe.runs(child))
    local p = afar.reconnect(path)
    assert.equal(tonumber(child), p.kept.child.pid)
    for _, one in ipairs(p:unclaimed()) do
      assert.are_not.equal(tonumber(front), one.child and one.child.pid)
      if one.child then assert.equal(tonumber(inert), one.child.pid) end
    end
    p:exit()
  end)

  it("changes hands, also when its host is stopped with full buffers", function()
    local host = other.start([[
      local afar = require "afar"
      local p = afar.here
      p:persistent((...))
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
    assert.is_true(#p:ptr(("x"):rep(100000)):read() == 100000)
    p:exit()
    other.kill(host)
  end)

  it("tells the host before who has come", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    root:persistent(path)
    assert.equal("", other.run([[require("afar").reconnect((...))]], path))
    assert.matches("started from process %d+ has taken the process over", (raised.message(root.getpid, root)))
    afar.reconnect(path):exit()
    root:disconnect()
  end)

  it("performs each call once, however often its connection breaks: the first one is the one that made it", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local way
    root:persistent(path, {
      reach = function()
        if way then way:disconnect() end
        way = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
        return way
      end,
    })
    local log, cuts, done = root:open(dir .. "/log", "O_WRONLY|O_CREAT|O_APPEND", "0600"), 0, false
    local calls = 0
    afar.nursery(function(n)
      n:spawn(function()
        while not done do
          local before = calls
          repeat afar.sleep(0.02) until calls > before or done -- it has been reached again
          cuts = cuts + 1
          pcall(afar.here.kill, afar.here, way and way.pid or root.front.pid, "SIGKILL")
        end
      end)
      repeat
        log:write "x"
        calls = calls + 1
      until cuts >= 5
      done = true
    end)
    assert.equal(calls, afar.here:stat(dir .. "/log").st_size)
    root:exit()
    if way then way:disconnect() end
    root:disconnect()
  end)

  it("becomes persistent while other coroutines clone, run, and wait", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local inert, program = root:fork(), root:fork():exec { "sh", "-c", "read x; exit 5", stdin = "null" }
    local from, to = root:pipe2()
    local got, status
    local count, done = 0, false
    afar.nursery(function(n)
      n:spawn(function() got = from:read() end)
      n:spawn(function() status = program:wait() end)
      for i = 1, 6 do
        n:spawn(function()
          while not done do
            if i % 2 == 0 then
              root:fork():exit(0)
            else
              assert.equal("x\n", root:run({ "echo", "x" }).stdout)
            end
            count = count + 1
          end
        end)
      end
      repeat afar.sleep(0.01) until count > 6
      root:persistent(path)
      local before = count
      repeat afar.sleep(0.01) until count > before + 6
      done = true
      to:write "y"
    end)
    assert.equal("y", got)
    assert.equal(5, status.code)
    probe.works(inert)
    root:exit()
    root:disconnect()
  end)

  it("has those wait who clone before it is reached again", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local connect, child = session.connect, nil
    afar.nursery(function(n)
      function session.connect(...)
        session.connect = connect
        n:spawn(function() child = root:fork() end)
        for _ = 1, 10 do sched.turn() end
        return connect(...)
      end
      root:persistent(path)
    end)
    probe.works(child)
    child:exit()
    root:exit()
    root:disconnect()
  end)

  it("is heard when it ends, though what brings that ends with it", function()
    for _ = 1, 10 do
      local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
      root:persistent(path)
      local p = root.session.via:reconnect(path)
      p:exit()
      assert.is_false(p:is_alive())
      assert.is_nil(lfs.symlinkattributes(path))
      root:disconnect()
    end
  end)

  it("is refused that while others use its table of fds", function()
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
    local p = root:clone "CLONE_FILES"
    assert.matches("another process uses its table of fds %(CLONE_FILES%); end that one before$", (raised.message(root.persistent, root, path)))
    p:exit(0)
    root:persistent(path):exit()
    root:disconnect()
  end)
end)
