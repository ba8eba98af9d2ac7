--- A process leaves a table of fds that it shares: unshare(CLONE_FILES), with all that afar has in both tables put right.

local requests = require "afar.requests"
local errors = require "afar.error"
local fdtable = require "afar.fdtable"
local nursery = require "afar.nursery"
local pids = require "afar.pids"
local process = require "afar.process"
local running = require "afar.running"
local sched = require "afar.sched"
local watch = require "afar.watch"

local POLLIN = 1

local tables = {}

--- Whether some other process uses the table too.
---@param p afar.Process
function tables.is_shared(p)
  for other in pairs(p.table.processes) do
    if other ~= p and other:is_alive() then return true end
  end
  return p.parent ~= nil and p.parent.table == p.table
end

--- The numbers that are the process's own: its carrier, its children, its epoll instance. What it runs is known after running.settle(p).
local function own_numbers(p)
  local own = {}
  if p.carrier then own[p.carrier] = true end
  for _, child in pairs(rawget(p, "kids") or {}) do
    if not child.status and child.state.pidfd then own[child.state.pidfd] = true end
  end
  for _, pidfd in pairs(running.known(p)) do own[pidfd] = true end
  local many = rawget(p, "watch")
  if many and many.epoll then own[many.epoll] = true end
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

local function another(table_, but)
  for other in pairs(table_.processes) do
    if other ~= but and other:is_alive() then return other end
  end
end

--- The same in whichever process of a table still can, but one. One that shares it may be just ending, and with the last one the table goes.
local function close_in(table_, numbers, but)
  local other = another(table_, but)
  while other do
    local ok, err = pcall(close_all, other, numbers)
    if ok then return end
    if other:is_alive() then error(err, 0) end
    other = another(table_, but)
  end
end

--- What others have in the old table is of no use in the new one, and would keep their carriers open.
local function internal_of_others(old, own)
  local numbers = {}
  for number in pairs(old.internal) do
    if not own[number] then numbers[number] = true end
  end
  return numbers
end

--- Who can watch for the end of one of a table: its parent, by the pidfd that it has; else another of the table, by one of its own.
--- nil: nobody; and whether that is because it has ended and was awaited.
local function watcher_of(child, but)
  local parent = child.parent
  if child.child.status then return nil, true end
  if parent ~= but and parent:is_alive() then return parent, child.child.pidfd end
  for other in pairs(child.table.processes) do
    if other ~= child and other ~= but and other:is_alive() and pids.space(other) == pids.space(child) then
      local ok, pidfd = pcall(other.syscall, other, "pidfd_open", child.pid, 0)
      if ok then
        other.table.internal[pidfd] = true
        return other, pidfd
      end
      if errors.is(pidfd, "ESRCH") then return nil, true end
    end
  end
end

--- A child that stays in a table that others share: at its end one of them closes its carrier there, since only then its end is seen.
---@param but? afar.Process  who is about to leave, and can't watch
local function watch_from_outside(child, but)
  local table_, number = child.table, child.carrier
  local watcher, pidfd = watcher_of(child, but)
  if not watcher then -- it is the last one, whose end is the table's; or there is nothing to wait for
    if pidfd then close_in(table_, { [number] = true }, child) end
    return
  end
  local recorder, ref
  local function ended()
    if child.table ~= table_ or not rawget(child, "carrier_end") then return end
    local fired = not recorder.fate and (recorder:result(ref) or -1) >= 0
    sched.start(function()
      if fired then return close_in(table_, { [number] = true }, child) end
      if child:is_alive() then watch_from_outside(child, watcher) end
    end)
  end
  local function record(r)
    recorder, ref = r, r:value(0)
    if watcher ~= child.parent then r:call("close", { always = true, may_fail = true }, pidfd) end
  end
  rawset(child, "carrier_end", watch.after(watcher, pidfd, POLLIN, record, ended))
end

--- Its children that stay in the old table: their carriers' copies in the new one are closed.
local function let_children_stay(p, old, brief)
  for other in pairs(old.processes) do
    local carrier_end = other.parent == p and rawget(other, "carrier_end")
    if carrier_end then
      rawset(other, "carrier_end", nil)
      carrier_end:now()
      if other:is_alive() then watch_from_outside(other, brief and p or nil) end
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
  close_in(old, own)
end

local function leave(p, brief)
  running.settle(p)
  local old, own = p.table, own_numbers(p)
  p:syscall("unshare", p.machine.sys.C.CLONE_FILES)
  let_children_stay(p, old, brief)
  process.gone(p)
  p.table = fdtable.copy(old)
  p.table.processes[p] = true
  for number in pairs(own) do p.table.internal[number] = true end
  if not brief then close_all(p, internal_of_others(old, own)) end
  leave_old(p, old, own)
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
  sched.check()
  local ok, err = nursery.shielded(leave, p, brief) -- left half done, carriers would stay open where nobody closes them
  if not ok then error(err, 0) end
end

--- After its end: what it had for itself in a table that others share is closed there: its children's pidfds, its epoll instance.
---@param p afar.Process
function tables.ended(p)
  local own = own_numbers(p)
  own[p.carrier or -1] = nil -- closed at its end, and maybe another's by now
  if not next(own) or not another(p.table, p) then return end
  for _, child in pairs(rawget(p, "kids") or {}) do child.state.reaped = true end
  for number in pairs(own) do p.table.internal[number] = nil end
  close_in(p.table, own, p)
end

return tables
