-- Children that are born at once, again and again: each is there, and answers.

local afar = require "afar"
local probe = require "spec.support.probe"
local sched = require "afar.sched"

describe("of a process on this machine", function()
  for what, flags in pairs { ["a copied table"] = 0, ["a shared table"] = "CLONE_FILES|CLONE_FS" } do
    it("many children with " .. what .. " answer their first requests", function()
      local p = afar.here:fork()
      for _ = 1, 100 do
        local kids = {}
        afar.nursery(function(n)
          for i = 1, 6 do
            n:spawn(function()
              kids[i] = p:clone(flags)
              assert.equal(kids[i].pid, kids[i]:getpid())
            end)
          end
        end)
        assert.equal(6, #kids)
        for _, kid in ipairs(kids) do kid:exit(0) end
      end
      p:exit()
    end)
  end

  it("each has of the root's fds its own carrier only, whether it was the first one or not", function()
    for round = 1, 3 do
      local kid = afar.here:fork()
      local own = {}
      for _, name in ipairs(kid:listdir "/proc/self/fd") do
        local number = tonumber(name)
        if number >= 64 then own[#own + 1] = number end
      end
      assert.same({ kid.carrier }, own, round)
      assert.matches("^socket:", kid:readlink("/proc/self/fd/" .. kid.carrier))
      kid:exit(0)
    end
  end)

  it("one that is given up at whatever instant ends, and keeps nobody else's carrier open", function()
    local root = afar.here
    local low = root:open "/dev/null"
    local high = low:fcntl("F_DUPFD_CLOEXEC", 100) -- what is the root's own is then closed in more than one step
    local function children()
      local living = {}
      for pid in root:read_file(("/proc/%d/task/%d/children"):format(root.pid, root.pid)):gmatch "%d+" do
        if probe.runs(tonumber(pid)) then living[#living + 1] = pid end
      end
      return living
    end
    local before, born = #children(), 0
    for turns = 0, 40 do
      local kid
      pcall(afar.nursery, function(n)
        n:spawn(function() kid = root:fork() end)
        for _ = 1, turns do sched.turn() end
        n:cancel "given up"
      end)
      if kid then
        born = born + 1
        kid:exit(0)
      end
    end
    assert.is_true(born > 0)
    assert.is_true(probe.soon(function() return #children() <= before end))
    high:close()
    low:close()
  end)

  it("the memory of one that has ended is its own until its carrier has ended too", function()
    local p = afar.here:fork()
    for round = 1, 50 do
      local kid = p:clone(round % 2 == 0 and "CLONE_FILES" or 0)
      for _ = 1, 40 do kid:getpid() end -- so that it has a ring
      local state = kid.child.state
      kid.child:kill "SIGKILL"
      kid.child:wait()
      assert.is_true(state.block ~= nil or kid.task:state() ~= "open")
      assert.is_true(probe.soon(function() return state.block == nil end))
      assert.equal("eof", kid.task:state())
    end
    p:exit()
  end)

  it("as many are there as the host has fds, and then one clear error", function()
    local script = [[
      local afar = require "afar"
      local root = afar.here
      for _ = 1, 3 do
        local kids, err = {}, nil
        while not err do
          local ok, kid = pcall(root.fork, root)
          if ok then kids[#kids + 1] = kid else err = kid end
        end
        local count = 0
        for pid in root:read_file(("/proc/%d/task/%d/children"):format(root.pid, root.pid)):gmatch "%d+" do count = count + (pid and 1) end
        print(#kids > 5, count == #kids, tostring(err):find("Too many open files", 1, true) ~= nil or tostring(err))
        for _, kid in ipairs(kids) do kid:exit(0) end
      end
    ]]
    local result = afar.here:run { "sh", "-c", 'ulimit -Sn 60; exec timeout -s KILL 100 "$1" -e "$2"', "sh", os.getenv "AFAR" or "build/afar", script }
    assert.equal(("true\ttrue\ttrue\n"):rep(3), result.stdout)
  end)
end)
