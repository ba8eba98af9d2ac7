--- Recording: a *recorder* collects the requests of one chain for one process. What goes into it costs next to nothing: numbers are
--- encoded by C at once, through the FFI, so that LuaJIT compiles a script's loop as a whole.

local ffi = require "ffi"
local errors = require "afar.error"
local tasks = require "afar.task"

local native = ffi.C

ffi.cdef [[
double afar_chain_length(void *chain);
void afar_chain_add(void *chain, double head, double conditions, double expect, double, double, double, double, double, double);
double afar_chain_result(void *chain, uint32_t index);
uint32_t afar_chain_failure(void *chain, uint32_t index, int canceled);
]]

local requests = {}

local OP = { CALL = 0, WRITE = 1, READ = 2, HOLD = 3, CANCEL = 4, VALUE = 5, ATTACH = 6, PING = 7, PERSIST = 9, TALLY = 11 }
local FLAG = { QUIET = 2, FLUSH = 4, EXPECT = 8, EXPECT_ARG = 16, LATER = 32 }
local RESULT, LOAD32, LOAD64 = 1, 2, 3
local BACK_MAX = 255
local IF_OK, IF_FAILED = 6, 7 -- places of a request that may refer to another, behind its arguments: see Recorder.far

--- The result of an earlier request of the same chain, as an argument. It is what p:chain gives to scripts for a call that answers a
--- number, with the methods of fds (chain.lua).
---@class afar.Ref
local Ref = { __name = "result" }
requests.Ref = Ref
--- ref + n: that result plus a constant.
Ref.__add = function(ref, n) return setmetatable({ index = ref.index, recorder = ref.recorder, add = ref.add + n }, Ref) end
Ref.__sub = function(ref, n) return ref + -n end

--- A number found in memory at the far side when the request is performed, as an argument.
local Load = { __name = "number in memory" }
Load.__index = Load
--- The u32 at `address`; `source`: the request that puts it there, without which the argument makes no sense.
---@param source? afar.Ref
function requests.load32(address, source) return setmetatable({ address = address, kind = LOAD32, size = 4, source = source }, Load) end
function requests.load64(address, source) return setmetatable({ address = address, kind = LOAD64, size = 8, source = source }, Load) end

--- What differs each time a prepared chain is performed (prepared.lua): a number, an fd or a string, as an argument.
local Parameter = { __name = "argument of a prepared chain" }
requests.Parameter = Parameter
function Parameter:__tostring() return ("argument %d of a prepared chain, which is known each time only"):format(self.index) end

--- The request on which an argument rests, or nil.
function requests.source(value)
  local mt = getmetatable(value)
  if mt == Ref then return value end
  return mt == Load and value.source or nil
end

function requests.is_load(value) return getmetatable(value) == Load end

--- What may be an argument within a chain only: a result, a number in memory, a parameter, or what stands for one; else nil.
function requests.argument(value)
  local mt = getmetatable(value)
  if mt == Ref or mt == Load or mt == Parameter then return value end
  return type(mt) == "table" and mt.stands_for and mt.stands_for(value) or nil
end

---@class afar.Recorder
---@field process afar.Process
---@field sys afar.Machine    numbers and constants of the process's architecture
local Recorder = {}
Recorder.__index = Recorder
requests.Recorder = Recorder

-- What chains were recorded in that were answered, to be used again: else each call would make as much garbage.
local sheets, sheet_count = {}, 0
local SHEETS = 16

--- Lists with their length as n; what is behind that is of an older chain. `names` is as long as the chain.
local function new_sheet()
  return {
    requests = tasks.chain(), names = {}, results = {}, memory = { n = 0 }, places = { n = 0 }, late = { n = 0 }, made = { n = 0 },
  }
end

local function clear(list)
  for i = 1, list.n do list[i] = nil end
  list.n = 0
end

--- A table is made fastest as a copy of one that has its fields: these are enough for room for all.
local function blank()
  return {
    process = false, machine = false, sys = false, sheet = false, requests = false, names = false, memory = false, places = false, late = false,
    made = false, count = 0, last = false, task = false, under_way = false, chain = false, holds = false, results = false,
  }
end

---@param process afar.Process
---@return afar.Recorder
function requests.record(process)
  local sheet = sheets[sheet_count]
  if sheet then
    sheets[sheet_count] = nil
    sheet_count = sheet_count - 1
  else
    sheet = new_sheet()
  end
  local machine = process.machine
  local self = blank()
  self.process, self.machine, self.sys, self.sheet = process, machine, machine.sys, sheet
  self.requests, self.names, self.memory, self.places = sheet.requests, sheet.names, sheet.memory, sheet.places
  self.late, self.made = sheet.late, sheet.made
  return setmetatable(self, Recorder)
end

--- How an error about an argument begins: with the method's name, where it is known.
function Recorder:prefix() return self.name and self.name .. ": " or "" end

--- Nothing of it is asked for any more: its memory is for the next one. Returns its arguments.
function Recorder:release(...)
  local sheet = self.sheet
  if sheet and sheet_count < SHEETS and sheet.requests:reset() then
    self.sheet, self.requests, self.names, self.memory, self.places, self.late, self.made = nil, nil, nil, nil, nil, nil, nil
    self.results = nil
    clear(sheet.places)
    clear(sheet.made)
    clear(sheet.late)
    sheet.memory.n = 0
    sheet_count = sheet_count + 1
    sheets[sheet_count] = sheet
  end
  return ...
end

-- ---- requests ----

--- How far back a request is; 0 where that is too far to be said: then the chain goes in parts (bindings/split.h).
local function distance(self, index, place)
  local back = self.count + 1 - index
  if back <= BACK_MAX then return back end
  self.in_parts = true
  self.requests:far(place, index)
  return 0
end

--- The number that the request to be added next has as an argument is known each time only.
local function take_parameter(self, parameter, place)
  local numbers = self.parameters.numbers
  numbers[#numbers + 1] = { index = parameter.index, at = native.afar_chain_length(self.requests), place = place }
  return 0, 0
end

--- An argument that is no number, as (kind, value); see bindings/chain.c, argument_of.
local function encode(self, value, place)
  local t = type(value)
  if t == "cdata" then
    local exact = tonumber(value)
    if exact and math.abs(exact) < 2 ^ 53 then return 0, exact end
    self.wide = true
    return 0, value
  end
  if t == "boolean" then return 0, value and 1 or 0 end
  local mt = getmetatable(value)
  if mt == Ref then
    if value.recorder ~= self then error("a result of another chain can't be an argument here", 0) end
    return RESULT, distance(self, value.index, place) * 2 ^ 40 + value.add + 2 ^ 39
  end
  if mt == Load then return value.kind, value.address end
  if mt == Parameter then return take_parameter(self, value, place) end
  error(("%sargument %d: a number was expected, not %s"):format(self:prefix(), place + 1, t == "table" and mt and mt.__name or t), 0)
end

--- Arguments that no double holds.
local function add_wide(self, head, conditions, expect, ...)
  self.wide = nil
  local op, flags, nr = head % 2 ^ 8, math.floor(head / 2 ^ 8) % 2 ^ 8, math.floor(head / 2 ^ 16)
  local if_ok, if_failed, kinds = conditions % 2 ^ 8, math.floor(conditions / 2 ^ 8) % 2 ^ 8, math.floor(conditions / 2 ^ 16)
  self.requests:add(op, nr, flags, if_ok, if_failed, expect, kinds, ...)
end

local function put(self, head, conditions, expect, name, a, b, c, d, e, f)
  local kind
  if a == nil then
    a = 0
  elseif type(a) ~= "number" then
    kind, a = encode(self, a, 0)
    conditions = conditions + kind * 2 ^ 16
  end
  if b == nil then
    b = 0
  elseif type(b) ~= "number" then
    kind, b = encode(self, b, 1)
    conditions = conditions + kind * 2 ^ 18
  end
  if c == nil then
    c = 0
  elseif type(c) ~= "number" then
    kind, c = encode(self, c, 2)
    conditions = conditions + kind * 2 ^ 20
  end
  if d == nil then
    d = 0
  elseif type(d) ~= "number" then
    kind, d = encode(self, d, 3)
    conditions = conditions + kind * 2 ^ 22
  end
  if e == nil then
    e = 0
  elseif type(e) ~= "number" then
    kind, e = encode(self, e, 4)
    conditions = conditions + kind * 2 ^ 24
  end
  if f == nil then
    f = 0
  elseif type(f) ~= "number" then
    kind, f = encode(self, f, 5)
    conditions = conditions + kind * 2 ^ 26
  end
  if self.wide then
    add_wide(self, head, conditions, expect, a, b, c, d, e, f)
  else
    native.afar_chain_add(self.requests, head, conditions, expect, a, b, c, d, e, f)
  end
  local index = self.count + 1
  self.count = index
  self.names[index] = name
  local ref = { index = 0, recorder = false, add = 0, fetched = false }
  ref.index, ref.recorder, ref.fetched = index, self, nil
  return setmetatable(ref, Ref)
end

local function condition(self, ref, place)
  if ref.recorder ~= self then error("a request of another chain can't be a condition here", 0) end
  return distance(self, ref.index, place)
end

--- The conditions of a request: if_ok + if_failed * 2^8.
local function conditions_of(self, o)
  local if_ok, if_failed, conditions = o.if_ok, o.if_failed, 0
  if if_ok then
    conditions = condition(self, if_ok, IF_OK)
  elseif if_ok == nil and not if_failed and not o.always and self.last then
    conditions = distance(self, self.last, IF_OK)
  end
  if if_failed then conditions = conditions + condition(self, if_failed, IF_FAILED) * 2 ^ 8 end
  return conditions
end

local function flags_of(o)
  local flags = 0
  if o.quiet then flags = flags + FLAG.QUIET end
  if o.flush then flags = flags + FLAG.FLUSH end
  if o.later then flags = flags + FLAG.LATER end
  if o.expect then return flags + FLAG.EXPECT, o.expect end
  if o.expect_arg then return flags + FLAG.EXPECT_ARG, o.expect_arg - 1 end
  return flags, 0
end

local function may_fail(self, ref)
  self.may_fail = self.may_fail or {}
  self.may_fail[ref.index] = true
  return ref
end

local function add(self, op, nr, name, o, ...)
  local flags, expect = flags_of(o)
  local ref = put(self, op + flags * 2 ^ 8 + nr * 2 ^ 16, conditions_of(self, o), expect, o.as or name, ...)
  if o.may_fail then may_fail(self, ref) end
  if not (o.always or o.if_failed or o.aside) then self.last = ref.index end
  return ref
end

local none = {}

local function no_such_call(self, name)
  error(errors.new(self.process, name, nil, ("there is no such system call on %s"):format(self.sys.name)), 0)
end

--- Records a system call. `o` says how it depends on others:
---   quiet: no reply if it succeeds; later: its reply comes with that to a later request; flush: it may block, exec or exit;
---   expect = n: any other result is a failure; expect_arg = i: as expect, with the value of argument i (from 1);
---   if_ok = ref / if_failed = ref: the condition (by default: what was recorded before succeeded); always: no condition but that its
---   arguments exist; aside: what is recorded later doesn't depend on it; may_fail: its failure is no error of the chain;
---   as: the name that errors use.
---@param name string as the kernel names it
---@param o? table
---@return afar.Ref
function Recorder:call(name, o, ...)
  local nr = self.sys.nr[name]
  if not nr then no_such_call(self, name) end
  return add(self, OP.CALL, nr, name, o or none, ...)
end

--- Records a call by number, which depends on what was recorded before it.
---@param flush boolean  as `flush` above
function Recorder:call_number(nr, name, flush, a, b, c, d, e, f)
  local last = self.last
  local if_ok = last and distance(self, last, IF_OK) or 0
  local ref = put(self, (flush and FLAG.FLUSH * 2 ^ 8 or 0) + nr * 2 ^ 16, if_ok, 0, name, a, b, c, d, e, f)
  self.last = ref.index
  return ref
end

--- Records a call whose failure the caller looks at, and which depends on nothing but its arguments and `source`: a request that must have
--- succeeded, or nil. As call() with if_ok = source, aside and may_fail; of those that are made by the thousand no table tells.
---@param source? afar.Ref
---@return afar.Ref
function Recorder:attempt(name, source, a, b, c, d, e, f)
  local nr = self.sys.nr[name]
  if not nr then no_such_call(self, name) end
  return may_fail(self, put(self, nr * 2 ^ 16, source and condition(self, source, IF_OK) or 0, 0, name, a, b, c, d, e, f))
end

local LATE_MOST = 100 -- requests: beyond, what was put off would be too far back

local function record_late(self)
  local late = self.late
  for i = 1, late.n do
    if not rawget(late[i], "closed") then late.record(self, late[i]) end
    late[i] = nil
  end
  late.n = 0
end

--- Puts off what `record(recorder, ref)` records about `ref` to the chain's end: it is not needed if `ref`, an fd, is closed before.
function Recorder:put_off(record, ref)
  local late = self.late
  if late.n > 0 and (late.record ~= record or self.count - late[1].index > LATE_MOST) then record_late(self) end
  late.record, late.n = record, late.n + 1
  late[late.n] = ref
end

--- Records what was put off.
function Recorder:end_recording()
  if self.late.n > 0 then record_late(self) end
end

--- Waits, without blocking the process, until poll(2) reports one of `events` on an fd; the result is the events.
function Recorder:hold(fd, events, o)
  if not self.holds then self.first_hold, self.first_fd, self.first_events = self.count + 1, fd, events end
  self.holds = true
  if type(fd) == "number" then
    self.hold_fds = self.hold_fds or {}
    self.hold_fds[#self.hold_fds + 1] = fd
  elseif getmetatable(fd) == Parameter then
    local held = self.parameters.held
    held[#held + 1] = { index = fd.index, first = self.first_fd == fd }
  end
  return add(self, OP.HOLD, 0, "poll", o or none, fd, events)
end

--- Bytes in memory that the host shares: they are taken when the chain has been answered.
local Place = { __name = "memory read" }
Place.__index = Place
requests.Place = Place

local function fetch_in_place(self, address, length, most, if_ok, if_failed)
  local place = { address = 0, length = 0, most = 0, data = false, if_ok = false, if_failed = false }
  place.address, place.length, place.most, place.data, place.if_ok, place.if_failed = address, length, most, nil, if_ok, if_failed
  setmetatable(place, Place)
  local places = self.places
  local n = places.n + 1
  places[n], places.n = place, n
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
  o = o or none
  if not self.process.space:in_place(address, most) then return add(self, OP.READ, 0, "memory read", o, address, length) end
  local if_ok, if_failed = o.if_ok and o.if_ok.index, o.if_failed and o.if_failed.index
  if o.if_ok == nil and not if_failed and not o.always then if_ok = self.last end
  return fetch_in_place(self, address, length, most, if_ok, if_failed)
end

--- As fetch, of what the request `ref` has put there, if it has succeeded; nothing else depends on it.
---@param ref afar.Ref
function Recorder:fetch_of(ref, address, length, most)
  most = most or (type(length) == "number" and length) or self.machine.read_max
  if self.process.space:in_place(address, most) then return fetch_in_place(self, address, length, most, ref.index) end
  return put(self, OP.READ, condition(self, ref, IF_OK), 0, "memory read", address, length)
end

--- As fetch, with the condition of an attempt().
---@param source? afar.Ref
function Recorder:attempt_fetch(source, address, length, most)
  if self.process.space:in_place(address, most) then return fetch_in_place(self, address, length, most, source and source.index) end
  local if_ok = source and condition(self, source, IF_OK) or 0
  return may_fail(self, put(self, OP.READ, if_ok, 0, "memory read", address, length))
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

-- ---- memory ----

--- Writes bytes into memory before anything of the chain is performed.
function Recorder:store(address, bytes)
  local parameters = self.parameters
  if parameters and parameters.recording then -- a call may change them: they are stored again each time
    local stores = parameters.stores
    stores[#stores + 1] = { address = address, bytes = bytes }
    return
  end
  local here = self.process.space:in_place(address, #bytes)
  if here then
    ffi.copy(here, bytes, #bytes)
    return
  end
  self.stores = self.stores or tasks.chain()
  self.stores:write(address, bytes)
end

--- Writes bytes into memory in its turn.
function Recorder:write(address, bytes, o)
  local conditions = conditions_of(self, o or none)
  if self.holds then self.in_parts = true end
  self.requests:write(address, bytes, 0, conditions % 2 ^ 8, math.floor(conditions / 2 ^ 8))
  local index = self.count + 1
  self.count = index
  self.names[index] = "memory write"
  self.last = index
  return setmetatable({ index = index, recorder = self, add = 0 }, Ref)
end

--- Memory that is the chain's until it has been answered.
---@param size number bytes
---@return number address
function Recorder:scratch(size)
  local address = self.process.space:alloc(self.process, size)
  local memory = self.memory
  local n = memory.n
  memory[n + 1], memory[n + 2], memory.n = address, size, n + 2
  return address
end

--- Bytes at a scratch address.
function Recorder:bytes(bytes)
  local address = self:scratch(#bytes > 0 and #bytes or 1)
  if #bytes > 0 then self:store(address, bytes) end
  return address
end

local STRING_MOST = 4096 -- bytes of a parameter, with its NUL: PATH_MAX

--- Where a string will be that is known each time only.
local function take_text(self, parameter)
  local texts, address = self.parameters.texts, self:scratch(STRING_MOST)
  texts[#texts + 1] = { index = parameter.index, address = address }
  return address
end

--- A NUL-terminated string, for the kernel; `prefix`: how an error begins.
local function check_text(prefix, text)
  if type(text) ~= "string" then error(("%sa string was expected, not %s"):format(prefix, type(text)), 0) end
  if text:find("\0", 1, true) then
    error(("%s%q has a NUL byte in it; the kernel takes no such string"):format(prefix, text), 0)
  end
  return text .. "\0"
end

--- A parameter's string for this time: that of argument `index`.
function Recorder:put_text(address, text, index)
  local arena = self.process.space.arena
  if arena and type(text) == "string" and arena:put(address, text, STRING_MOST) then return end
  local prefix = ("argument %d of a prepared chain: "):format(index)
  text = check_text(prefix, text)
  if #text > STRING_MOST then error(("%sit has %d bytes, %d at most are possible"):format(prefix, #text - 1, STRING_MOST - 1), 0) end
  self:store(address, text)
end

--- A NUL-terminated string at a scratch address.
function Recorder:string(text)
  if getmetatable(text) == Parameter then return take_text(self, text) end
  return self:bytes(check_text(self:prefix(), text))
end

--- Keeps an object from being collected until the chain was answered.
function Recorder:pin(object)
  self.pinned = self.pinned or {}
  self.pinned[#self.pinned + 1] = object
end

-- ---- results ----

--- The result of request `index`: nil when it was not answered.
function Recorder:result_of(index)
  local results = self.results
  if results then return results[index] end
  local result = native.afar_chain_result(self.requests, index)
  if result == result then return result end
end

--- The result of a request: never negative unless it failed, then the negative errno.
---@param ref afar.Ref
function Recorder:result(ref) return self:result_of(ref.index) end

--- All is answered that will be: its results are looked up from now on.
function Recorder:take_results()
  local results = self.sheet.results
  self.failed, self.canceled = self.requests:results(results)
  self.results = results
end

--- The bytes that a fetch brought.
function Recorder:data(ref)
  if getmetatable(ref) == Place then return ref.data end
  return self.requests:data(ref.index)
end

--- The first request from `index` on that has failed: by ECANCELED, or by all else. nil: none.
function Recorder:failure(index, canceled)
  local failed = native.afar_chain_failure(self.requests, index, canceled and 1 or 0)
  if failed > 0 then return failed end
end

--- What a call gives that answers a number.
function requests.number(r, ref) return r:result_of(ref.index) end

return requests
