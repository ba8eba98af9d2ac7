--- p:chain: what a script calls on it is recorded, stands for its value meanwhile, and goes out as one chain.

local requests = require "afar.requests"

local chain = {}

local process_methods, fd_methods -- set by chain.define

--- What a recorded call will be, unless that is a number (a Ref): an argument for later ones of the same chain, and its value once the
--- chain was answered.
---@class afar.Placeholder
local Placeholder = { __name = "placeholder" }

local Ref = requests.Ref

---@class afar.Chain
local Chain = { __name = "chain" }

--- The argument that a placeholder stands for.
function Placeholder.stands_for(placeholder) return rawget(placeholder, "ref") end

local function placeholder_of(self, finish, ref)
  if finish == requests.number then return ref end
  local placeholder = { recorder = false, finish = false, ref = false, value = false }
  placeholder.recorder, placeholder.finish, placeholder.ref, placeholder.value = self.recorder, finish, ref, nil
  setmetatable(placeholder, Placeholder)
  local made = self.recorder.made
  local n = made.n + 1
  made[n], made.n = placeholder, n
  return placeholder
end

--- Handles that a prepared chain was recorded with are looked at each time: they may be closed by then.
local function capture(captured, value)
  local mt = getmetatable(value)
  if type(mt) == "table" and mt.near then
    captured[#captured + 1] = value
  elseif type(value) == "table" and mt == nil then
    for _, item in pairs(value) do capture(captured, item) end
  end
end

local function capture_all(captured, ...)
  for i = 1, select("#", ...) do capture(captured, (select(i, ...))) end
end

local function record(self, method, target, ...)
  local parameters = self.recorder.parameters
  if parameters then capture_all(parameters.captured, target ~= self.recorder.process and target, ...) end
  local finish, ref, second, second_ref = method(self.recorder, target, ...)
  if not second then return placeholder_of(self, finish, ref) end
  return placeholder_of(self, finish, ref), placeholder_of(self, second, second_ref)
end

local of_fd, of_process = {}, {} -- name -> what records that method

-- In functions of their own: LuaJIT doesn't compile those that make closures.
local function define_of_fd(name)
  local method = fd_methods[name]
  if not method then
    error(("a placeholder has no method %q: what a chain's call gives is known only when the chain has ended"):format(tostring(name)), 3)
  end
  of_fd[name] = function(placeholder, ...) return record(placeholder.recorder.chain, method, placeholder, ...) end
end

local function define_of_process(name, process)
  local method = process_methods(name, process)
  of_process[name] = function(c, ...) return record(c, method, c.recorder.process, ...) end
end

function Placeholder:__index(name)
  if not of_fd[name] then define_of_fd(name) end
  return of_fd[name]
end

Ref.__index = Placeholder.__index
requests.Parameter.__index = Placeholder.__index

function Chain:__index(name)
  if not of_process[name] then define_of_process(name, rawget(self, "recorder").process) end
  return of_process[name]
end

--- What a placeholder stands for is closed within the chain: nobody gets a handle to it, which would close whatever has the number then.
function chain.forget(value)
  if getmetatable(value) == Placeholder then
    rawset(value, "finish", nil)
    value = rawget(value, "ref")
  end
  if getmetatable(value) == Ref then rawset(value, "closed", true) end
end

-- ---- values ----

--- Whether a request was performed and succeeded.
local function succeeded(recorder, ref)
  local source = requests.source(ref)
  local result = source and recorder:result(source) or -1
  return result >= 0 or result < -4095
end

local function settle(recorder, placeholder)
  local finish, ref = rawget(placeholder, "finish"), rawget(placeholder, "ref")
  if recorder.fate or not finish or (ref and not succeeded(recorder, ref)) then return end
  local ok, value = pcall(finish, recorder, ref)
  if ok then rawset(placeholder, "value", value) end
end

local function number_of(ref)
  if ref.recorder.fate or rawget(ref, "closed") or not succeeded(ref.recorder, ref) then return nil end
  return ref.recorder:result_of(ref.index) + ref.add
end

--- The value of what a call in a chain gave, or nil; and whether it is such a one.
function chain.value(value)
  local mt = getmetatable(value)
  if mt == Placeholder then return rawget(value, "value"), true end
  if mt == Ref then return number_of(value), true end
  return nil, false
end

local value_of

--- The values take their placeholders' places in a table that f has returned, and in those within it.
local function fill(list, seen)
  if seen[list] then return end
  seen[list] = true
  for key, value in pairs(list) do
    if type(value) == "table" then list[key] = value_of(value, seen) end
  end
end

function value_of(value, seen)
  if type(value) ~= "table" then return value end
  local known, is_ours = chain.value(value)
  if is_ours then return known end
  if getmetatable(value) == nil then fill(value, seen or {}) end
  return value
end

local function values(count, first, ...)
  if count == 0 then return end
  if count == 1 then return value_of(first) end
  local all = { first, ... }
  for i = 1, count do all[i] = value_of(all[i]) end
  return unpack(all, 1, count)
end

--- Waits for what is under way, and gives the placeholders their values; raises what failed.
function chain.await(recorder)
  recorder:wait()
  local made = recorder.made
  local ok, err = pcall(recorder.check, recorder)
  for i = 1, made.n do settle(recorder, made[i]) end
  if not ok then error(err, 0) end
end

local function finish(recorder, ok, ...)
  if not ok then
    recorder:drop()
    error((...), 0)
  end
  if recorder.count == 0 then return recorder:release(...) end
  recorder:start()
  chain.await(recorder)
  return recorder:release(values(select("#", ...), ...))
end

--- What records into `recorder`: f's argument.
---@return afar.Chain
function chain.new(recorder)
  recorder.chain = setmetatable({ recorder = recorder }, Chain)
  return recorder.chain
end

--- Records what `f(c)` calls on `c` (the methods of a process; and those of fds on what they give), sends all as one chain,
--- and returns what f returned, with each placeholder replaced by its value, also in tables that it returned. The first failure ends the
--- chain and is raised; only close() is performed all the same, if what it closes was opened.
---@param process afar.Process
---@param f fun(c: afar.Chain)
function chain.run(process, f)
  local recorder = requests.record(process)
  return finish(recorder, pcall(f, chain.new(recorder)))
end

--- Where the methods that chains may record are looked up.
function chain.define(lookup, fds)
  process_methods, fd_methods = lookup, fds
end

return chain
