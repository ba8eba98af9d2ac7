--- afar.map: the same on many machines at once.

local loop = require "afar.loop"
local nursery = require "afar.nursery"
local process = require "afar.process"
local progress = require "afar.progress"

local LIMIT = 64

-- ---- results ----

---@class afar.MapResult
---@field name string      the destination, as errors call it
---@field ok boolean
---@field value any        what the function returned first
---@field values table     all that it returned, with n
---@field err any          why it failed
---@field seconds number   from the begin of the connection to its end

---@class afar.MapResults  a list, one result a destination, in their order; and by name
---@field failed integer
local Results = { __name = "results" }

local WIDTH, WIDTH_OF_ERROR = 100, 400 -- of an error all is shown that says why

local function cell(value, most)
  local text = tostring(value == nil and "" or value):gsub("%s+", " ")
  return #text > most and text:sub(1, most - 3) .. "..." or text
end

--- A table that a person reads: a line a destination.
function Results:__tostring()
  local width, lines = 0, {}
  for _, result in ipairs(self) do width = math.max(width, #result.name) end
  for i, result in ipairs(self) do
    local what = result.ok and cell(result.value, WIDTH) or "FAILED " .. cell(result.err, WIDTH_OF_ERROR)
    lines[i] = ("%-" .. width .. "s  %6.2f s  %s"):format(result.name, result.seconds, what):gsub("%s+$", "")
  end
  lines[#lines + 1] = ("%d of %d done, %d failed"):format(#self - self.failed, #self, self.failed)
  return table.concat(lines, "\n")
end

-- ---- destinations ----

local function name_of(destination, i)
  if type(destination) == "string" then return destination end
  if type(destination) == "table" and getmetatable(destination) == process.Process then return tostring(destination) end
  return type(destination) == "table" and (destination.name or destination.ssh or destination[1]) or ("destination %d"):format(i)
end

--- How a destination is reached: a function that gives its root; and whether the connection is ours to end.
local function opener(destination, from)
  local kind = type(destination)
  if kind == "string" then return function() return from:ssh(destination) end, true end
  if kind == "function" then return destination, true end
  if kind ~= "table" then return nil end
  if getmetatable(destination) == process.Process then return function() return destination end, false end
  if type(destination.open) == "function" then return function() return destination.open(destination) end, true end
  local host = destination.ssh or destination[1]
  if type(host) ~= "string" then return nil end
  local options = {}
  for key, value in pairs(destination) do
    if key ~= "ssh" and key ~= 1 then options[key] = value end
  end
  return function() return from:ssh(host, options) end, true
end

local KNOWN = { limit = true, from = true, progress = true }

local function check(destinations, f, options)
  if type(destinations) ~= "table" then error(("map: a list of destinations was expected, not %s"):format(type(destinations)), 3) end
  if type(f) ~= "function" then error(("map: a function was expected, not %s"):format(type(f)), 3) end
  for key in pairs(options) do
    if not KNOWN[key] then error(("map: there is no option %q; limit, from and progress are"):format(tostring(key)), 3) end
  end
  local limit = options.limit or LIMIT
  if type(limit) ~= "number" or limit < 1 then error("map: limit is a number from 1 on", 3) end
  for i, destination in ipairs(destinations) do
    if not opener(destination) then
      error(("map: destination %d is a %s: neither a name for ssh, nor a function, nor a table with one of them"):format(i, type(destination)), 3)
    end
  end
  return limit
end

-- ---- the work ----

local function visit(open, owned, f, result, i)
  local root = open()
  return nursery.nursery(function(n)
    if owned then
      n:defer(function()
        if root.is_root and not root.machine.local_ then root:disconnect() end -- also one that has ended: the command that led there is awaited
      end)
    end
    return f(root, result.name, i)
  end)
end

local function pack(ok, ...) return ok, { n = select("#", ...), ... } end

--- One destination; its failure is its result. Only a cancellation goes on.
local function settle(result, open, owned, f, i)
  local began = loop.monotonic()
  local ok, values = pack(pcall(visit, open, owned, f, result, i))
  result.seconds = loop.monotonic() - began
  result.ok = ok
  if ok then
    result.value, result.values = values[1], values
    return
  end
  result.err = values[1]
  if nursery.is_cancelled(result.err) and not result.err.timeout then error(result.err, 0) end
end

--- afar.map(destinations, f, options): reaches all of them side by side, and calls f(root, name, i) for each; afterwards the connection is
--- ended. A destination is a string (as for ssh), a function that gives a root, a table { ssh = "host", options of p:ssh }, or { name =,
--- open = function }, or a process that is there already. One that fails doesn't stop the others: see its result. options: limit = how many
--- at once (64); from = the process from which they are reached (afar.here); progress = false: no line of progress on the terminal. A
--- cancellation ends all.
---@param destinations any[]
---@param f fun(root: afar.Process, name: string, i: integer): any
---@param options? { limit?: integer, from?: afar.Process, progress?: boolean }
---@return afar.MapResults
local function map(destinations, f, options)
  options = options or {}
  local limit = check(destinations, f, options)
  local from = options.from or require("afar.here").root()
  local results = setmetatable({ failed = 0 }, Results)
  for i, destination in ipairs(destinations) do
    results[i] = { name = tostring(name_of(destination, i)), seconds = 0, ok = false }
    results[results[i].name] = results[results[i].name] or results[i]
  end
  local line = progress.count(#results, options.progress ~= false)
  local next_one = 0
  local function work()
    while next_one < #results do
      next_one = next_one + 1
      local i, result = next_one, results[next_one]
      line:begin(result.name)
      local open, owned = opener(destinations[i], from)
      settle(result, open, owned, f, i)
      if not result.ok then results.failed = results.failed + 1 end
      line:done(result.name, result.ok)
    end
  end
  local ok, err = pcall(nursery.nursery, function(n)
    for _ = 1, math.min(limit, #results) do n:spawn(work) end
  end)
  line:stop()
  if not ok then error(err, 0) end
  return results
end

return { map = map, Results = Results }
