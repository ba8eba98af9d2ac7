--- notice.lua COUNT: makes COUNT processes that wait, each for a pipe of its own. Prints how many it could make, and the median of
--- the microseconds from a write into such a pipe to the reader's going on: in processes that had been used before, and in fresh ones.

local afar = require "afar"
local loop = require "afar.loop"

local SAMPLES, USED = 101, 5

local root = afar.here

local function median(values)
  table.sort(values)
  return values[math.floor((#values + 1) / 2)]
end

local function make(count)
  local made = {}
  for i = 1, count do
    local ok, p = pcall(root.fork, root)
    if not ok then break end
    made[i] = p
  end
  return made
end

--- Microseconds until the coroutine that reads in `p` goes on.
local function notice(p, writer)
  local began, ended
  afar.nursery(function(n)
    n:spawn(function()
      p:read(0, 1)
      ended = loop.monotonic()
    end)
    afar.sleep(0.002) -- it waits by now
    began = loop.monotonic()
    writer:write "x"
  end)
  return (ended - began) * 1e6
end

local from, to = root:pipe2()
from:dup2(0) -- what all forks get as their stdin
local processes = make(tonumber(arg[1]))
local used, fresh = {}, {}
for i = 1, math.min(USED, #processes - 1) do notice(processes[i], to) end
for i = 1, SAMPLES do
  used[i] = notice(processes[1 + i % math.min(USED, #processes - 1)], to)
  if i <= #processes - USED then fresh[#fresh + 1] = notice(processes[#processes - i + 1], to) end
end
print(("%d %.3f %.3f"):format(#processes, median(used), median(fresh)))
