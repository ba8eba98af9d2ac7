--- p:prepare: a chain that is recorded once and performed often, each time with other arguments.

local ffi = require "ffi"

local chain = require "afar.chain"
local colon = require "afar.colon"
local errors = require "afar.error"
local nursery = require "afar.nursery"
local process = require "afar.process"
local requests = require "afar.requests"
local sched = require "afar.sched"

local native = ffi.C

ffi.cdef [[
void afar_chain_keep(void *chain);
void afar_chain_put(void *chain, double at, uint32_t argument, double value);
]]

local READY = 64 -- recordings kept for the next calls: as many as were under way at once, at most

---@class afar.Prepared: function
---@field process afar.Process
---@field f function       what records it
---@field count integer    how many arguments it takes
---@field ready afar.Recorder[]  recordings that are not under way
local Prepared = { __name = "prepared chain" }
Prepared.__index = Prepared

function Prepared:__tostring() return ("prepared chain of %s"):format(tostring(self.process)) end

-- ---- recording ----

local function parameters_of(self, recorder)
  local list = {}
  for i = 1, self.count do list[i] = setmetatable({ index = i, recorder = recorder }, requests.Parameter) end
  return unpack(list, 1, self.count)
end

local function take(r, ok, ...)
  if not ok then
    r:drop()
    error((...), 0)
  end
  r.returned = { n = select("#", ...), ... }
  return r
end

--- One recording: its memory and its requests stay as they are, but for the arguments.
local function record(self)
  local r = requests.record(self.process)
  r.parameters = { recording = true, stores = {}, numbers = {}, texts = {}, held = {}, captured = {} }
  take(r, pcall(self.f, chain.new(r), parameters_of(self, r)))
  r:end_recording()
  if r.in_parts then
    r:drop()
    error("prepare: the chain is too long, or too much is behind what waits, for all of it to be sent at once", 0)
  end
  native.afar_chain_keep(r.requests)
  r.parameters.recording = false
  return r
end

-- ---- performing ----

local function number_of(self, value, index)
  if type(value) == "number" then return value end
  if type(value) == "boolean" then return value and 1 or 0 end
  local exact = type(value) == "cdata" and tonumber(value)
  if exact and math.abs(exact) < 2 ^ 53 then return exact end
  local mt = getmetatable(value)
  if type(mt) == "table" and mt.near then return mt.near(value, self.process) end
  error(("argument %d of a prepared chain: a number or a handle was expected, not %s"):format(index, type(value)), 0)
end

--- The wait for an fd that is an argument ends when that is closed, as any other's.
local function hold_fds(self, r, held, ...)
  r.hold_fds = nil
  for i = 1, #held do
    local number = number_of(self, (select(held[i].index, ...)), held[i].index)
    if held[i].first then r.first_fd = number end
    r.hold_fds = r.hold_fds or {}
    r.hold_fds[i] = number
  end
end

local function put_arguments(self, r, ...)
  local parameters = r.parameters
  local captured, numbers, texts, held = parameters.captured, parameters.numbers, parameters.texts, parameters.held
  local stores = parameters.stores
  for i = 1, #stores do r:store(stores[i].address, stores[i].bytes) end
  for i = 1, #captured do getmetatable(captured[i]).near(captured[i], self.process) end
  for i = 1, #numbers do
    local number = numbers[i]
    native.afar_chain_put(r.requests, number.at, number.place, number_of(self, (select(number.index, ...)), number.index))
  end
  for i = 1, #texts do
    local text = texts[i]
    r:put_text(text.address, (select(text.index, ...)), text.index)
  end
  if #held > 0 then hold_fds(self, r, held, ...) end
end

--- What f returned, with values where it had placeholders: tables are new each time.
local function copy(value, seen, ...)
  if type(value) ~= "table" then return value end
  local known, is_ours = chain.value(value)
  if is_ours then return known end
  local mt = getmetatable(value)
  if mt == requests.Parameter then return (select(value.index, ...)) end
  if mt ~= nil then return value end
  if seen[value] then return seen[value] end
  local list = {}
  seen[value] = list
  for key, item in pairs(value) do list[key] = copy(item, seen, ...) end
  return list
end

local function forget(r)
  local made, places = r.made, r.places
  for i = 1, made.n do rawset(made[i], "value", nil) end
  for i = 1, places.n do places[i].data = nil end
end

--- Keeps the recording for the next call, and passes the values on.
local function give_back(self, r, ...)
  forget(r)
  local ready = self.ready
  if #ready < READY and not r.fate then
    ready[#ready + 1] = r
  else
    r:drop()
  end
  return ...
end

local function values(self, r, ...)
  local returned = r.returned
  if returned.n == 1 then return give_back(self, r, (copy(returned[1], {}, ...))) end
  local all, seen = {}, {}
  for i = 1, returned.n do all[i] = copy(returned[i], seen, ...) end
  return give_back(self, r, unpack(all, 1, returned.n))
end

--- Takes a recording for these arguments, and queues it.
local function submit(self, ...)
  local r = table.remove(self.ready) or record(self)
  if r.count == 0 then return r end
  local ok, err = pcall(put_arguments, self, r, ...)
  if ok then
    r.requests:again()
    ok, err = pcall(r.submit, r)
  end
  if ok then return r end
  give_back(self, r)
  error(err, 0)
end

--- Waits for what submit() gave, and returns its values.
local function finish(self, r, ...)
  if r.count == 0 then return values(self, r, ...) end
  local ok, err = pcall(chain.await, r)
  if ok then return values(self, r, ...) end
  give_back(self, r)
  error(err, 0)
end

--- Performs it once.
function Prepared:__call(...)
  sched.check()
  return finish(self, submit(self, ...), ...)
end

-- ---- over many items ----

--- The arguments of one item.
local function arguments(item)
  if type(item) == "table" and getmetatable(item) == nil then return unpack(item, 1, item.n or #item) end
  return item
end

--- The first item that is under way: its values are given to `f`.
local function take_turn(self, queue, f)
  local first = queue.first
  local item, recorder = queue.items[first], queue[first]
  queue[first], queue.first = nil, first + 1
  f(item, finish(self, recorder, arguments(item)))
end

local function take_turns(self, queue, left, f)
  while queue.next - queue.first > left do take_turn(self, queue, f) end
end

local function run_all(self, queue, f)
  local items = queue.items
  for i = 1, #items do
    if i - queue.first == READY then -- half of them at once: what is sent together costs less
      take_turns(self, queue, READY / 2, f)
      sched.raise_pending()
    end
    queue[i] = submit(self, arguments(items[i]))
    queue.next = i + 1
  end
  take_turns(self, queue, 0, f)
end

--- What is under way for items whose turn will not come: its answers are taken.
local function abandon(self, queue)
  for i = queue.first, queue.next - 1 do pcall(finish, self, queue[i]) end
end

--- prepared:each(items, f): performs the chain for each item of a list, and calls f(item, ...) with what it gave, one after the other in the
--- order of the list; meanwhile those of the next items are under way, up to 64, so that neither side waits for the other, nor for each round trip. An
--- item that is a plain table has several arguments. The first error, of a chain or of f, ends it and is raised: of the items behind that one, some may
--- have been performed.
---@param items any[]
---@param f fun(item, ...)
function Prepared:each(items, f)
  if getmetatable(self) ~= Prepared then colon("a prepared chain", "prepared", "each", self) end
  if type(items) ~= "table" then error(("each: a list was expected, not %s"):format(type(items)), 2) end
  if type(f) ~= "function" then error(("each: a function was expected behind the list, not %s"):format(type(f)), 2) end
  sched.check()
  local queue = { items = items, first = 1, next = 1 }
  local ok, err = pcall(run_all, self, queue, f)
  if ok then return end
  nursery.shielded(abandon, self, queue)
  error(err, 0)
end

--- Its memory goes with it: at once, since the heap may be collected together with it, but later.
local function guard(ready)
  local sentinel = newproxy(true)
  getmetatable(sentinel).__gc = function()
    for i = 1, #ready do ready[i]:forget() end
  end
  return sentinel
end

--- p:prepare(f): a function that performs the chain which `f(c, ...)` records, as p:chain does, and gives what f returned. f is called now, with
--- what stands for the arguments that the function is given each time: they may be arguments of calls, where an fd, a string of up to 4095 bytes,
--- or a number that is no buffer's length is expected; nothing else can be done with them, since they are not known when f runs. So the chain is
--- always the same, which takes a fraction of the time; a handle that f uses must still be open each time.
---@param f fun(c: afar.Chain, ...)
---@return afar.Prepared
process.define("prepare", function(self, f)
  if type(f) ~= "function" then error(("prepare: a function was expected, not %s"):format(type(f)), 2) end
  local info = debug.getinfo(f, "u")
  local prepared = setmetatable({ process = self, f = f, count = math.max(info.nparams - 1, 0), ready = {} }, Prepared)
  prepared.guard = guard(prepared.ready)
  if info.isvararg then error(errors.new(self, "prepare", {}, "how many arguments f takes must be known: no ..."), 0) end
  prepared.ready[1] = record(prepared)
  return prepared
end)
