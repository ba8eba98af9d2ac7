--- A program started and awaited: rates, so that more is better.

local afar = require "afar"
local measure = require "measure"

local COUNT = tonumber(os.getenv "BENCH_SPAWNS") or 200

local function rate(f)
  return function() return 1e6 / measure.each(COUNT, f) end
end

local function base() return 1e6 / measure.program(("build/bench/spawn %d /bin/true"):format(COUNT)) end

return function()
  local root = afar.here
  local child = root:fork()
  local quiet = { "/bin/true", stdout = "null", stderr = "null" }
  local function row(name, goal, f) measure.row { name = name, unit = "/s", goal = goal, ours = rate(f), base = base } end
  row("clone, exec, wait: run, outputs to null", "at least 0.9", function() root:run(quiet) end)
  row("the same, in a child of the root's", nil, function() child:run(quiet) end)
  row("run, outputs collected", nil, function() root:run { "/bin/true" } end)
  row("fork; exec; wait, one after the other", nil, function() root:fork():exec(quiet):check() end)
end
