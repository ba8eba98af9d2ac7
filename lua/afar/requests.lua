--- Requests: sending what a recorder (record.lua) has collected, and what came of it. Each call of the library is a function that records
--- its requests and returns another that takes the answers apart: so the same definition serves p:open(...), which records, sends
--- and waits at once, and p:chain(function(c) c:open(...) end), which records many and sends them as one.

local ffi = require "ffi"
local sched = require "afar.sched"
local errors = require "afar.error"
local requests = require "afar.record"

local Recorder = requests.Recorder
local ECANCELED = 125

--- Who looks on, while anybody does (trace.lua): call(process, name, args, result) of a plain call, chain(recorder) of what was answered.
---@type { call: function, chain: function }?
requests.hook = nil

local function free_memory(self)
  if self.parameters then return end -- it is performed again
  local memory = self.memory
  local space = self.process.space
  for i = 1, memory.n, 2 do
    space:free(memory[i], memory[i + 1])
  end
  memory.n = 0
end

--- Says that it may block on purpose: a root has it made by another process that shares all with it.
function Recorder:block() self.blocks = true end

--- Queues a chain for which nobody waits; `done()` is called from the loop at its end. Does not wait itself.
---@return afar.Recorder? r  nil: its process has ended
function requests.submit_unwatched(r, done)
  r.task, r.under_way = r.process.task, r.requests
  local id = r.task:submit(r.requests)
  if not id then return nil end
  local process, slots = r.process, r.slots or 0
  rawset(process, "held_slots", (rawget(process, "held_slots") or 0) + slots)
  sched.once(id, function()
    rawset(process, "held_slots", rawget(process, "held_slots") - slots)
    if done then done() end
  end)
  return r
end

--- How many slots of the stub's one chain may take.
local function most_slots(process) return process.machine.hello.hold_slots / 2 end

--- How many slots of the stub's may be taken by who waits in a hold of its own: half of them, so that there is always room for one.
---@param process afar.Process
function requests.room(process) return most_slots(process) - (rawget(process, "held_slots") or 0) end

--- Where many wait already, this chain waits with the others for its first hold's event, and is sent when that is there.
local function make_room(self)
  local slots = math.min(self.count - self.first_hold + 1, most_slots(self.process))
  local crowded = slots > requests.room(self.process)
  if crowded and self.first_hold == 1 and type(self.first_fd) == "number" and not self.process.machine.plain_clone then
    requests.crowded_wait(self.process, self.first_fd, self.first_events, self.names[1])
  end
  self.slots = slots
  rawset(self.process, "held_slots", (rawget(self.process, "held_slots") or 0) + slots)
end

local function give_room(self)
  if not self.slots then return end
  rawset(self.process, "held_slots", rawget(self.process, "held_slots") - self.slots)
  self.slots = nil
end

--- Queues the chain; it leaves at the end of this turn of the loop. Nothing was sent if it raises. It may wait before that, if the
--- chain has a hold.
function Recorder:submit()
  local process = self.process
  self:end_recording()
  if self.holds and self.count - self.first_hold + 1 > most_slots(process) then self.in_parts = true end
  -- What the chain itself has opened is hardly ever waited for: who does it says so.
  if (self.hold_fds or self.takes_room) and not self.direct and process:is_alive() then
    local ok, err = pcall(make_room, self)
    if not ok then
      free_memory(self)
      error(err, 0)
    end
  end
  local task = (self.blocks and requests.blocking_process(process) or process).task
  self.task = task
  local sent
  if task and self.count > 0 then
    if self.stores and task:submit(self.stores, true) then self.stores = nil end
    self.under_way = self.in_parts and self.requests:part(most_slots(process), false) or self.requests
    sent = task[self.is_last and "submit_last" or "submit"](task, self.under_way, true)
  end
  if not sent then
    give_room(self)
    free_memory(self)
    error(errors.lost(process, self.names[1] or "chain", self.args, "unsent"), 0)
  end
  self:watch_holds(true)
  return self
end

--- Gives back the memory of what was prepared: for a finalizer, after which there may be no chain any more.
function Recorder:forget()
  self.parameters = nil
  free_memory(self)
end

--- Gives up what was recorded and not submitted, or what was prepared.
function Recorder:drop()
  self:forget()
  self:release()
end

--- Submits, unless the routine was cancelled: then that is raised, and nothing sent.
function Recorder:start()
  if sched.is_cancelled() then self:drop() end
  sched.check()
  return self:submit()
end

--- Records by `f(self, ...)`; where that raises, what was recorded is given up.
function Recorder:by(f, ...)
  local ok, first, ref, second, second_ref = pcall(f, self, ...)
  if ok then return first, ref, second, second_ref end
  self:drop()
  error(first, 0)
end

--- Tells the process's table which fds are waited for: closing one ends the wait first.
function Recorder:watch_holds(on)
  if not self.hold_fds then return end
  local holds = self.process.table.holds
  for _, fd in ipairs(self.hold_fds) do
    holds[fd] = holds[fd] or setmetatable({}, { __mode = "k" })
    holds[fd][self] = on or nil
  end
end

--- Ends the chain's hold, if it waits in one.
function Recorder:end_hold()
  if self.task then self.task:cancel(self.under_way) end
end

local function failed(result) return result == nil or (result < 0 and result >= -4095) end

local NUMBER = { [4] = ffi.typeof "uint32_t *", [8] = ffi.typeof "uint64_t *" }

--- The number in memory that is the length of what was fetched in place.
local function loaded(self, load)
  local at = self.process.space:in_place(load.address, load.size)
  return at and tonumber(ffi.cast(NUMBER[load.size], at)[0]) or 0
end

--- Takes the bytes of all that was fetched in place, before the memory is anybody else's.
local function take_places(self)
  local places = self.places
  for i = 1, places.n do
    local place = places[i]
    local if_ok, if_failed, length = place.if_ok, place.if_failed, place.length
    local ok = (not if_ok or not failed(self:result_of(if_ok))) and (not if_failed or failed(self:result_of(if_failed)))
    if ok and requests.is_load(length) then
      length = loaded(self, length)
    elseif ok and type(length) == "table" then
      local result = self:result(length)
      ok, length = not failed(result), result and result + length.add
    end
    if ok then
      length = math.min(math.max(length, 0), place.most)
      place.data = self.process.space.arena:string(place.address, length)
    end
  end
end

local function ending_hold(self)
  return function()
    self:end_hold()
    return false
  end
end

--- Waits for what is under way. canceled: that only gives back what was taken.
local function wait_for(self, canceled)
  local id, fate = self.task:await(self.under_way, not self.hold_fds and sched.is_idle())
  if not id then return fate end
  local on_cancel = nil
  if not canceled then on_cancel = self.on_cancel or self.holds and ending_hold(self) or nil end
  return select(2, sched.wait(id, on_cancel))
end

--- Sends and awaits what is left of a chain that goes in parts. Where the routine was cancelled that is only what gives back what was taken.
local function send_rest(self)
  local most = most_slots(self.process)
  while true do
    local canceled = sched.is_cancelled()
    local part = self.requests:part(most, canceled)
    if not part then return nil end
    self.under_way = part
    local fate = not self.task:submit(part, true) and "unsent" or wait_for(self, canceled)
    if fate then return fate end
  end
end

--- Waits for the answers. A hold is ended by cancelling; other requests are always waited for.
---@return string? fate  nil: answered
function Recorder:wait()
  local fate = wait_for(self)
  if self.in_parts then
    fate = fate or send_rest(self)
    self.requests:take()
  end
  self:take_results()
  give_room(self)
  self:watch_holds(nil)
  if self.places.n > 0 and not fate then take_places(self) end
  free_memory(self)
  if not self.parameters then self.pinned = nil end
  self.fate = fate
  if requests.hook and not fate then requests.hook.chain(self) end
  return fate
end

--- The first request that was not answered: what the end of a process or connection cut short.
local function unanswered(self)
  for i = 1, self.count do
    if self:result_of(i) == nil then return self.names[i] end
  end
end

local function first_failure(self, canceled)
  local index, may_fail = self.failed, self.may_fail
  if canceled then index = self.canceled end
  while index and may_fail and may_fail[index] do
    index = self:failure(index + 1, canceled)
  end
  return index
end

--- Raises the first failure that the chain didn't allow for.
function Recorder:check()
  if self.fate then error(errors.lost(self.process, unanswered(self) or self.names[1], self.args, self.fate), 0) end
  local index = first_failure(self, false)
  if index then error(errors.errno(self.process, self.names[index], self.args, -self:result_of(index)), 0) end
  index = first_failure(self, true)
  if not index then return end
  sched.check()
  error(errors.errno(self.process, self.names[index], self.args, ECANCELED), 0)
end

--- Sends, waits, and raises what failed.
function Recorder:run()
  self:start()
  self:wait()
  self:check()
  return self
end

return requests
