--- Requests: a *recorder* collects those of one chain for one process. Each call of the library is a function that records its
--- requests and returns another that takes the answers apart: so the same definition serves p:open(...), which records, sends
--- and waits at once, and p:chain(function(c) c:open(...) end), which records many and sends them as one.

local sched = require "afar.sched"
local errors = require "afar.error"
local tasks = require "afar.task"

local requests = {}

local OP = { CALL = 0, WRITE = 1, READ = 2, HOLD = 3, CANCEL = 4, VALUE = 5, ATTACH = 6, PING = 7, PERSIST = 9, TALLY = 11 }
local FLAG = { QUIET = 2, FLUSH = 4, EXPECT = 8, EXPECT_ARG = 16 }
local RESULT, LOAD32, LOAD64 = 1, 2, 3
local BACK_MAX = 255
local ECANCELED = 125

--- The result of an earlier request of the same chain, as an argument.
---@class afar.Ref
local Ref = { __name = "result" }
Ref.__index = Ref
--- ref + n: that result plus a constant.
Ref.__add = function(ref, n) return setmetatable({ index = ref.index, recorder = ref.recorder, add = ref.add + n }, Ref) end
Ref.__sub = function(ref, n) return ref + -n end

--- A number found in memory at the far side when the request is performed, as an argument.
local Load = { __name = "number in memory" }
Load.__index = Load
--- The u32 at `address`; `source`: the request that puts it there, without which the argument makes no sense.
---@param source? afar.Ref
function requests.load32(address, source) return setmetatable({ address = address, kind = LOAD32, source = source }, Load) end
function requests.load64(address, source) return setmetatable({ address = address, kind = LOAD64, source = source }, Load) end

--- The request on which an argument rests, or nil.
function requests.source(value)
  local mt = getmetatable(value)
  if mt == Ref then return value end
  return mt == Load and value.source or nil
end

---@class afar.Recorder
---@field process afar.Process
---@field sys afar.Machine    numbers and constants of the process's architecture
local Recorder = {}
Recorder.__index = Recorder

---@param process afar.Process
---@return afar.Recorder
function requests.record(process)
  return setmetatable({
    process = process,
    machine = process.machine,
    sys = process.machine.sys,
    requests = tasks.chain(),
    count = 0,
    names = {},
    args = {},
    may_fail = {},
  }, Recorder)
end

--- An argument as (kind, value); see bindings/task.c, check_argument.
local function encode(self, value, position)
  local t = type(value)
  if t == "number" or t == "cdata" then return 0, value end
  if t == "boolean" then return 0, value and 1 or 0 end
  local mt = getmetatable(value)
  if mt == Ref then
    local distance = self.count + 1 - value.index
    if value.recorder ~= self then error("a result of another chain can't be an argument here", 0) end
    if distance > BACK_MAX then
      error(("argument %d is the result of a request %d back; %d is the most"):format(position, distance, BACK_MAX), 0)
    end
    return RESULT, distance * 2 ^ 40 + value.add + 2 ^ 39
  end
  if mt == Load then return value.kind, value.address end
  error(("argument %d: a number was expected, not %s"):format(position, t == "table" and mt and mt.__name or t), 0)
end

local function distance_to(self, ref)
  if not ref then return 0 end
  if ref.recorder ~= self then error("a request of another chain can't be a condition here", 0) end
  local distance = self.count + 1 - ref.index
  if distance > BACK_MAX then error(("a condition on a request %d back; %d is the most"):format(distance, BACK_MAX), 0) end
  return distance
end

local none = {}

local function add(self, op, nr, name, o, a, b, c, d, e, f)
  local ka, kb, kc, kd, ke, kf
  ka, a = encode(self, a or 0, 1)
  kb, b = encode(self, b or 0, 2)
  kc, c = encode(self, c or 0, 3)
  kd, d = encode(self, d or 0, 4)
  ke, e = encode(self, e or 0, 5)
  kf, f = encode(self, f or 0, 6)
  local kinds = ka + kb * 4 + kc * 16 + kd * 64 + ke * 256 + kf * 1024
  local flags, expect = 0, 0
  if o.quiet then flags = flags + FLAG.QUIET end
  if o.flush then flags = flags + FLAG.FLUSH end
  if o.expect then
    flags, expect = flags + FLAG.EXPECT, o.expect
  elseif o.expect_arg then
    flags, expect = flags + FLAG.EXPECT_ARG, o.expect_arg - 1
  end
  local if_ok = o.if_ok
  if if_ok == nil and not o.if_failed and not o.always then if_ok = self.last end
  self.requests:add(op, nr, flags, distance_to(self, if_ok), distance_to(self, o.if_failed), expect, kinds, a, b, c, d, e, f)
  local index = self.count + 1
  self.count = index
  self.names[index] = o.as or name
  self.may_fail[index] = o.may_fail
  local ref = setmetatable({ index = index, recorder = self, add = 0 }, Ref)
  if not (o.always or o.if_failed or o.aside) then self.last = ref end
  return ref
end

--- Records a system call. `o` says how it depends on others:
---   quiet: no reply if it succeeds; flush: it may block, exec or exit; expect = n: any other result is a failure;
---   expect_arg = i: as expect, with the value of argument i (from 1); if_ok = ref / if_failed = ref: the condition (by default: what
---   was recorded before succeeded); always: no condition but that its arguments exist; aside: what is recorded later doesn't depend on it;
---   may_fail: its failure is no error of the chain; as: the name that errors use.
---@param name string as the kernel names it
---@param o? table
---@return afar.Ref
function Recorder:call(name, o, ...)
  local nr = self.sys.nr[name]
  if not nr then
    error(errors.new(self.process, name, nil, ("there is no such system call on %s"):format(self.sys.name)), 0)
  end
  return add(self, OP.CALL, nr, name, o or none, ...)
end

--- Records a call by number.
function Recorder:call_number(nr, name, o, ...) return add(self, OP.CALL, nr, name, o or none, ...) end

--- Waits, without blocking the process, until poll(2) reports one of `events` on an fd; the result is the events.
function Recorder:hold(fd, events, o)
  if not self.holds then self.first_hold, self.first_fd, self.first_events = self.count + 1, fd, events end
  self.holds = true
  if type(fd) == "number" then
    self.hold_fds = self.hold_fds or {}
    self.hold_fds[#self.hold_fds + 1] = fd
  end
  return add(self, OP.HOLD, 0, "poll", o or none, fd, events)
end

--- Bytes in memory that the host shares: they are taken when the chain has been answered.
local Place = { __name = "memory read" }
Place.__index = Place

local function fetch_in_place(self, arena, address, length, most, o)
  local place = setmetatable({
    arena = arena, address = address, length = length, most = most, if_ok = o.if_ok, if_failed = o.if_failed,
  }, Place)
  if o.if_ok == nil and not o.if_failed and not o.always then place.if_ok = self.last end
  self.places = self.places or {}
  self.places[#self.places + 1] = place
  return place
end

--- How many bytes at once fetch() brings of memory at `address`; `most`: how many it may be.
function Recorder:fetch_most(address, most)
  return self.process.space:in_place(address, most) and most or self.machine.read_max
end

--- The memory's bytes come with the reply: see data(). `length`: at most fetch_most(); or a result, or a number in memory, and then at
--- most `most`.
function Recorder:fetch(address, length, o, most)
  most = most or (type(length) == "number" and length) or self.machine.read_max
  local arena = self.process.space:in_place(address, most)
  if arena then return fetch_in_place(self, arena, address, length, most, o or none) end
  return add(self, OP.READ, 0, "memory read", o or none, address, length)
end

function Recorder:value(value, o) return add(self, OP.VALUE, 0, "value", o or none, value) end

--- The result: how many system calls the process has begun for its host (protocol.md, TALLY).
function Recorder:tally(o) return add(self, OP.TALLY, 0, "tally", o or none) end

--- Makes `fd` of a root a channel of its stream (protocol.md, ATTACH).
function Recorder:attach(channel, fd, flags, to_host, from_host, o)
  return add(self, OP.ATTACH, 0, "attach", o or none, channel, fd, flags, to_host, from_host)
end

function Recorder:ping(seconds) return add(self, OP.PING, 0, "ping", none, seconds) end

--- The last of a chain, and of all that goes over its process's carrier (protocol.md, PERSIST).
---@param session ffi.cdata*  uint64_t[2]
---@param kept number         address of the kept table
function Recorder:persist(listener, lease, session, kept)
  self.is_last = true
  return add(self, OP.PERSIST, 0, "persist", none, listener, lease, session[0], session[1], kept)
end

--- Writes bytes into memory before anything of the chain is performed.
function Recorder:store(address, bytes)
  local arena = self.process.space:in_place(address, #bytes)
  if arena then return arena:write(address, bytes) end
  self.stores = self.stores or tasks.chain()
  self.stores:write(address, bytes)
end

--- Writes bytes into memory in its turn.
function Recorder:write(address, bytes, o)
  o = o or none
  local if_ok = o.if_ok == nil and not o.always and self.last or o.if_ok
  self.requests:write(address, bytes, 0, distance_to(self, if_ok), distance_to(self, o.if_failed))
  local index = self.count + 1
  self.count = index
  self.names[index] = "memory write"
  local ref = setmetatable({ index = index, recorder = self, add = 0 }, Ref)
  self.last = ref
  return ref
end

--- Memory that is the chain's until it has been answered.
---@param size number bytes
---@return number address
function Recorder:scratch(size)
  local address = self.process.space:alloc(self.process, size)
  self.memory = self.memory or {}
  self.memory[#self.memory + 1] = address
  self.memory[#self.memory + 1] = size
  return address
end

--- Bytes at a scratch address.
function Recorder:bytes(bytes)
  local address = self:scratch(#bytes > 0 and #bytes or 1)
  if #bytes > 0 then self:store(address, bytes) end
  return address
end

--- A NUL-terminated string at a scratch address.
function Recorder:string(text)
  if type(text) ~= "string" then error(("a string was expected, not %s"):format(type(text)), 0) end
  if text:find("\0", 1, true) then error(("%q has a NUL byte in it; the kernel takes no such string"):format(text), 0) end
  return self:bytes(text .. "\0")
end

--- Keeps an object from being collected until the chain was answered.
function Recorder:pin(object)
  self.pinned = self.pinned or {}
  self.pinned[#self.pinned + 1] = object
end

-- ---- sending and waiting ----

local function free_memory(self)
  local memory = self.memory
  if not memory then return end
  self.memory = nil
  local heap = self.process.space.heap
  for i = 1, #memory, 2 do
    heap:free(memory[i], memory[i + 1])
  end
end

--- Says that it may block on purpose: a root has it made by another process that shares all with it.
function Recorder:block() self.blocks = true end

--- Queues a chain for which nobody waits; `done()` is called from the loop at its end. Does not wait itself.
---@return afar.Recorder? r  nil: its process has ended
function requests.submit_unwatched(r, done)
  r.task = r.process.task
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

--- How many slots of the stub's may be taken by who waits in a hold of its own: half of them, so that there is always room for one.
---@param process afar.Process
function requests.room(process) return process.machine.hello.hold_slots / 2 - (rawget(process, "held_slots") or 0) end

--- Where many wait already, this chain waits with the others for its first hold's event, and is sent when that is there.
local function make_room(self)
  local slots = self.count - self.first_hold + 1
  local crowded = slots > requests.room(self.process)
  if crowded and self.first_hold == 1 and type(self.first_fd) == "number" and not self.process.machine.plain_clone then
    local ok, err = pcall(requests.crowded_wait, self.process, self.first_fd, self.first_events, self.names[1])
    if not ok then
      free_memory(self)
      error(err, 0)
    end
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
  if self.holds and not self.direct and process:is_alive() then
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
    if self.stores then task:submit(self.stores, true) end
    sent = task[self.is_last and "submit_last" or "submit"](task, self.requests, true)
  end
  if not sent then
    give_room(self)
    free_memory(self)
    error(errors.lost(process, self.names[1] or "chain", self.args, "unsent"), 0)
  end
  self:watch_holds(true)
  return self
end

--- Gives up what was recorded and not submitted.
function Recorder:drop() free_memory(self) end

--- Submits, unless the routine was cancelled: then that is raised, and nothing sent.
function Recorder:start()
  local ok, err = pcall(sched.check)
  if not ok then
    self:drop()
    error(err, 0)
  end
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
  if self.task then self.task:cancel(self.requests) end
end

local function failed(result) return result == nil or (result < 0 and result >= -4095) end

--- The number in memory that is the length of what was fetched in place.
local function loaded(self, load)
  local size = load.kind == LOAD32 and 4 or 8
  local arena = self.process.space:in_place(load.address, size)
  local bytes = arena and arena:read(load.address, size) or ""
  local number = 0
  for i = #bytes, 1, -1 do number = number * 256 + bytes:byte(i) end
  return number
end

--- Takes the bytes of all that was fetched in place, before the memory is anybody else's.
local function take_places(self)
  for _, place in ipairs(self.places) do
    local ok = (not place.if_ok or not failed(self:result(place.if_ok))) and (not place.if_failed or failed(self:result(place.if_failed)))
    local length = place.length
    if ok and getmetatable(length) == Load then
      length = loaded(self, length)
    elseif ok and type(length) == "table" then
      local result = self:result(length)
      ok, length = not failed(result), result and result + length.add
    end
    if ok then place.data = place.arena:read(place.address, math.min(math.max(length, 0), place.most)) end
  end
end

--- Waits for the answers. A hold is ended by cancelling; other requests are always waited for.
---@return string? fate  nil: answered
function Recorder:wait()
  local task = self.task
  local on_cancel = self.on_cancel
  if self.holds and not on_cancel then
    on_cancel = function()
      task:cancel(self.requests)
      return false
    end
  end
  local id, fate = task:await(self.requests, not self.holds and sched.is_idle())
  if id then fate = select(2, sched.wait(id, on_cancel)) end
  give_room(self)
  self:watch_holds(nil)
  if self.places and not fate then take_places(self) end
  free_memory(self)
  self.pinned = nil
  self.fate = fate
  return fate
end

--- The result of a request: never negative unless it failed, then the negative errno.
---@param ref afar.Ref
function Recorder:result(ref) return self.requests:result(ref.index) end

--- The bytes that a fetch brought.
function Recorder:data(ref)
  if getmetatable(ref) == Place then return ref.data end
  return self.requests:data(ref.index)
end

--- The first request that was not answered: what the end of a process or connection cut short.
local function unanswered(self)
  for i = 1, self.count do
    if self.requests:result(i) == nil then return self.names[i] end
  end
end

--- Raises the first failure that the chain didn't allow for.
function Recorder:check()
  if self.fate then error(errors.lost(self.process, unanswered(self) or self.names[1], self.args, self.fate), 0) end
  local sent = self.requests
  for i = 1, self.count do
    local result = sent:result(i)
    if result < 0 and result >= -4095 and result ~= -ECANCELED and not self.may_fail[i] then
      error(errors.errno(self.process, self.names[i], self.args, -result), 0)
    end
  end
  for i = 1, self.count do
    if sent:result(i) == -ECANCELED and not self.may_fail[i] then
      sched.check()
      error(errors.errno(self.process, self.names[i], self.args, ECANCELED), 0)
    end
  end
end

--- Sends, waits, and raises what failed.
function Recorder:run()
  self:start()
  self:wait()
  self:check()
  return self
end

--- What may be an argument within a chain only: a result, a number in memory, or what stands for one; else nil.
function requests.argument(value)
  local mt = getmetatable(value)
  if mt == Ref or mt == Load then return value end
  return type(mt) == "table" and mt.stands_for and mt.stands_for(value) or nil
end

return requests
