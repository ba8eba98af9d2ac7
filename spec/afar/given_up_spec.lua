-- What is given up in the middle, at whichever turn of the loop: its process works on, nothing of it stays, and nobody else waits for ever.

local afar = require "afar"
local probe = require "spec.support.probe"
local sched = require "afar.sched"
local ways = require "spec.support.ways"

local TURNS = 24

local operations = {
  ["run"] = function(p) p:run { "true" } end,
  ["run with input and output"] = function(p) p:run { "cat", stdin = ("x"):rep(100000) } end,
  ["run of what isn't there"] = function(p) pcall(p.run, p, { "/nonexistent" }) end,
  ["run of what doesn't end"] = function(p) p:run { "sleep", "1000" } end,
  ["a fork that executes something"] = function(p)
    local child = p:fork():exec { "true" }
    child:wait()
  end,
  ["a clone that shares the table"] = function(p)
    local child = p:clone "CLONE_FILES"
    child:getpid()
    child:exit(0)
  end,
  ["a clone that leaves the table"] = function(p)
    local child = p:clone "CLONE_FILES"
    child:unshare "CLONE_FILES"
    child:exit(0)
  end,
  ["a program under a terminal"] = function(p)
    local terminal = p:pty { "true" }
    terminal:wait()
    terminal:close()
  end,
  ["files"] = function(p)
    p:read_file "/etc/passwd"
    p:stat "/etc/passwd"
    p:listdir "/etc"
  end,
  ["a bootstrap"] = function(p)
    local root = p:bootstrap { "sh", "-c", afar.SCRIPT }
    root:getpid()
    root:disconnect()
  end,
  ["a file that is written in a directory of its own"] = function(p)
    p:with_tempdir(function(dir) p:write_file(dir .. "/file", "x") end)
  end,
  ["a pipe that nobody writes to"] = function(p)
    local from = p:pipe2()
    from:read(1)
  end,
  ["signals"] = function(p)
    local signals = p:signals "SIGUSR1"
    p:kill(p.pid, "SIGUSR1")
    signals:next()
    signals:close()
  end,
  ["a chain"] = function(p)
    p:chain(function(c)
      local fd = c:open "/etc/passwd"
      local data = fd:read(100)
      fd:close()
      return data
    end)
  end,
}

for _, name in ipairs { "here", "over pipes" } do
  describe("given up at any turn,", function()
    ways.over(ways.get(name), function(way)
      for what, operation in pairs(operations) do
        it(what .. " leaves nothing, and its process works on", function()
          local p = way.root:fork()
          probe.works(p)
          pcall(afar.timeout, 0.5, operation, p) -- what is kept from the first one on is there then
          local before = probe.holds(p)
          for turns = 0, TURNS do
            pcall(afar.nursery, function(n)
              n:spawn(operation, p)
              for _ = 1, turns do sched.turn() end
              n:cancel "given up"
            end)
          end
          afar.timeout(60, function()
            probe.works(p)
            assert.equal(0, p:run({ "true" }).status.code)
          end)
          assert.same(before, probe.holds(p, before))
          local function alone()
            collectgarbage()
            collectgarbage()
            p:getpid()
            local children = afar.here:read_file(("/proc/%d/task/%d/children"):format(p.pid, p.pid))
            return children == ""
          end
          assert.is_true(probe.soon(alone))
          p:exit(0)
        end)
      end
    end)
  end)
end
