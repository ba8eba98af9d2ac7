--- Structured concurrency: no routine outlives its nursery, and an error in one cancels the others.

local colon = require "afar.colon"
local sched = require "afar.sched"
local loop = require "afar.loop"

local nursery = {}

---@class afar.Nursery
local Nursery = {}
Nursery.__index = Nursery
Nursery.__name = "nursery"

local Cancelled = { __name = "cancelled" }
Cancelled.__tostring = function(self) return self.message end

--- The error that a cancelled routine gets. Who catches it raises it again after cleaning up.
function nursery.cancelled(message, owner) return setmetatable({ message = message, owner = owner, cancelled = true }, Cancelled) end

--- Whether an error is a cancellation (of a nursery, a timeout, or Ctrl-C).
function nursery.is_cancelled(err) return getmetatable(err) == Cancelled end

local function fail(self, err)
  if self.failed then return end
  self.failed, self.err = true, err
  self:cancel "another routine of the nursery failed"
end

--- Starts `f(...)` side by side with all else in the nursery.
---@param f fun(...)
---@return afar.Routine
function Nursery:spawn(f, ...)
  if getmetatable(self) ~= Nursery then colon("a nursery", "n", "spawn", self) end
  if self.closed then error("nursery: it has ended; spawn inside its function", 2) end
  local routine = sched.start(f, ...)
  self.routines[routine] = true
  self.count = self.count + 1
  routine.on_done = function(r)
    self.routines[r] = nil
    self.count = self.count - 1
    local err = not r.ok and r.values[1]
    if not r.ok and not (nursery.is_cancelled(err) and err.owner == self) then fail(self, err) end
    if self.count == 0 and self.idle then loop.complete(self.idle) end
  end
  if self.cancelling then sched.cancel(routine, self.cancelling) end
  return routine
end

--- Runs `f(...)` when the nursery ends, however it ends, after all its routines; the last deferred runs first. It may make
--- calls and wait: a cancellation meanwhile (Ctrl-C, a timeout) is raised only once all deferred have run.
function Nursery:defer(f, ...)
  if getmetatable(self) ~= Nursery then colon("a nursery", "n", "defer", self) end
  self.deferred[#self.deferred + 1] = { n = 1 + select("#", ...), f, ... }
end

--- Cancels all routines of the nursery, and its own function.
---@param why? string
function Nursery:cancel(why)
  if self.cancelling then return end
  self.cancelling = nursery.cancelled(why or "the nursery was cancelled", self)
  for routine in pairs(self.routines) do
    sched.cancel(routine, self.cancelling)
  end
  if self.in_body then sched.cancel(self.routine, self.cancelling) end
end

--- Waits for all routines; a cancellation from outside is passed on to them and raised afterwards.
local function join(self)
  while self.count > 0 do
    self.idle = loop.id()
    sched.wait(self.idle, function()
      self:cancel()
      return false
    end)
    self.idle = nil
  end
end

--- Runs `f(...)` to its end in a routine of its own, so that no cancellation of this one cuts it short: that is raised by the next wait.
---@return boolean ok
---@return any err
function nursery.shielded(f, ...)
  local id = loop.id()
  local routine = sched.start(f, ...)
  routine.on_done = function() loop.complete(id) end
  sched.wait(id)
  return routine.ok, routine.values[1]
end

local function run_deferred(self)
  for i = #self.deferred, 1, -1 do
    local d = self.deferred[i]
    local ok, err = nursery.shielded(unpack(d, 1, d.n))
    if not ok then fail(self, err) end
  end
end

local function leave(self, ok, ...)
  self.in_body = false
  if self.cancelling then sched.forget(self.routine, self.cancelling) end
  if not ok then
    local err = ...
    if not (nursery.is_cancelled(err) and err.owner == self) then fail(self, err) end
  end
  join(self)
  self.closed = true
  run_deferred(self)
  if self.failed then error(self.err, 0) end
  sched.check()
  if ok then return ... end
end

--- Runs `f(n)` with a nursery; returns what it returns, once all that was spawned in it has ended. The first error
--- cancels all others and is raised here.
---@generic T
---@param f fun(n: afar.Nursery): T
---@return T
function nursery.nursery(f)
  if type(f) ~= "function" then error(("nursery: a function was expected, not %s"):format(type(f)), 2) end
  local self = setmetatable({ routines = {}, count = 0, deferred = {}, routine = sched.current(), in_body = true }, Nursery)
  return leave(self, pcall(f, self))
end

local function after_timeout(state, ok, ...)
  state.timer.f = nil
  local routine = sched.current()
  sched.forget(routine, state.err)
  if ok then return ... end
  if (...) == state.err then error(setmetatable({ message = state.err.message, timeout = true }, Cancelled), 0) end
  error((...), 0)
end

--- Runs `f(...)` for at most so many seconds; then it is cancelled, and an error with `.timeout == true` raised.
---@param seconds number
function nursery.timeout(seconds, f, ...)
  if type(seconds) ~= "number" then error(("timeout: a number of seconds was expected, not %s"):format(type(seconds)), 2) end
  local routine = sched.current()
  local state = { err = nursery.cancelled(("timeout: not done within %g s"):format(seconds)) }
  state.timer = sched.after(seconds, function() sched.cancel(routine, state.err) end)
  return after_timeout(state, pcall(f, ...))
end

local function settle(ok, ...)
  if ok and select("#", ...) == 0 then return true end
  if ok then return ... end
  local err = ...
  if nursery.is_cancelled(err) and not err.timeout then error(err, 0) end
  return nil, err
end

--- Calls `f(...)`; returns what it returns, true if that is nothing; or nil and the error. Cancellations pass through.
function nursery.try(f, ...) return settle(pcall(f, ...)) end

return nursery
