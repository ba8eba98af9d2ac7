--- The environment variables of processes. A process that was cloned has its parent's: the two share one table, which nobody changes, as long
--- as no script has asked for p.environ, which it may change. Who is asked gets a copy of his own then.

local variables = {}

local function copy(all)
  local own = {}
  for name, value in pairs(all) do own[name] = value end
  return own
end

local function is_part(a, b)
  for name, value in pairs(a) do
    if b[name] ~= value then return false end
  end
  return true
end

--- Whether two tables have the same variables.
function variables.same(a, b) return a == b or is_part(a, b) and is_part(b, a) end

--- Those of a process; not to be changed.
---@param p afar.Process
---@return table<string, string>
function variables.of(p) return rawget(p, "environ") or rawget(p, "shared_environ") end

--- The same, as they are now: they will not change any more.
function variables.share(p)
  local own, shared = rawget(p, "environ"), rawget(p, "shared_environ")
  if not own or shared and variables.same(own, shared) then return shared end
  shared = copy(own)
  rawset(p, "shared_environ", shared)
  return shared
end

--- p.environ, when it is asked for first.
function variables.own(p)
  local own = copy(rawget(p, "shared_environ"))
  rawset(p, "environ", own)
  return own
end

return variables
