--- open, fstat, read and close of a file of 4 KB, as a chain a file; beside a C program that makes these calls itself and copies what it has read.

local afar = require "afar"
local measure = require "measure"
local places = require "places"

local SIZE, IN_FLIGHT = 4096, 64
local COUNT = measure.size(64, 6400, 25600)

local function read_one(p, path)
  local _, data = p:chain(function(c)
    local fd = c:open(path)
    local stat = fd:fstat()
    local data = fd:read(SIZE)
    fd:close()
    return stat, data
  end)
  assert(#data == SIZE)
end

local function one_by_one(p, path)
  return function()
    return measure.each(COUNT, function() read_one(p, path) end)
  end
end

local function side_by_side(p, path)
  return function()
    return measure.seconds(function()
      afar.nursery(function(n)
        for _ = 1, IN_FLIGHT do
          n:spawn(function()
            for _ = 1, COUNT / IN_FLIGHT do read_one(p, path) end
          end)
        end
      end)
    end) / COUNT * 1e6
  end
end

return function(mode)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(("x"):rep(SIZE))
  file:close()
  local child, stream = places.ring(), places.stream()
  local function base() return measure.program(("build/bench/direct files %d %s"):format(COUNT * 4, path)) end
  local function row(id, name, p, ours, goal)
    measure.row {
      id = id, name = ("%s, %s"):format(name, places.NAMES[mode]), mode = mode, unit = "us", goal = goal, ours = ours, base = base,
      tally = { p, COUNT * 4 },
    }
  end
  row("file-ring", "a 4 KB file as a chain, ring", child, one_by_one(child, path), 1.5)
  row("file-stream", "a 4 KB file as a chain, socketpair, 64 in flight", stream, side_by_side(stream, path), 1.5)
  stream:disconnect()
  os.remove(path)
end
