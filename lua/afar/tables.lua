--- A process leaves a table of fds that it shares: unshare(CLONE_FILES), with all that afar has in both tables put right.

local requests = require "afar.requests"
local errors = require "afar.error"
local fdtable = require "afar.fdtable"
local process = require "afar.process"

local tables = {}

--- Whether some other process uses the table too.
---@param p afar.Process
function tables.is_shared(p)
  for other in pairs(p.table.processes) do
    if other ~= p and other:is_alive() then return true end
  end
  return p.parent ~= nil and p.parent.table == p.table
end

--- The numbers that are the process's own: its carrier, its children, its epoll instance.
local function own_numbers(p)
  local own = {}
  if p.carrier then own[p.carrier] = true end
  for _, child in pairs(rawget(p, "kids") or {}) do
    if not child.status then own[child.pidfd] = true end
  end
  local watch = rawget(p, "watch")
  if watch and watch.epoll then own[watch.epoll] = true end
  return own
end

--- Closes numbers without a word about those that aren't open.
local function close_all(p, numbers)
  local r = requests.record(p)
  for number in pairs(numbers) do
    if r.count == 200 then
      r:run()
      r = requests.record(p)
    end
    r:call("close", { always = true, may_fail = true }, number)
  end
  if r.count > 0 then r:run() end
end

--- What others have in the old table is of no use in the new one, and would keep their carriers open.
local function internal_of_others(old, own)
  local numbers = {}
  for number in pairs(old.internal) do
    if not own[number] then numbers[number] = true end
  end
  return numbers
end

--- Its children that stay in the old table: their carriers' copies in the new one are closed, and no longer at their ends.
local function let_children_stay(p, old)
  for other in pairs(old.processes) do
    local carrier_end = other.parent == p and rawget(other, "carrier_end")
    if carrier_end then
      rawset(other, "carrier_end", nil)
      carrier_end:now()
    end
  end
end

--- The process's own numbers leave the old table.
local function leave_old(p, old, own)
  for number in pairs(own) do old.internal[number] = nil end
  local carrier_end = rawget(p, "carrier_end")
  if carrier_end then
    rawset(p, "carrier_end", nil)
    carrier_end:now()
    own[p.carrier] = nil
  end
  local other = old:alive()
  if other then close_all(other, own) end
end

--- Gives the process a table of its own, a copy of the one that it shares. Handles to the old table's fds stay there; p:inherit(fd) gives the
--- copies. Does nothing for one that shares none.
---@param p afar.Process
---@param brief? boolean  it will exec at once, which closes what is internal
function tables.leave(p, brief)
  if p.is_root then
    error(errors.new(p, "unshare", { "CLONE_FILES" }, "a root's table is that of its channels", { hint = "p:fork() has its own" }), 0)
  end
  if not tables.is_shared(p) then return end
  local old, own = p.table, own_numbers(p)
  p:syscall("unshare", p.machine.sys.C.CLONE_FILES)
  let_children_stay(p, old)
  process.gone(p)
  p.table = fdtable.copy(old, "a copy of " .. tostring(old))
  p.table.processes[p] = true
  for number in pairs(own) do p.table.internal[number] = true end
  if not brief then close_all(p, internal_of_others(old, own)) end
  leave_old(p, old, own)
end

return tables
