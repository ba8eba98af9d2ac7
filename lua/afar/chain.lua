--- p:chain: what a script calls on it is recorded, stands for its value meanwhile, and goes out as one chain.

local requests = require "afar.requests"

local chain = {}

--- What a recorded call will be: an argument for later ones of the same chain, and its value once the chain was answered.
---@class afar.Placeholder
local Placeholder = { __name = "placeholder" }

--- The argument that a placeholder stands for.
function Placeholder.stands_for(placeholder) return rawget(placeholder, "ref") end

local fd_methods -- set by chain.define

--- One function for each method, made by `make(method)` when it is first asked for.
local function once(make)
  return setmetatable({}, {
    __index = function(made, method)
      made[method] = make(method)
      return made[method]
    end,
  })
end

local of_placeholder = once(function(method)
  return function(self, ...) return rawget(self, "chain"):record(method, self, ...) end
end)

function Placeholder:__index(name)
  local method = fd_methods[name]
  if not method then
    error(("a placeholder has no method %q: what a chain's call gives is known only when the chain has ended"):format(name), 2)
  end
  return of_placeholder[method]
end

---@class afar.Chain
local Chain = { __name = "chain" }

local process_methods

local of_process = once(function(method)
  return function(self, ...) return Chain.record(self, method, rawget(self, "recorder").process, ...) end
end)

function Chain:__index(name)
  if name == "record" then return Chain.record end
  return of_process[process_methods(name, rawget(self, "recorder").process)]
end

function Chain:placeholder(finish, ref)
  local placeholder = setmetatable({ chain = self, finish = finish, ref = ref }, Placeholder)
  local placeholders = rawget(self, "placeholders")
  placeholders[#placeholders + 1] = placeholder
  return placeholder
end

function Chain:record(method, target, ...)
  local finish, ref, second, second_ref = method(rawget(self, "recorder"), target, ...)
  if not second then return Chain.placeholder(self, finish, ref) end
  return Chain.placeholder(self, finish, ref), Chain.placeholder(self, second, second_ref)
end

local function values(...)
  local all = { ... }
  for i = 1, select("#", ...) do
    local ref = getmetatable(all[i]) == Placeholder
    if ref then all[i] = rawget(all[i], "value") end
  end
  return unpack(all, 1, select("#", ...))
end

--- Whether a request was performed and succeeded.
local function succeeded(recorder, ref)
  local result = ref and recorder:result(ref.index and ref or requests.source(ref)) or -1
  return result >= 0 or result < -4095
end

--- What a placeholder stands for is closed within the chain: nobody gets a handle to it, which would close whatever has the number then.
function chain.forget(value)
  if getmetatable(value) == Placeholder then rawset(value, "finish", nil) end
end

local function settle(recorder, placeholder)
  local finish, ref = rawget(placeholder, "finish"), rawget(placeholder, "ref")
  if recorder.fate or not finish or (ref and not succeeded(recorder, ref)) then return end
  local ok, value = pcall(finish, recorder, ref)
  if ok then rawset(placeholder, "value", value) end
end

--- Records what `f(c)` calls on `c` (the methods of a process; and those of fds on what they give), sends all as one chain,
--- and returns what f returned, with each placeholder replaced by its value. The first failure ends the chain and is raised;
--- only close() is performed all the same, if what it closes was opened.
---@param process afar.Process
---@param f fun(c: afar.Chain)
function chain.run(process, f)
  local recorder = requests.record(process)
  local self = setmetatable({ recorder = recorder, placeholders = {} }, Chain)
  local function finish(...)
    if recorder.count == 0 then return ... end
    recorder:start()
    recorder:wait()
    local ok, err = pcall(recorder.check, recorder)
    for _, placeholder in ipairs(rawget(self, "placeholders")) do
      settle(recorder, placeholder)
    end
    if not ok then error(err, 0) end
    return values(...)
  end
  local function dropping(ok, ...)
    if ok then return ... end
    recorder:drop()
    error((...), 0)
  end
  return finish(dropping(pcall(f, self)))
end

--- Where the methods that chains may record are looked up.
function chain.define(lookup, fds)
  process_methods, fd_methods = lookup, fds
end

return chain
