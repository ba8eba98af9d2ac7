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

--- Whether nobody but process `pid` uses its memory. Children of the host before end with it; that may take a moment.
local function is_alone(q, pid)
  local waited, delay = 0, 0.002
  while true do
    local others = 0
    for _, other in ipairs(same_program(q, pid)) do
      if shares(q, pid, other) then others = others + 1 end
    end
    if others == 0 then return true end
    if waited >= PATIENCE then return false end
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

--- The space of a process whose former host used `regions`.
---@param p afar.Process   makes calls that need no memory
---@param q afar.Process   by which it was reached
---@param pid integer      of p, as q sees it
---@param regions table[]  { address, size }
---@param keep table[]     { address =, size = }: what stays as it is
---@return afar.Space
function takeover.space(p, q, pid, regions, keep)
  local ok, alone = pcall(is_alone, q, pid)
  local made
  if not (ok and alone) or #regions == 0 then
    local region = map(p)
    made = space.new(p.machine, region[1], region[2])
    for _, old in ipairs(regions) do made.regions[#made.regions + 1] = old end -- whoever is alone there later gives that back
    return made
  end
  local pinned = {}
  for i, range in ipairs(keep) do pinned[i] = { floor(range.address), ceil(range.address + range.size) } end
  local parts = {}
  for _, region in ipairs(regions) do
    for _, part in ipairs(parts_of(region, pinned)) do parts[#parts + 1] = part end
  end
  give_back(p, parts)
  made = space.new(p.machine, parts[1][1], parts[1][2] - parts[1][1])
  for i = 2, #parts do made.heap:add(parts[i][1], parts[i][2] - parts[i][1]) end
  made.regions = regions
  return made
end

return takeover
