--- 256 coroutines that live at once, each of which makes one call after the other; and the same 256 calls as one chain. Beside a C program that
--- makes the calls itself.

local afar = require "afar"
local measure = require "measure"
local places = require "places"

local CROWD = 256
local TURNS = measure.size(2, 100, 400)

local function direct() return measure.program(("build/bench/direct calls %d"):format(CROWD * TURNS * 4)) end

local function crowd(p)
  return function()
    return measure.seconds(function()
      afar.nursery(function(n)
        for _ = 1, CROWD do
          n:spawn(function()
            for _ = 1, TURNS do p:syscall "getppid" end
          end)
        end
      end)
    end) / (CROWD * TURNS) * 1e6
  end
end

local function chain(p)
  return function()
    return measure.seconds(function()
      for _ = 1, TURNS do
        p:chain(function(c)
          for _ = 1, CROWD do c:syscall "getppid" end
        end)
      end
    end) / (CROWD * TURNS) * 1e6
  end
end

local function prepared(p)
  local calls = p:prepare(function(c)
    for _ = 1, CROWD do c:syscall "getppid" end
  end)
  return function()
    return measure.seconds(function()
      for _ = 1, TURNS do calls() end
    end) / (CROWD * TURNS) * 1e6
  end
end

return function(mode)
  local child, stream = places.ring(), places.stream()
  places.apart(mode, child, stream)
  local function row(id, name, p, ours, goal)
    measure.row {
      id = id, name = ("%s, %s"):format(name, places.NAMES[mode]), mode = mode, unit = "us", goal = goal, ours = ours, base = direct,
      tally = { p, CROWD * TURNS },
    }
  end
  row("crowd-ring", "256 coroutines, a call each, ring", child, crowd(child), 2)
  row("crowd-chain", "256 calls as one chain, ring", child, chain(child), 1.3)
  row("crowd-prepared", "the same, prepared", child, prepared(child), 1.3)
  row("crowd-stream", "256 coroutines, a call each, socketpair", stream, crowd(stream), mode == "one" and 2 or nil)
  stream:disconnect()
end
