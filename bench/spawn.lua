--- Programs started and awaited, and processes that end without having been one.

local afar = require "afar"
local measure = require "measure"
local places = require "places"

local COUNT, SIDE = measure.size(8, 512, 2048), measure.size(4, 64, 64)
local QUIET = { "/bin/true", stdout = "null", stderr = "null" }

local function program(side)
  return function() return measure.program(("build/bench/spawn %d %d /bin/true"):format(COUNT, side)) end
end

local function clone() return measure.program(("build/bench/spawn %d clone"):format(COUNT)) end

local function each(f)
  return function() return measure.each(COUNT, f) end
end

local function side_by_side(p)
  return function()
    return measure.seconds(function()
      afar.nursery(function(n)
        for _ = 1, SIDE do
          n:spawn(function()
            for _ = 1, COUNT / SIDE do p:run(QUIET) end
          end)
        end
      end)
    end) / COUNT * 1e6
  end
end

return function(mode)
  local root, child = afar.here, places.ring()
  local function row(id, name, goal, ours, base)
    measure.row { id = id, name = ("%s, %s"):format(name, places.NAMES[mode]), mode = mode, unit = "us", goal = goal, ours = ours, base = base }
  end
  row("spawn", "clone + exec /bin/true + wait", 1.1, each(function() root:run(QUIET) end), program(1))
  row("spawn-child", "the same, in a child of the root", nil, each(function() child:run(QUIET) end), program(1))
  row("spawn-64", ("the same, %d side by side"):format(SIDE), 1.1, side_by_side(root), program(SIDE))
  row("clone-exit", "clone + exit + wait", mode == "one" and 1.5 or 3, each(function() root:fork():exit() end), clone)
  row("spawn-collect", "run, outputs collected", nil, each(function() root:run { "/bin/true" } end), program(1))
  row("spawn-calls", "fork; exec; wait, one after the other", nil, each(function() root:fork():exec(QUIET):check() end), program(1))
end
