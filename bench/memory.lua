--- What an idle process takes, kernel and all: see footprint.lua.

local measure = require "measure"

local COUNT = measure.size(50, 2000, 8000)
local ROUNDS, GOAL = 3, 1.5

local function footprint(what)
  return function() return measure.program(("build/afar bench/footprint.lua %d %s"):format(COUNT, what)) end
end

return function()
  local function row(id, name, goal, what)
    measure.row { id = id, name = name, unit = "KiB", goal = goal, rounds = ROUNDS, ours = footprint(what), base = footprint "clones" }
  end
  row("memory", "memory of an idle process", GOAL, "forks")
  row("memory-most", "the same", { most = 40 }, "forks")
  row("memory-fds", "the same, the host has 1000 more fds", GOAL, "fds")
end
