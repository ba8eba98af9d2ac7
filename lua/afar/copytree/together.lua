--- For p:copy_tree: how much is under way at once. What round trips cost is then paid for many together; what memory and open files cost is
--- bounded.

local loop = require "afar.loop"
local sched = require "afar.sched"

local together = {}

local BATCHES = 64 -- under way
local READ_HERE = 4 -- of them being read, where that is a matter of this machine: what has been read is sent before more is read
local WORKERS = 32 -- that go down into directories, or copy large files
local DIRECTORIES = 1000 -- open: more, and nothing is begun beside what is under way

---@class afar.Together
---@field free_workers integer
---@field directories integer  that are open
local Together = {}
Together.__index = Together

-- ---- so many at a time ----

--- A gate: `enter` waits while `most` are within.
local function new_gate(most) return { within = 0, most = most, queue = {} } end

local function enter(gate)
  while gate.within >= gate.most do
    local id = loop.id()
    gate.queue[#gate.queue + 1] = id
    sched.wait(id, function()
      for i = #gate.queue, 1, -1 do
        if gate.queue[i] == id then table.remove(gate.queue, i) end
      end
      return "never"
    end)
  end
  gate.within = gate.within + 1
end

local function leave(gate)
  gate.within = gate.within - 1
  if gate.queue[1] then loop.complete(table.remove(gate.queue, 1)) end
end

---@param from_here boolean  the source is on this machine
function together.new(from_here)
  return setmetatable({
    batches = new_gate(BATCHES), readers = new_gate(from_here and READ_HERE or BATCHES), free_workers = WORKERS, directories = 0,
    announced = {}, awaited = {},
  }, Together)
end

--- Runs `f(...)`, which reads, and then `g` with what it returned, which writes, in their turns. (Who has begun never waits for who has not.)
function Together:batch(f, g)
  enter(self.batches)
  enter(self.readers)
  local read = f()
  leave(self.readers)
  g(read)
  leave(self.batches)
end

--- Whether something may be begun beside what is under way.
function Together:has_room() return self.directories < DIRECTORIES end

--- Does `f(...)` beside all else, in the nursery; or here and now, when as many are under way as may be: so nobody waits for a turn who keeps
--- others from theirs.
function Together:share(n, f, ...)
  if self.free_workers == 0 then return f(...) end
  self.free_workers = self.free_workers - 1
  n:spawn(function(...)
    f(...)
    self.free_workers = self.free_workers + 1
  end, ...)
end

-- ---- files that others are links to ----

--- The file is there.
function Together:announce(path)
  self.announced[path] = true
  for id in pairs(self.awaited[path] or {}) do loop.complete(id) end
  self.awaited[path] = nil
end

--- Waits until the file is there, if somebody else is still copying it. (All who wait have announced theirs before.)
function Together:await(path)
  if self.announced[path] then return end
  local id, awaited = loop.id(), self.awaited[path] or {}
  self.awaited[path], awaited[id] = awaited, true
  sched.wait(id, function()
    awaited[id] = nil
    return "never"
  end)
end

return together
