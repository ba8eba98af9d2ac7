--- What a process is to the kernel beside its files: prctl, capabilities, limits, priority, CPUs.

local bit = require "bit"
local ffi = require "ffi"
local errors = require "afar.error"
local pids = require "afar.pids"
local pointer = require "afar.pointer"
local process = require "afar.process"

local function number_of(ref) return function(r) return r:result(ref) end, ref end

-- ---- prctl ----

local NAME_SIZE = 16 -- TASK_COMM_LEN

--- Options that answer with a number in memory, and those whose second argument has names.
local ANSWERS = { PR_GET_PDEATHSIG = 4, PR_GET_CHILD_SUBREAPER = 4, PR_GET_TSC = 4, PR_GET_UNALIGN = 4, PR_GET_ENDIAN = 4, PR_GET_FPEMU = 4, PR_GET_FPEXC = 4 }
local PREFIX = { PR_SET_PDEATHSIG = "SIG", PR_CAPBSET_READ = "CAP_", PR_CAPBSET_DROP = "CAP_", PR_CAP_AMBIENT = "PR_CAP_AMBIENT_" }

local function prctl_argument(r, option, position, value)
  if pointer.is(value) then return value:near(r.process, r) end
  if type(value) ~= "string" then return value or 0 end
  if option == "PR_SET_NAME" then return r:string(value) end
  if option == "PR_CAP_AMBIENT" and position == 2 then return r.sys:const(value, "CAP_", "prctl") end
  return r.sys:const(value, PREFIX[option] or "PR_", "prctl")
end

local function record_answer(r, number, size, decode)
  local at = r:scratch(size)
  local ref = r:call("prctl", nil, number, at, 0, 0, 0)
  local data = r:fetch_of(ref, at, size)
  return function(r_) return decode(r_:data(data)) end, ref
end

--- p:prctl(option, ...): see prctl(2). option: "PR_SET_NAME" or a number; arguments: numbers, names of constants, pointers; a string for PR_SET_NAME.
--- PR_GET_NAME gives a string; those that answer in memory (PR_GET_PDEATHSIG ...) give the number there, if no pointer is given; others the result.
process.define_recorded("prctl", function(r, _, option, ...)
  local number = r.sys:const(option, "PR_", "prctl")
  local name = type(option) == "string" and (option:find "^PR_" and option or "PR_" .. option:upper()) or r.sys:names(number, "PR_")
  if select("#", ...) == 0 then
    if name == "PR_GET_NAME" then return record_answer(r, number, NAME_SIZE, function(bytes) return bytes:match "^[^%z]*" end) end
    if ANSWERS[name] then return record_answer(r, number, 4, function(bytes) return ffi.cast("const int32_t *", bytes)[0] end) end
  end
  local args = { ... }
  for i = 1, 4 do args[i] = prctl_argument(r, name, i, args[i]) end
  return number_of(r:call("prctl", nil, number, unpack(args, 1, 4)))
end)

-- ---- capabilities ----

local VERSION_3 = 0x20080522
local SETS = { "effective", "permitted", "inheritable" }

local function cap_header(r, pid)
  local header = ffi.new(r.sys.ctype.cap_user_header)
  header.version, header.pid = VERSION_3, pid
  return r:bytes(ffi.string(header, ffi.sizeof(header)))
end

--- The names of the bits of two halves.
local function names_of(sys, low, high)
  local names = {}
  for name, number in pairs(sys.C) do
    if name:find "^CAP_" and name ~= "CAP_LAST_CAP" and type(number) == "number" then
      local half = number < 32 and low or high
      if bit.band(half, bit.lshift(1, number % 32)) ~= 0 then names[name] = true end
    end
  end
  return names
end

local function cap_data(r, sets)
  local data = ffi.new("uint32_t[6]")
  for i, set in ipairs(SETS) do
    for key, value in pairs(sets[set] or {}) do
      local number = value and r.sys:const(type(key) == "number" and value or key, "CAP_", "capset")
      if number then
        local at = number < 32 and i - 1 or i + 2
        data[at] = bit.bor(data[at], bit.lshift(1, number % 32))
      end
    end
  end
  return ffi.string(data, 24)
end

--- p:capget(pid): the capabilities of the process (or of another, by pid): { effective = { CAP_CHOWN = true ... }, permitted =, inheritable = }; see capget(2).
process.define_recorded("capget", function(r, p, pid)
  local at = r:scratch(24)
  local ref = r:call("capget", nil, cap_header(r, pid and pids.near(pid, p, "capget") or 0), at)
  local data = r:fetch_of(ref, at, 24)
  return function(r_)
    local words, sets = ffi.new "uint32_t[6]", {}
    ffi.copy(words, r_:data(data), 24)
    for i, set in ipairs(SETS) do sets[set] = names_of(r_.sys, words[i - 1], words[i + 2]) end
    return sets
  end, ref
end)

--- p:capset(sets): sets as of capget, or lists of names; what isn't named is dropped. See capset(2). The parent-death signal is armed again.
process.define_recorded("capset", function(r, p, sets)
  if type(sets) ~= "table" then error(errors.new(p, "capset", { sets }, "a table of sets was expected"), 0) end
  local ref = r:call("capset", nil, cap_header(r, 0), r:bytes(cap_data(r, sets)))
  if p.child then r:call("prctl", { if_ok = ref, aside = true, may_fail = true }, r.sys.C.PR_SET_PDEATHSIG, 9, 0, 0, 0) end
  return number_of(ref)
end)

-- ---- limits and priority ----

local INFINITY = 0xffffffffffffffffULL -- RLIM_INFINITY

--- p:prlimit(pid, resource, new): the limits as they were, { soft =, hard = }, math.huge for none; new: the same, either may be missing; see prlimit(2).
--- pid: 0, a process, a child, or a number. resource: "RLIMIT_NOFILE".
process.define_recorded("prlimit", function(r, p, pid, resource, new)
  local number = r.sys:const(resource, "RLIMIT_", "prlimit")
  local old_at, new_at = r:scratch(16), 0
  local function put(value, default)
    if value == nil then value = default end
    if type(value) ~= "number" or value < 0 then
      error(errors.new(p, "prlimit", { pid, resource }, "a limit is a number from 0 on, or math.huge for none"), 0)
    end
    return value == math.huge and INFINITY or ffi.new("uint64_t", value)
  end
  if new then
    if type(new) ~= "table" or not (new.soft or new.hard) then
      error(errors.new(p, "prlimit", { pid, resource }, "new limits are { soft =, hard = }"), 0)
    end
    local both = ffi.new("uint64_t[2]", put(new.soft, new.hard), put(new.hard, new.soft))
    new_at = r:bytes(ffi.string(both, 16))
  end
  local ref = r:call("prlimit64", { as = "prlimit" }, pid and pids.near(pid, p, "prlimit") or 0, number, new_at, old_at)
  local data = r:fetch_of(ref, old_at, 16)
  return function(r_)
    local words = ffi.new "uint64_t[2]"
    ffi.copy(words, r_:data(data), 16)
    local function get(word) return word == INFINITY and math.huge or tonumber(word) end
    return { soft = get(words[0]), hard = get(words[1]) }
  end, ref
end)

--- p:getpriority(which, who): the nice value, -20 to 19; see getpriority(2). which: "PRIO_PROCESS" (default).
process.define_recorded("getpriority", function(r, p, which, who)
  local number = r.sys:const(which or "PRIO_PROCESS", "PRIO_", "getpriority")
  local ref = r:call("getpriority", nil, number, who and pids.near(who, p, "getpriority") or 0)
  return function(r_) return 20 - r_:result(ref) end, ref -- the kernel's answer is never negative
end)

--- p:setpriority(which, who, nice): see setpriority(2).
process.define_recorded("setpriority", function(r, p, which, who, nice)
  local number = r.sys:const(which, "PRIO_", "setpriority")
  return number_of(r:call("setpriority", nil, number, pids.near(who or 0, p, "setpriority"), nice))
end)

-- ---- CPUs ----

local CPU_BYTES = 1024 -- 8192 CPUs, the most that the kernel can have

--- p:sched_getaffinity(pid): the CPUs that the process may run on, as a list of numbers from 0; see sched_getaffinity(2).
process.define_recorded("sched_getaffinity", function(r, p, pid)
  local at = r:scratch(CPU_BYTES)
  local ref = r:call("sched_getaffinity", nil, pid and pids.near(pid, p, "sched_getaffinity") or 0, CPU_BYTES, at)
  local data = r:fetch_of(ref, at, CPU_BYTES)
  return function(r_)
    local list, bytes = {}, r_:data(data)
    for i = 0, math.min(r_:result(ref), #bytes) * 8 - 1 do
      if bit.band(bytes:byte(math.floor(i / 8) + 1), bit.lshift(1, i % 8)) ~= 0 then list[#list + 1] = i end
    end
    return list
  end, ref
end)

--- p:sched_setaffinity(pid, cpus): see sched_setaffinity(2). cpus: a list of numbers from 0.
process.define_recorded("sched_setaffinity", function(r, p, pid, cpus)
  if type(cpus) ~= "table" then error(errors.new(p, "sched_setaffinity", { pid, cpus }, "a list of CPUs was expected"), 0) end
  local set = ffi.new("uint8_t[?]", CPU_BYTES)
  for _, cpu in ipairs(cpus) do
    if type(cpu) ~= "number" or cpu < 0 or cpu >= CPU_BYTES * 8 then
      error(errors.new(p, "sched_setaffinity", { pid, cpu }, "that is no CPU's number"), 0)
    end
    set[cpu / 8] = bit.bor(set[cpu / 8], bit.lshift(1, cpu % 8))
  end
  return number_of(r:call("sched_setaffinity", nil, pids.near(pid or 0, p, "sched_setaffinity"), CPU_BYTES, r:bytes(ffi.string(set, CPU_BYTES))))
end)
