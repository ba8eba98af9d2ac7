--- 1,000 coroutines, each with a pipe: it sleeps a millisecond, writes a byte, reads it. Beside the same in C with libev.

local afar = require "afar"
local measure = require "measure"
local places = require "places"

local CROWD = measure.size(20, 1000, 1000)
local TURNS = measure.size(2, 10, 50)

return function(mode)
  local p = places.ring()
  local pipes = {}
  for i = 1, CROWD do pipes[i] = { p:pipe2() } end
  local function turns(from, to)
    for _ = 1, TURNS do
      afar.sleep(0.001)
      to:write "x"
      from:read(1)
    end
  end
  measure.row {
    id = "pipes", name = ("%d coroutines sleep, write and read pipes, %s"):format(CROWD, places.NAMES[mode]), mode = mode, unit = "us", goal = 6,
    tally = { p, CROWD * TURNS * 2 },
    ours = function()
      return measure.seconds(function()
        afar.nursery(function(n)
          for _, pipe in ipairs(pipes) do n:spawn(turns, pipe[1], pipe[2]) end
        end)
      end) / (CROWD * TURNS) * 1e6
    end,
    base = function() return measure.program(("build/bench/pipes %d %d"):format(CROWD, TURNS)) end,
  }
end
