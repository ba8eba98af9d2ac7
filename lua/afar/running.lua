--- What a process runs while nobody needs to know of it but who waits (program.lua): for who looks at all that the process has.

local requests = require "afar.requests"

local running = {}

---@param p afar.Process
---@param program afar.Program
function running.add(p, program)
  local all = rawget(p, "running")
  if not all then
    all = {}
    rawset(p, "running", all)
  end
  all[program] = true
end

function running.remove(p, program)
  p.running[program] = nil
  if program.noted then p.table.internal[program.noted] = nil end
  program.noted = nil
end

--- As far as it is known: after settle(), all.
---@param p afar.Process
---@return table<integer, integer> pidfds  by pid
function running.known(p)
  local known = {}
  for program in pairs(rawget(p, "running") or {}) do
    local pid, pidfd = program:numbers()
    if pid then known[pid] = pidfd end
  end
  return known
end

--- From now on what the process runs at this moment is known, and the numbers are internal to its table.
---@param p afar.Process
function running.settle(p)
  local all = rawget(p, "running")
  if not all or not next(all) then return end
  local r = requests.record(p)
  r:value(0) -- answers come in order
  r:submit()
  r:wait()
  r:release()
  for program in pairs(all) do program:note() end
end

return running
