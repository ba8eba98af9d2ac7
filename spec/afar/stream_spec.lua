--- The one stream to a machine: channels that don't hold each other up, pings, and its end.

local afar = require "afar"
local attach = require "afar.attach"
local machine = require "afar.machine"
local probe = require "spec.support.probe"
local pump = require "afar.pump"
local sched = require "afar.sched"
local spawn = require "afar.spawn"

local MEGABYTE = 1024 * 1024
local AMOUNT = tonumber(os.getenv "SPEC_MEGABYTES" or 1024) * MEGABYTE

local function far(name) return afar.here:bootstrap { "sh", "-c", afar.SCRIPT, name = name or "far" } end

local function host_pid() return tonumber(io.open("/proc/self/stat"):read "*n") end

describe("a stream", function()
  local root
  before_each(function() root = far() end)
  after_each(function()
    if root:is_alive() then root:disconnect() end
  end)

  --- A program whose output, much of it, comes through a channel.
  local function zeros(count)
    local from, to = root:pipe2()
    local p = root:fork()
    local child = p:exec { "head", "-c", count, "/dev/zero", stdout = p:inherit(to) }
    to:close()
    return attach.channel(root, from, "r"), child
  end

  it("goes on where a channel is given up in the turn in which it was begun", function()
    local from, to = root:pipe2()
    local channel, finish = attach.copy(root, from, "r")
    channel:close()
    finish()
    to:close()
    assert.equal(root.pid, root:getpid())
    root:getpid()
    from:close()
  end)

  it("carries one channel though the reader of another has stopped, and neither side grows", function()
    local stuck, stuck_child = zeros(AMOUNT)
    local flowing, child = zeros(AMOUNT)
    afar.sleep(0.2)
    collectgarbage()
    local before_here, before_there = probe.rss(host_pid()), probe.rss(root.pid)
    local total = 0
    while true do
      local data = pump.read(flowing)
      if data == "" then break end
      total = total + #data
    end
    assert.equal(AMOUNT, total)
    assert.is_true(probe.rss(host_pid()) - before_here < 8 * MEGABYTE)
    assert.is_true(probe.rss(root.pid) - before_there < 8 * MEGABYTE)
    child:check()
    assert.equal(root.pid, root:getpid())
    flowing:close()
    stuck:close()
    assert.equal("SIGPIPE", stuck_child:wait().signal)
  end)

  it("moves what comes in small pieces to an fd that is full now and then, up to where it is told to stop", function()
    local from, to = root:pipe2()
    local p = root:fork()
    local child = p:exec { "sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done", stdout = p:inherit(to) }
    to:close()
    local numbers = {}
    for i = 0, 19999 do numbers[#numbers + 1] = i .. "\n" end
    local all = table.concat(numbers)
    local most = #all - 5003
    local channel = attach.channel(root, from, "r")
    local read_end, write_end = spawn.pipe()
    local parts, moved, got = {}, nil, 0
    afar.nursery(function(n)
      n:spawn(function() moved = pump.out(channel, write_end, most) end)
      afar.sleep(0.3) -- by then the pipe is full
      while got < most do
        sched.wait_fd(read_end, "r")
        parts[#parts + 1] = spawn.read(read_end, 1000)
        got = got + #parts[#parts]
      end
    end)
    spawn.close(read_end)
    spawn.close(write_end)
    assert.equal(most, moved)
    assert.is_true(all == table.concat(parts) .. pump.read_all(channel))
    child:check()
  end)

  --- Bytes that the host has read so far, by read(2) and the like.
  local function bytes_read() return tonumber(io.open("/proc/self/io"):read("*a"):match "rchar: (%d+)") end

  it("brings a file here without reading its bytes, as far as the pipe to it takes them", function()
    local dir = afar.here:mkdtemp()
    local all = ("0123456789abcde\n"):rep(50000)
    afar.here:write_file(dir .. "/source", all, { sync = false })
    local before = bytes_read()
    root:copy_to(dir .. "/source", afar.here, dir .. "/target", { sync = false, progress = false })
    assert.is_true(bytes_read() - before < #all / 2)
    assert.is_true(afar.here:read_file(dir .. "/target") == all)
    afar.here:remove_tree(dir)
  end)

  it("brings a file here while all else goes on as it comes", function()
    local dir = afar.here:mkdtemp()
    local source, target = dir .. "/source", dir .. "/target"
    local parts = {}
    for i = 1, 200000 do parts[i] = ("%d: %x\n"):format(i, i * i) end
    local all = table.concat(parts):rep(8)
    afar.here:write_file(source, all, { sync = false })
    local calls, lines = 0, ""
    afar.nursery(function(n)
      local copied = false
      n:spawn(function()
        root:copy_to(source, afar.here, target, { sync = false, progress = false })
        copied = true
      end)
      n:spawn(function()
        while not copied do
          assert.equal(root.pid, root:getpid())
          calls = calls + 1
        end
      end)
      n:spawn(function() lines = root:run({ "sh", "-c", "i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done" }).stdout end)
    end)
    assert.is_true(calls > 0)
    assert.equal(499, tonumber(lines:match "(%d+)\n$"))
    assert.is_true(afar.here:read_file(target) == all)
    afar.here:remove_tree(dir)
  end)

  it("brings a file into a pipe up to where it is told to stop, and goes on from there", function()
    local file = root:open("/dev/shm", "O_TMPFILE|O_RDWR", 0x180)
    local all = {}
    for i = 1, 200000 do all[i] = ("%08x"):format(i * 7919) end
    all = table.concat(all):rep(8)
    file:write(all)
    file:lseek(0, "SEEK_SET")
    local channel, finish = attach.copy(root, file, "r")
    finish()
    local read_end, write_end = spawn.pipe()
    local got = {}
    for i = 1, 100 do
      local part, moved, left = 1 + i * 7907 % 100000, nil, 0
      afar.nursery(function(n)
        n:spawn(function() moved = pump.out(channel, write_end, part) end)
        left = part
        while left > 0 do
          sched.wait_fd(read_end, "r")
          got[#got + 1] = spawn.read(read_end, math.min(left, 20000))
          left = left - #got[#got]
        end
      end)
      assert.equal(part, moved)
    end
    spawn.close(write_end)
    spawn.close(read_end)
    assert.is_true(table.concat(got) .. pump.read_all(channel) == all)
    file:close()
  end)

  it("goes on writing to who has only ended to write", function()
    local a, b = root:socketpair()
    local channel = attach.channel(root, a, "rw")
    root:syscall("shutdown", b, 1)
    assert.equal("", pump.read(channel))
    local got = 0
    afar.nursery(function(n)
      n:spawn(function()
        assert.is_true(pump.write(channel, ("x"):rep(MEGABYTE)))
        channel:eof()
      end)
      repeat
        local data = b:read()
        got = got + #data
      until data == ""
    end)
    assert.equal(MEGABYTE, got)
    channel:close()
    b:close()
  end)

  it("tells a writer that nobody reads any more", function()
    local from, to = root:pipe2()
    local channel = attach.channel(root, to, "w")
    from:close()
    assert.is_false(pump.write(channel, ("x"):rep(MEGABYTE)))
    channel:close()
  end)

  it("gives all that was written before an end", function()
    local channel = zeros(3 * MEGABYTE)
    assert.equal(3 * MEGABYTE, #pump.read_all(channel))
  end)

  it("ends for who waits to write on a channel that has nothing more to read", function()
    local mine, other = root:socketpair()
    local channel = attach.channel(root, mine, "rw")
    other:shutdown "SHUT_WR"
    assert.equal("", (pump.read(channel)))
    local written
    afar.nursery(function(n)
      n:spawn(function() written = pump.write(channel, ("x"):rep(4 * MEGABYTE)) end)
      afar.sleep(0.1)
      root.machine.via:kill "SIGKILL"
    end)
    assert.is_false(written)
    root.machine:close()
  end)

  it("ends for all that use it when its command dies", function()
    local p = root:fork()
    local from = p:pipe2()
    local errs = {}
    root:nanosleep(root:ptr(("\0"):rep(16)), 0) -- makes the process that sleeps
    afar.nursery(function(n)
      n:spawn(function() errs[1] = select(2, pcall(from.read, from)) end)
      n:spawn(function() errs[2] = select(2, pcall(root.nanosleep, root, root:ptr("\9" .. ("\0"):rep(15)), 0)) end)
      probe.settle(root)
      probe.settle(p)
      root.machine.via:kill "SIGKILL"
    end)
    for i = 1, 2 do
      assert.is_true(errs[i].sent, tostring(errs[i]))
      assert.matches("the connection broke meanwhile; it may have been performed", tostring(errs[i]))
    end
    local ok, err = pcall(root.getpid, root)
    assert.is_false(ok)
    assert.is_false(err.sent)
    assert.matches("had ended before; it was surely not performed", tostring(err))
    assert.is_true(probe.soon(function() return not probe.runs(root.pid) and not probe.runs(p.pid) end))
    root.machine:close()
  end)
end)

describe("pings", function()
  local seconds, missed = machine.ping_seconds, machine.pings_missed
  before_each(function() afar.set_pings(0.5, 3) end)
  after_each(function() afar.set_pings(seconds, missed) end)

  it("find out that the far side has stopped: all that waits for it fails", function()
    local root = far "frozen"
    afar.sleep(2.5)
    assert.is_true(root:is_alive()) -- an idle one is not taken for dead
    afar.here:kill(root.pid, "SIGSTOP")
    local ok, err = pcall(afar.timeout, 60, root.getpid, root)
    assert.is_false(ok)
    assert.is_true(err.sent)
    assert.matches("^getpid%(%) in process %d+ on frozen: ", tostring(err))
    assert.is_false(root:is_alive())
    afar.here:kill(root.pid, "SIGKILL")
    root.machine:close()
  end)

  it("let the far side end when the host has stopped", function()
    local script = [[
      local afar = require "afar"
      afar.set_pings(1, 2)
      local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT, name = "left" }
      print(root:getpid()) io.stdout:flush()
      afar.sleep(100)
    ]]
    local p = afar.here:fork()
    local from, to = afar.here:pipe2()
    p:exit(0)
    p = afar.here:fork()
    local child = p:exec { "build/afar", "-e", script, stdout = p:inherit(to) }
    to:close()
    local pid = tonumber(from:read())
    child:kill "SIGSTOP"
    assert.is_true(probe.soon(function() return not probe.runs(pid) end))
    child:kill "SIGKILL"
    child:wait()
    from:close()
  end)
end)
