--- Many idle processes, then something happens in one of them: how long until its coroutine goes on. Beside the same with 10. The work is done
--- by notice.lua, a host of its own for each measurement.

local measure = require "measure"

local FEW, MANY = 10, measure.size(50, 10000, 10000)
local ROUNDS = 3

--- Results of one run: what the rows of this section take one after the other.
local function runs(count)
  local taken = { used = {}, fresh = {} }
  local function run()
    local pipe = assert(io.popen(("build/afar bench/notice.lua %d"):format(count)))
    local made, used, fresh = (pipe:read "*l" or ""):match "^(%d+) (%S+) (%S+)$"
    pipe:close()
    assert(made, "bench/notice.lua failed")
    taken.made = tonumber(made)
    table.insert(taken.used, tonumber(used))
    table.insert(taken.fresh, tonumber(fresh))
  end
  return function(what)
    return function()
      if #taken[what] == 0 then run() end
      return table.remove(taken[what], 1)
    end
  end, taken
end

return function()
  local many, taken = runs(MANY)
  local few = runs(FEW)
  local function row(id, name, goal, what)
    measure.row { id = id, name = name, unit = "us", goal = goal, rounds = ROUNDS, ours = many(what), base = few(what) }
  end
  row("notice", ("an event in one of up to %d idle processes"):format(MANY), 1.5, "used")
  row("notice-fresh", "the same, in one that was never used", 2, "fresh")
  if taken.made < MANY then print(("  (only %d: more is not allowed here, see RLIMIT_NOFILE and pid_max)"):format(taken.made)) end
end
