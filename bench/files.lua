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

local function prepared(p)
  return p:prepare(function(c, path)
    local fd = c:open(path)
    local stat = fd:fstat()
    local data = fd:read(SIZE)
    fd:close()
    return stat, data
  end)
end

local function check(_, _, data) assert(#data == SIZE) end

local function one_by_one(p, path)
  return function()
    return measure.each(COUNT, function() read_one(p, path) end)
  end
end

local function prepared_one_by_one(p, path)
  local read = prepared(p)
  return function()
    return measure.each(COUNT, function() check(path, read(path)) end)
  end
end

--- For a list of files: afar keeps some of them under way.
local function for_each(p, path)
  local read, paths = prepared(p), {}
  for i = 1, COUNT do paths[i] = path end
  return function()
    return measure.seconds(function() read:each(paths, check) end) / COUNT * 1e6
  end
end

local function side_by_side(f)
  return function()
    return measure.seconds(function()
      afar.nursery(function(n)
        for _ = 1, IN_FLIGHT do
          n:spawn(function()
            for _ = 1, COUNT / IN_FLIGHT do f() end
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
  row("file-prepared", "the same, prepared", child, prepared_one_by_one(child, path), 1.5)
  row("file-each", "the same, for each of a list", child, for_each(child, path), 1.5)
  row("file-stream", "a 4 KB file as a chain, socketpair, 64 in flight", stream, side_by_side(function() read_one(stream, path) end), 1.5)
  local read = prepared(stream)
  row("file-stream-prepared", "the same, prepared", stream, side_by_side(function() check(path, read(path)) end), 1.5)
  stream:disconnect()
  os.remove(path)
end
