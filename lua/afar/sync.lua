--- What routines tell each other: events, queues, and several results together. Nothing here leaves the host.

local loop = require "afar.loop"
local nursery = require "afar.nursery"
local sched = require "afar.sched"

local sync = {}

--- Waits until somebody wakes all in `sleepers`.
local function sleep(sleepers)
  local id = loop.id()
  sleepers[id] = true
  local ok, err = pcall(sched.wait, id, function() return true end)
  sleepers[id] = nil
  if not ok then error(err, 0) end
end

local function wake(sleepers)
  for id in pairs(sleepers) do loop.complete(id) end
end

-- ---- events ----

---@class afar.Event
local Event = { __name = "event" }
Event.__index = Event

--- afar.event(): something that happens once: event:wait() waits for event:set(...).
---@return afar.Event
function sync.event() return setmetatable({ sleepers = {} }, Event) end

function Event:__tostring() return self.values and "event that has happened" or self.failed and "event that has failed" or "event to come" end

local function settle(self, values, failed, err)
  if self.values or self.failed then return false end
  self.values, self.failed, self.err = values, failed, err
  wake(self.sleepers)
  return true
end

--- It has happened: all who wait go on, with these values, and so does who waits later. A second time changes nothing, and gives false.
---@return boolean
function Event:set(...) return settle(self, { n = select("#", ...), ... }) end

--- It will not happen: all who wait, now or later, raise `err`.
---@param err any
---@return boolean
function Event:fail(err) return settle(self, nil, true, err) end

--- Whether it has happened.
function Event:is_set() return self.values ~= nil end

--- Waits for it; gives what it was set with.
function Event:wait()
  sched.check()
  while not self.values and not self.failed do sleep(self.sleepers) end
  if self.failed then error(self.err, 0) end
  return unpack(self.values, 1, self.values.n)
end

-- ---- queues ----

---@class afar.Queue
local Queue = { __name = "queue" }
Queue.__index = Queue

---@class afar.Question
---@field value any
local Question = { __name = "question" }
Question.__index = Question

--- Answers whoever asked.
function Question:answer(...) return self.event:set(...) end

--- Raises `err` where it was asked.
function Question:fail(err) return self.event:fail(err) end

--- afar.queue(): values from some routines to others, in order: queue:put(value), queue:get(). for value in queue do ... end
---@return afar.Queue
function sync.queue() return setmetatable({ first = 1, last = 0, values = {}, sleepers = {} }, Queue) end

local function check_open(self, call)
  if self.closed then error(("%s: the queue was closed"):format(call), 3) end
end

--- Puts a value, which is not nil.
function Queue:put(value)
  if value == nil then error("put: nil can't be put into a queue", 2) end
  check_open(self, "put")
  self.last = self.last + 1
  self.values[self.last] = value
  wake(self.sleepers)
end

--- The next value, if there is one now.
function Queue:try_get()
  if self.first > self.last then return nil end
  local value = self.values[self.first]
  self.values[self.first] = nil
  self.first = self.first + 1
  return value
end

--- The next value; waits for it. nil once it was closed and is empty.
function Queue:get()
  sched.check()
  while self.first > self.last and not self.closed do sleep(self.sleepers) end
  return self:try_get()
end

Queue.__call = Queue.get

--- All that is there now, as a list; waits for the first.
function Queue:get_all()
  local list = { self:get() }
  for value in Queue.try_get, self do list[#list + 1] = value end
  return list
end

--- Puts a question, { value =, answer =, fail = }, and waits for its answer: whoever gets it calls question:answer(...) or question:fail(err).
function Queue:ask(value)
  check_open(self, "ask")
  local question = setmetatable({ value = value, event = sync.event() }, Question)
  self:put(question)
  return question.event:wait()
end

--- No more values: who waits gets nil; questions that nobody has got yet fail with `err`.
---@param err? any
function Queue:close(err)
  if self.closed then return end
  self.closed = true
  local left = {}
  for i = self.first, self.last do
    local value = self.values[i]
    if getmetatable(value) == Question then value:fail(err or "the queue was closed") else left[#left + 1] = value end
  end
  self.first, self.last, self.values = 1, #left, left
  wake(self.sleepers)
end

-- ---- several results ----

--- afar.all{ f, g, ... }: calls all of them side by side; their first results as a list, in that order. The first error cancels the others, and is raised.
---@param functions fun():any[]
---@return any[]
function sync.all(functions)
  if type(functions) ~= "table" then error(("all: a list of functions was expected, not %s"):format(type(functions)), 2) end
  local results = { n = #functions }
  nursery.nursery(function(n)
    for i, f in ipairs(functions) do
      n:spawn(function() results[i] = (f()) end)
    end
  end)
  return results
end

return sync
