--- The memory of a persistent process whose host has gone: given back to the kernel, and used by the new host; but for the process's own
--- block and its kept table.

local requests = require "afar.requests"
local errors = require "afar.error"
local sched = require "afar.sched"
local space = require "afar.space"

local takeover = {}

local PAGE = 4096
local SIZES = { 2 ^ 30, 2 ^ 26, 2 ^ 22 } -- of what is mapped anew: of addresses; pages take memory once they are touched
local KCMP_VM = 1
local PATIENCE = 0.5 -- seconds for what the host before has left behind to end

local function floor(address) return address - address % PAGE end
local function ceil(address) return floor(address + PAGE - 1) end

-- ---- who else uses that memory ----

--- pids, as `q` sees them, of all whose program is the same as that of `pid`.
local function same_program(q, pid)
  local pids = {}
  for _, name in ipairs(q:listdir "/proc") do
    local other = tonumber(type(name) == "table" and name.name or name)
    if other and other ~= pid then pids[#pids + 1] = other end
  end
  pids[#pids + 1] = pid
  local exes, from = {}, 1
  while from <= #pids do
    local r, refs = requests.record(q), {}
    for i = from, math.min(from + 49, #pids) do
      local at = r:scratch(64)
      local ref = r:call("readlinkat", { always = true, may_fail = true }, r.sys.C.AT_FDCWD, r:string(("/proc/%d/exe"):format(pids[i])), at, 64)
      refs[i] = r:fetch(at, ref + 0, { if_ok = ref, may_fail = true, aside = true }, 64)
    end
    r:run()
    for i, ref in pairs(refs) do exes[pids[i]] = r:data(ref) or "" end
    from = from + 50
  end
  local same = {}
  for other, exe in pairs(exes) do
    if other ~= pid and exe ~= "" and exe == exes[pid] then same[#same + 1] = other end
  end
  return same
end

local function shares(q, pid, other)
  local ok, result = pcall(q.syscall, q, "kcmp", pid, other, KCMP_VM, 0, 0)
  return ok and result == 0 or not ok and not errors.is(result, "ESRCH")
end

local function descends(q, other, pid)
  for _ = 1, 100 do
    local ok, text = pcall(q.read_file, q, ("/proc/%d/stat"):format(other))
    other = ok and tonumber(text:match "^.*%) %a (%d+)")
    if other == pid then return true end
    if not other or other <= 1 then return false end
  end
end

--- Who else uses the memory of process `pid`: whether anybody does, and whether some that it has cloned.
local function sharers(q, pid)
  local any, own = false, false
  for _, other in ipairs(same_program(q, pid)) do
    if shares(q, pid, other) then
      any = true
      own = own or descends(q, other, pid)
    end
  end
  return any, own
end

--- The same, once what it has cloned for the host before has ended with that; that may take a moment.
local function settled_sharers(q, pid)
  local waited, delay = 0, 0.002
  while true do
    local any, own = sharers(q, pid)
    if not any or (waited >= PATIENCE or (not own and waited > 0.05)) then return any, own end
    sched.sleep(delay)
    waited, delay = waited + delay, delay * 2
  end
end

-- ---- giving back ----

--- The parts of a region outside of what is pinned, as { from, to }.
local function parts_of(region, pinned)
  local parts, from = {}, ceil(region[1])
  local to = floor(region[1] + region[2])
  table.sort(pinned, function(a, b) return a[1] < b[1] end)
  for _, pin in ipairs(pinned) do
    if pin[2] > from and pin[1] < to then
      if pin[1] > from then parts[#parts + 1] = { from, pin[1] } end
      from = math.max(from, pin[2])
    end
  end
  if from < to then parts[#parts + 1] = { from, to } end
  return parts
end

--- Shared memory is given back by removing it; other by forgetting it.
local function give_back(p, parts)
  local r = requests.record(p)
  local C = r.sys.C
  for _, part in ipairs(parts) do
    local removed = r:call("madvise", { always = true, may_fail = true }, part[1], part[2] - part[1], C.MADV_REMOVE)
    r:call("madvise", { if_failed = removed, may_fail = true }, part[1], part[2] - part[1], C.MADV_DONTNEED)
  end
  if r.count > 0 then r:run() end
end

local function map(p)
  local C = p.machine.sys.C
  local flags = C.MAP_PRIVATE + C.MAP_ANONYMOUS + C.MAP_NORESERVE
  for i, size in ipairs(SIZES) do
    local ok, address = pcall(p.syscall, p, "mmap", 0, size, C.PROT_READ + C.PROT_WRITE, flags, -1, 0)
    if ok then return { address, size } end
    if i == #SIZES then error(address, 0) end
  end
end

--- Gives back `regions` but for what is in `pinned`; the space that they make then.
local function reuse(p, regions, pinned)
  local parts = {}
  for _, region in ipairs(regions) do
    for _, part in ipairs(parts_of(region, pinned)) do parts[#parts + 1] = part end
  end
  give_back(p, parts)
  local made = space.unknown(p.machine)
  for _, part in ipairs(parts) do made.heap:add(part[1], part[2] - part[1]) end
  made.reused = regions
  return made
end

--- Whether memory lies in what the space was made of: then it is the space's, once it isn't kept any more.
function takeover.covers(made, memory)
  for _, region in ipairs(made.reused or {}) do
    if memory.address >= region[1] and memory.address + memory.size <= region[1] + region[2] then return true end
  end
  return false
end

local function joined(a, b)
  local all = {}
  for _, list in ipairs { a, b } do
    for _, one in ipairs(list) do all[#all + 1] = one end
  end
  return all
end

--- The space of a process whose former host used what `facts` says: `regions`, which the processes that it was cloned from and with use too, and
--- `own_regions`, which were mapped since for it alone.
---@param p afar.Process   makes calls that need no memory
---@param q afar.Process   by which it was reached
---@param pid integer      of p, as q sees it
---@param facts table
---@param keep table[]     { address =, size = }: what stays as it is
---@return afar.Space space
---@return boolean changed  what a later host must be told of it
function takeover.space(p, q, pid, facts, keep)
  local ok, any, own = pcall(settled_sharers, q, pid)
  if not ok then any, own = true, true end
  local old, pinned = facts.own_regions or {}, {}
  for i, range in ipairs(keep) do pinned[i] = { floor(range.address), ceil(range.address + range.size) } end
  local changed, made = false
  if not any then
    made = reuse(p, joined(facts.regions, old), pinned)
    made.own = old
  elseif not own and #old > 0 then
    made = reuse(p, old, pinned)
    made.own = old
  else
    local region = map(p)
    made = space.new(p.machine, region[1], region[2])
    made.own, changed = joined(old, { region }), true
  end
  made.regions = facts.regions
  return made, changed
end

return takeover
