--- What a root does for its channels is either done before it becomes persistent, or after that: not while its stream changes hands. And
--- what any process is to hand over goes by the carrier that it has then.

local loop = require "afar.loop"
local sched = require "afar.sched"

local gate = {}

local function wait(list)
  local id = loop.id()
  list[#list + 1] = id
  sched.wait(id)
end

local function wake(list)
  for i, id in ipairs(list) do
    list[i] = nil
    loop.complete(id)
  end
end

local function leave(p, routine, ok, ...)
  local inside = p.gate_inside
  inside[routine] = nil
  if next(inside) == nil and rawget(p, "gate_closing") then wake(p.gate_closing) end
  if not ok then error((...), 0) end
  return ...
end

--- f(...); in a root that is becoming persistent, once it is, and is reached again.
---@param p afar.Process
function gate.pass(p, f, ...)
  if not p.is_root and not rawget(p, "gate_waiting") then return f(...) end
  local routine = sched.current() or "none"
  local inside = rawget(p, "gate_inside")
  if not inside then
    inside = {}
    rawset(p, "gate_inside", inside)
  end
  if inside[routine] then return f(...) end
  while rawget(p, "gate_waiting") do wait(p.gate_waiting) end
  inside[routine] = true
  return leave(p, routine, pcall(f, ...))
end

--- From here on who comes waits; waits for those that are inside.
function gate.close(p)
  while rawget(p, "gate_waiting") do wait(p.gate_waiting) end
  rawset(p, "gate_waiting", {})
  rawset(p, "gate_closing", {})
  while next(rawget(p, "gate_inside") or {}) do wait(p.gate_closing) end
  rawset(p, "gate_closing", nil)
end

function gate.open(p)
  local waiting = rawget(p, "gate_waiting")
  rawset(p, "gate_waiting", nil)
  if waiting then wake(waiting) end
end

return gate
