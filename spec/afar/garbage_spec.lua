--- What calls leave for the garbage collector: counted, with the collector stopped.

local afar = require "afar"
local other_host = require "spec.support.other_host"

describe("a call leaves", function()
  --- Bytes a call of `f`.
  local function garbage(count, f)
    for _ = 1, 500 do f() end
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    for _ = 1, count do f() end
    local bytes = (collectgarbage "count" - before) * 1024 / count
    collectgarbage "restart"
    return bytes
  end

  it("nothing, where it takes and answers numbers", function()
    assert.is_true(garbage(5000, function() afar.here:getppid() end) < 8)
    assert.is_true(garbage(5000, function() afar.here:syscall("getppid") end) < 8)
  end)

  it("some megabytes at most, where it reads many", function()
    local most = tonumber(other_host.run [[
      local p = require("afar").here:fork()
      local file = p:open("/dev/shm", "O_TMPFILE|O_RDWR", 384)
      file:ftruncate(2000 * 65536)
      for i = 0, 1999 do file:pwrite(("%8d"):format(i), i * 65536) end -- or all were one string
      collectgarbage()
      local before, most = collectgarbage "count", 0
      for _ = 1, 2000 do
        assert(#file:read(65536) == 65536)
        most = math.max(most, collectgarbage "count" - before)
      end
      print(most)
    ]])
    assert.is_true(most < 8 * 1024, most)
  end)

  it("no lists that grow with each chain", function()
    local bytes = garbage(50, function()
      afar.here:chain(function(c)
        for _ = 1, 256 do c:getppid() end
      end)
    end)
    assert.is_true(bytes < 256 * 200, bytes)
  end)

  it("no hold on its process, when its chain was given up", function()
    local kept = setmetatable({}, { __mode = "k" })
    coroutine.wrap(function()
      local p = afar.here:fork()
      kept[p] = true
      pcall(p.chain, p, function(c)
        c:open "/etc/passwd"
        error "given up"
      end)
      p:exit()
    end)()
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(kept))
  end)
end)

describe("what the garbage collector leaves to do", function()
  it("is done also where it comes up while what came before is looked through", function()
    assert.equal("40000\t40000", other_host.run [[ -- whose memory is small: it is collected often
      local sched = require "afar.sched"
      local made, done = 0, 0
      local function count() done = done + 1 end
      local proxy = newproxy(true)
      getmetatable(proxy).__gc = function()
        made = made + 1
        sched.collected(count)
      end
      for _ = 1, 20000 do
        newproxy(proxy)
        newproxy(proxy)
        sched.check()
      end
      collectgarbage()
      sched.check()
      print(made, done)
    ]])
  end)
end)
