--- The ring beside the stream of this machine's root: quick, in one order with the stream, and asleep when there is nothing to do.

local afar = require "afar"
local attach = require "afar.attach"
local probe = require "spec.support.probe"
local pump = require "afar.pump"

local MEGABYTE = 1024 * 1024

local PROGRAM = os.getenv "AFAR" or "build/afar"

local function cpus() return probe.status("self", "Cpus_allowed_list") end

local function has_ring() return cpus():find "[-,]" ~= nil end

--- The processor time that a process has taken, in ticks.
local function ticks(pid)
  local file = assert(io.open(("/proc/%s/stat"):format(pid)))
  local user, system = file:read("*a"):match("%) %S+" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
  file:close()
  return user + system
end

--- What a program says that runs on one CPU only, or on all.
local function program(code, one_cpu)
  local command = { PROGRAM, "-e", 'local afar = require "afar"; ' .. code }
  if one_cpu then command = { "taskset", "-c", cpus():match "%d+", unpack(command) } end
  return afar.here:run(command).stdout
end

describe("the root of this machine", function()
  local root = afar.here

  it("is called without its stream, where there are two CPUs", function()
    if not has_ring() then return pending "one CPU only" end
    local stream = root.machine.stream
    local before = stream:received()
    for _ = 1, 10000 do
      assert.equal(root.pid, root:getpid())
    end
    -- On a busy machine the host sleeps meanwhile, and is woken over the stream; an answer there would be 24 bytes.
    assert.is_true(stream:received() - before <= 10000 * 8 + 100, "the answers came over the stream")
  end)

  it("does first what its stream was told before", function()
    local before = probe.holds(root).fds -- and nothing is to be collected meanwhile
    for _ = 1, 100 do
      local from, to = root:pipe2()
      local channel = attach.channel(root, to, "w")
      assert.equal(before + 2, probe.fds(root.pid))
      channel:close()
      from:close()
      assert.equal(before, probe.fds(root.pid))
    end
  end)

  it("answers though it has learned not to look around", function()
    for _ = 1, 100 do
      afar.sleep(0.0015) -- so that it sleeps each time that it is called
      assert.equal(root.pid, root:getpid())
    end
  end)

  it("answers more at once than the ring takes", function()
    local results = {}
    afar.nursery(function(n)
      for i = 1, 1500 do
        n:spawn(function() results[i] = root:syscall("sched_get_priority_max", i % 2) end)
      end
    end)
    for i = 1, 1500 do
      assert.equal(i % 2 * 99, results[i])
    end
    assert.equal(root.pid, root:getpid())
  end)

  it("carries its channels while it is called", function()
    local from, to = root:pipe2()
    local p = root:fork()
    local child = p:exec { "head", "-c", 16 * MEGABYTE, "/dev/zero", stdout = p:inherit(to) }
    to:close()
    local channel = attach.channel(root, from, "r")
    local total, calls = 0, 0
    afar.nursery(function(n)
      n:spawn(function()
        repeat
          local data = pump.read(channel)
          total = total + #data
        until data == ""
      end)
      n:spawn(function()
        while total < 16 * MEGABYTE do
          assert.equal(root.pid, root:getpid())
          calls = calls + 1
        end
      end)
    end)
    channel:close()
    child:check()
    assert.equal(16 * MEGABYTE, total)
    assert.is_true(calls > 0)
  end)

  it("wakes for what is waited for while others call", function()
    local from, to = root:pipe2()
    local got
    afar.nursery(function(n)
      n:spawn(function() got = from:read() end)
      n:spawn(function()
        for i = 1, 1000 do
          root:getpid()
          if i == 500 then to:write "now" end
        end
      end)
    end)
    assert.equal("now", got)
    from:close()
    to:close()
  end)

  it("takes no time when there is nothing to do, and nor does the host", function()
    root:getpid()
    assert.is_true(probe.soon(function() return probe.status(root.pid, "State"):find "^S" end))
    local there, here = ticks(root.pid), ticks "self"
    afar.sleep(0.3)
    assert.is_true(ticks(root.pid) - there <= 3)
    assert.is_true(ticks "self" - here <= 3)
  end)

  it("does without a ring on one CPU", function()
    local out = program([[
      local before = afar.here.machine.stream:received()
      for _ = 1, 100 do assert(afar.here:getpid() == afar.here.pid) end
      print(afar.here.machine.stream:received() - before >= 1600)]], true)
    assert.equal("true\n", out)
  end)

  it("is missed when it is killed: the call says so", function()
    local out = program 'print(pcall(afar.here.kill, afar.here, afar.here.pid, 9)); print(pcall(afar.here.getpid, afar.here))'
    assert.matches("^false\t[^\n]*ended", out)
  end)
end)
