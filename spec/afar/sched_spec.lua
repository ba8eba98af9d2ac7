-- Waiting, wherever a script does it.

local afar = require "afar"
local sched = require "afar.sched"
local spawn = require "afar.spawn"

local p = afar.here

local fails = require("spec.support.raised").err

describe("a call that waits", function()
  it("may be made in pcall and xpcall", function()
    assert.same({ true, p.pid }, { pcall(p.getpid, p) })
    local ok, text = xpcall(function() p:open "/no/such" end, function(err) return err.name end)
    assert.same({ false, "ENOENT" }, { ok, text })
  end)

  it("may be made in iterators and metamethods", function()
    local count = 0
    for i in function(_, i) return i < 3 and p:getpid() > 0 and i + 1 or nil end, nil, 0 do
      count = count + i
    end
    assert.equal(6, count)
    local lazy = setmetatable({}, { __index = function() return p:getpid() end, __call = function() return p:getpid() end })
    assert.equal(p.pid, lazy.pid)
    assert.equal(p.pid, lazy())
  end)

  it("may be made in coroutines of the script's own, which yield to it as ever", function()
    local co = coroutine.wrap(function(a)
      local b = coroutine.yield(a + 1)
      local pid = p:getpid()
      afar.sleep(0.01)
      local c = coroutine.yield(pid)
      return b .. c
    end)
    assert.equal(2, co(1))
    assert.equal(p.pid, co "b")
    assert.equal("bc", co "c")
    assert.matches("dead coroutine", fails(co))
    local other = coroutine.create(function()
      p:open "/no/such"
    end)
    local ok, err = coroutine.resume(other)
    assert.same({ false, "ENOENT", "dead" }, { ok, err.name, coroutine.status(other) })
  end)

  it("in coroutines beside each other gives each its own answer", function()
    local got = {}
    local function generator(path)
      return coroutine.wrap(function()
        local fd = p:open(path)
        while true do
          local byte = fd:read(1)
          if byte == "" then break end
          coroutine.yield(byte)
        end
        fd:close()
      end)
    end
    afar.nursery(function(n)
      for i, path in ipairs { "/proc/sys/kernel/ostype", "/proc/sys/kernel/hostname" } do
        n:spawn(function()
          local bytes = {}
          for byte in generator(path) do
            bytes[#bytes + 1] = byte
          end
          got[i] = table.concat(bytes)
        end)
      end
    end)
    assert.same({ "Linux\n", p:read_file "/proc/sys/kernel/hostname" }, got)
  end)

  it("may be made while a module is loaded, by several at once", function()
    package.preload["spec.sched.module"] = function()
      afar.sleep(0.01)
      return { pid = p:getpid() }
    end
    local got = {}
    afar.nursery(function(n)
      for i = 1, 3 do
        n:spawn(function() got[i] = require "spec.sched.module" end)
      end
    end)
    package.preload["spec.sched.module"], package.loaded["spec.sched.module"] = nil, nil
    assert.equal(p.pid, got[1].pid)
    assert.equal(got[1], got[2])
    assert.equal(got[1], got[3])
  end)

  it("says where it can't be made", function()
    local err = fails(table.sort, { 1, 2, 3 }, function(a, b) return p:getpid() > 0 and a < b end)
    assert.matches("can't wait here: inside a sort comparator", tostring(err))
    err = fails(string.gsub, "x", "x", function() return p:read_file "/etc/passwd" end)
    assert.matches("can't wait here", tostring(err))
    assert.equal(p.pid, p:getpid())
  end)

  it("has all others run meanwhile, in turn", function()
    local log = {}
    afar.nursery(function(n)
      for i = 1, 3 do
        n:spawn(function()
          for _ = 1, 3 do
            log[#log + 1] = i
            afar.sleep(0.01)
          end
        end)
      end
    end)
    assert.equal("123123123", table.concat(log))
  end)
end)

describe("several that wait for the same", function()
  it("all go on, once each, though one of them cancels another", function()
    local loop = require "afar.loop"
    local id, log, routines = loop.id(), {}, {}
    for i = 1, 3 do
      routines[i] = sched.start(function()
        local told = pcall(sched.wait, id, function() return true end)
        log[#log + 1] = ("%d %s"):format(i, tostring(told))
        for k = 1, 3 do
          if k ~= i then sched.cancel(routines[k], "by another") end
        end
        local _, why = pcall(afar.sleep, 0.01)
        log[#log + 1] = ("%d %s"):format(i, tostring(why))
      end)
    end
    afar.sleep(0)
    loop.complete(id)
    for i = 1, 3 do sched.join(routines[i]) end
    table.sort(log)
    assert.same({ "1 by another", "1 true", "2 by another", "2 true", "3 by another", "3 true" }, log)
  end)
end)

describe("sleep", function()
  it("wakes in the order of the times", function()
    local log
    local function try()
      log = {}
      afar.nursery(function(n)
        for _, ms in ipairs { 50, 10, 40, 20, 30, 0 } do
          n:spawn(function()
            afar.sleep(ms / 1000)
            log[#log + 1] = ms
          end)
        end
      end)
      return table.concat(log, " ") == "0 10 20 30 40 50"
    end
    for _ = 1, 10 do -- on a busy machine the last may begin to sleep after another was to wake
      if try() then break end
    end
    assert.same({ 0, 10, 20, 30, 40, 50 }, log)
  end)

  it("can be had thousandfold", function()
    local count = 0
    afar.nursery(function(n)
      for i = 1, 5000 do
        n:spawn(function()
          afar.sleep((i * 7919 % 100) / 10000)
          count = count + 1
        end)
      end
    end)
    assert.equal(5000, count)
  end)
end)

describe("a wait that is cancelled in the very turn in which it would end", function()
  --- Each of two, once it has waited by `wait(i)`, cancels the other; the events of both come in one turn, by `begin()`.
  local function one_of_two(wait, begin)
    local ended, routines = {}, {}
    afar.nursery(function(n)
      for i = 1, 2 do
        routines[i] = n:spawn(function()
          local ok = pcall(wait, i)
          ended[ok] = (ended[ok] or 0) + 1
          sched.cancel(routines[3 - i], "cancelled")
        end)
      end
      sched.turn()
      begin()
    end)
    return ended
  end

  it("is cancelled, and what it waited for is given back once: an fd", function()
    for _ = 1, 20 do
      local reads, writes = {}, {}
      for i = 1, 2 do reads[i], writes[i] = spawn.pipe() end
      local ended = one_of_two(function(i) sched.wait_fd(reads[i], "r") end, function()
        for i = 1, 2 do spawn.write(writes[i], "x") end
      end)
      assert.same({ [true] = 1, [false] = 1 }, ended)
      for i = 1, 2 do
        spawn.close(reads[i])
        spawn.close(writes[i])
      end
    end
  end)

  it("is cancelled: a sleep", function()
    local until_then = require("afar.loop").monotonic() + 0.01
    local ended = one_of_two(function() afar.sleep(0.01) end, function()
      while require("afar.loop").monotonic() < until_then + 0.01 do end -- both are over
    end)
    assert.same({ [true] = 1, [false] = 1 }, ended)
  end)

  it("is cancelled: of a completion that comes all the same nothing is kept", function()
    local loop = require "afar.loop"
    local function leave_many()
      for _ = 1, 20000 do
        local id = loop.id()
        fails(afar.timeout, 0, sched.wait, id, function() return true end)
        loop.complete(id)
      end
      afar.sleep(0.01)
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    local before = leave_many()
    assert.is_true(leave_many() < before + 500)
  end)
end)
