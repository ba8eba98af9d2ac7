-- Children of the root here have no pidfd in its table, which is copied for each of them, until one is needed.

local afar = require "afar"
local members = require "afar.members"
local other = require "spec.support.other_host"
local probe = require "spec.support.probe"
local sched = require "afar.sched"

local root = afar.here
root:fork():exit() -- the first birth finds out whether pidfd_open can be called

local function pidfds()
  local count = 0
  for _, name in ipairs(root:listdir "/proc/self/fd") do
    local ok, target = pcall(root.readlink, root, "/proc/self/fd/" .. name)
    if ok and target:find("[pidfd]", 1, true) then count = count + 1 end
  end
  return count
end

local function end_all(kids)
  for _, kid in ipairs(kids) do
    kid.child:kill "SIGKILL"
    kid.child:wait()
  end
end

--- Waits for it beside `f`, and says how it has ended.
local function waited_beside(child, f)
  local status
  afar.nursery(function(n)
    n:spawn(function() status = child:wait() end)
    for _ = 1, 3 do sched.turn() end
    f()
  end)
  return status
end

describe("a child of the root here", function()
  it("takes no place in the root's table, nor its brothers in its own", function()
    local before, kids = pidfds(), {}
    for i = 1, 150 do kids[i] = root:fork() end
    assert.equal(before, pidfds())
    local size = tonumber(kids[150]:read_file("/proc/self/status"):match "FDSize:%s*(%d+)")
    assert.is_true(size <= 128, size)
    end_all(kids)
    assert.equal(before, pidfds())
  end)

  it("ends by exit, a signal, or what it executes, and leaves no pidfd", function()
    local before = pidfds()
    assert.equal(7, root:fork():exit(7).code)
    local kid = root:fork()
    kid.child:kill "SIGKILL"
    assert.equal("SIGKILL", kid.child:wait().signal)
    assert.equal(3, root:fork():exec({ "sh", "-c", "exit 3" }):wait().code)
    assert.equal(before, pidfds())
  end)

  it("has a pidfd once it is asked for: one, whoever asks", function()
    local before, kid, numbers = pidfds(), root:fork(), {}
    afar.nursery(function(n)
      for i = 1, 3 do
        n:spawn(function() numbers[i] = kid.child.pidfd end)
      end
    end)
    assert.equal(before + 1, pidfds())
    assert.same({ numbers[1], numbers[1], numbers[1] }, numbers)
    assert.equal(kid.child.pid, tonumber(root:read_file("/proc/self/fdinfo/" .. numbers[1]):match "\nPid:%s*(%d+)"))
    assert.equal(0, kid:exit().code)
    assert.equal(before, pidfds())
  end)

  it("may be killed while it is waited for", function()
    local before, kid = pidfds(), root:fork()
    assert.equal("SIGKILL", waited_beside(kid.child, function() kid.child:kill "SIGKILL" end).signal)
    assert.equal(before, pidfds())
  end)

  it("may be asked for its pidfd while it is waited for, also just as it ends", function()
    local before, seen = pidfds(), {}
    for turns = 0, 12 do
      local kid = root:fork()
      local status = waited_beside(kid.child, function()
        root:kill(kid.child.pid, "SIGKILL")
        for _ = 1, turns do sched.turn() end
        seen[kid.child.pidfd ~= nil] = true
      end)
      assert.equal("SIGKILL", status.signal)
    end
    assert.is_true(seen[false] or seen[true])
    assert.equal(before, pidfds())
  end)

  it("leaves no pidfd where a wait for it is cancelled, at whatever instant", function()
    local before, kid = pidfds(), root:fork()
    for turns = 0, 12 do
      pcall(afar.nursery, function(n)
        n:spawn(function() kid.child:wait() end)
        for _ = 1, turns do sched.turn() end
        n:cancel "enough"
      end)
    end
    assert.equal(before, pidfds())
    assert.equal(0, kid:exit().code)
  end)

  it("is waited for among more than the root can hold aside", function()
    local before, kids, ended = pidfds(), {}, 0
    for i = 1, 80 do kids[i] = root:fork() end
    afar.nursery(function(n)
      for i = 1, 80 do
        n:spawn(function()
          kids[i].child:wait()
          ended = ended + 1
        end)
      end
      for _ = 1, 5 do sched.turn() end
      assert.equal(root.pid, root:getpid())
      for i = 1, 80 do kids[i].child:kill "SIGKILL" end
    end)
    assert.equal(80, ended)
    assert.is_true(probe.soon(function() return pidfds() == before end))
  end)

  it("that nobody holds any more is awaited, and its pidfd closed", function()
    local before = pidfds()
    local pid = root:fork():exec({ "sleep", "0.2" }).pid
    collectgarbage()
    collectgarbage()
    assert.is_true(probe.soon(function() return not probe.runs(pid) and not pcall(root.stat, root, "/proc/" .. pid) and pidfds() == before end))
  end)

  it("has its pidfd from birth where pidfd_open can't be called", function()
    local machine = root.machine
    local opens = machine.opens_pidfds
    machine.opens_pidfds = false
    local kid = root:fork()
    machine.opens_pidfds = opens
    assert.is_number(kid.child.state.pidfd)
    assert.equal(0, kid:exit().code)
  end)

  it("has its pidfd from birth where that is asked for", function()
    local kid = root:clone "CLONE_PIDFD"
    assert.is_number(kid.child.state.pidfd)
    assert.equal(0, kid:exit().code)
  end)

  it("names its pidfd and methods at the prompt", function()
    local kid = root:fork()
    local names = " " .. table.concat(members.of(kid.child), " ") .. " "
    assert.matches(" kill ", names)
    assert.matches(" pidfd ", names)
    kid:exit()
  end)

  it("has it opened before the root becomes persistent, also while it is waited for", function()
    root:with_tempdir(function(dir)
      local said = other.run([[
        local afar, path = require "afar", ...
        local sched = require "afar.sched"
        local p, status = afar.here, nil
        p:fork():exit()
        local own, waited = p:fork():exec { "sleep", "100" }, p:fork():exec { "sleep", "100" }
        assert(not own.state.pidfd)
        afar.nursery(function(n)
          n:spawn(function() status = waited:wait() end)
          for _ = 1, 3 do sched.turn() end
          p:persistent(path)
          assert(own.state.pidfd and waited.state.pidfd)
          p.kept.own = own
          waited:kill "SIGKILL"
        end)
        own:kill "SIGKILL"
        print(status, own:wait())
        p:exit()
      ]], dir .. "/socket")
      assert.equal("killed by SIGKILL\tkilled by SIGKILL", said)
    end)
  end)
end)
