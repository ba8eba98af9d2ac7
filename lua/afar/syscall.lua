--- The plain system calls: any of them, by name or number, exactly as it is.

local colon = require "afar.colon"
local requests = require "afar.requests"
local errors = require "afar.error"
local nearest = require "afar.nearest"
local process = require "afar.process"
local sched = require "afar.sched"
local sibling = require "afar.sibling"

local FLUSH = 4 -- protocol.h, AFAR_FLUSH

--- An argument of a plain system call, as a number: numbers, fds, pointers, placeholders and results stay; strings are put in memory.
local function raw_argument(r, self, value)
  local t = type(value)
  if t == "string" then return r:string(value) end
  if t == "nil" then return 0 end
  local mt = getmetatable(value)
  if mt and mt.near then return mt.near(value, self, r) end
  return requests.argument(value) or value
end

--- Calls that never come back, or only when something else happens: what was answered before is sent first.
local may_block = {}
for name in
  ([[read write readv writev pread64 pwrite64 poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 wait4 waitid
  nanosleep clock_nanosleep futex futex_waitv accept accept4 connect recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg flock
  fcntl pause rt_sigsuspend rt_sigtimedwait fsync fdatasync sync syncfs execve execveat exit exit_group open openat openat2 splice tee
  vmsplice sendfile copy_file_range semop semtimedop msgrcv msgsnd mq_timedsend mq_timedreceive io_getevents io_uring_enter getrandom umount2
  preadv pwritev preadv2 pwritev2]]):gmatch "%S+"
do
  may_block[name] = true
end

--- What changes the process itself, or ends it, is never made by another in its place.
local stays = { execve = true, execveat = true, exit = true, exit_group = true, wait4 = true, waitid = true }

--- The kernel disarms the parent-death signal when credentials change: it is armed again at once.
local credentials = {}
for name in ("setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid capset"):gmatch "%S+" do
  credentials[name] = true
end

local PR_SET_PDEATHSIG, SIGKILL = 1, 9

local function rearm(r, changed)
  if r.process.child == nil or rawget(r.process, "session") then return end
  r:call("prctl", { if_ok = changed, aside = true, may_fail = true }, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
end

-- Parameters that are numbers, by the names that the kernel has for them: a string there would be taken for its address.
local numeric = {}
for name in
  ([[uid gid ruid euid suid rgid egid sgid user group fd fildes dfd olddfd newdfd oldfd newfd flags flag mode pid tgid sig which who niceval len
  length count offset whence cmd option prot addrlen addr_len backlog domain family protocol]]):gmatch "%S+"
do
  numeric[name] = true
end

--- Whether a number is one that the kernel can be given as it is: any other would be cut to what nobody meant.
local function fits(value) return value % 1 == 0 and value < 2 ^ 64 and value >= -2 ^ 63 end

local ID_MOST = 2 ^ 32 - 1

local function is_id(parameter) return parameter:find "^[ers]?[ug]id$" ~= nil or parameter == "user" or parameter == "group" end

local function check_numbers(r, self, call, args, count)
  for i = 1, count do
    local value = args[i]
    if type(value) == "number" and not fits(value) then
      error(errors.new(self, call, nil, ("argument %d is no whole number that fits into 64 bits: %s"):format(i, tostring(value))), 0)
    end
  end
  -- A user's number that is missing, or is cut to 32 bits, would be 0: root.
  for i, parameter in ipairs(not call:find "^get" and r.sys.signature[call] or {}) do
    local value, needed = args[i], is_id(parameter)
    if needed and value == nil then error(errors.new(self, call, nil, parameter .. " is missing"), 0) end
    if needed and type(value) == "number" and (value < -1 or value > ID_MOST) then
      error(errors.new(self, call, nil, ("%s can't be %.0f"):format(parameter, value)), 0)
    end
  end
end

--- A string where a number was meant, "nobody" as a uid, say, must not be put in memory.
local function check_strings(r, self, call, args)
  for i, parameter in ipairs(r.sys.signature[call] or {}) do
    if type(args[i]) == "string" and numeric[parameter] then
      local message = ("%s is a number there, not %q"):format(parameter, args[i])
      local hint = parameter:find "[ug]id$" and "p:getpwnam(name) and p:getgrnam(name) have those of a name" or "constants are in p.machine.sys.C"
      error(errors.new(self, call, nil, message, { hint = hint }), 0)
    end
  end
end

local function record_syscall(r, self, name, ...)
  local nr, shown = name, name
  if type(name) == "string" then
    nr = r.sys.nr[name]
    if not nr then
      local near = nearest(name, r.sys.nr)
      error(
        errors.new(self, "syscall", { name }, ("%s has no such system call%s"):format(
          r.sys.name,
          near and (" (did you mean %s?)"):format(near) or ""
        )),
        0
      )
    end
  elseif type(name) == "number" and name % 1 == 0 and name >= 0 and name < 2 ^ 16 then
    shown = r.sys.nr_name[name] or ("syscall %d"):format(name)
  else
    error(errors.new(self, "syscall", { name }, "the first argument is a system call's name or number"), 0)
  end
  local a = { ... }
  check_strings(r, self, shown, a)
  check_numbers(r, self, shown, a, select("#", ...))
  for i = 1, select("#", ...) do
    a[i] = raw_argument(r, self, a[i])
  end
  if self.is_root then sibling.check(self, shown, a) end
  if may_block[shown] and not stays[shown] then r:block() end
  local ref = r:call_number(nr, shown, may_block[shown], unpack(a, 1, 6))
  if credentials[shown] then rearm(r, ref) end
  return requests.number, ref
end

local function recorded_call(self, name, ...)
  local r = requests.record(self)
  r.args = { n = select("#", ...), ... } -- the error shows the call as its manpage does
  return process.finish(r, r:by(record_syscall, self, name, ...))
end

-- ---- numbers only: no chain, no memory ----

--- Whether it has a user's or group's number among its arguments.
local function takes_id(sys, name)
  if name:find "^get" then return false end
  for _, parameter in ipairs(sys.signature[name] or {}) do
    if is_id(parameter) then return true end
  end
  return false
end

local function is_simple(sys, name) return not credentials[name] and not sibling.refuses(name) and not takes_id(sys, name) end

local function is_number(value) return value == nil or (type(value) == "number" and fits(value)) end

local function numbers_only(a, b, c, d, e, f)
  return is_number(a) and is_number(b) and is_number(c) and is_number(d) and is_number(e) and is_number(f)
end

local function lost(self, name, fate, ...) error(errors.lost(self, name, { n = select("#", ...), ... }, fate), 0) end

local function check(self, name, result, ...)
  if requests.hook then requests.hook.call(self, name, { n = select("#", ...), ... }, result) end
  if result < 0 and result >= -4095 then error(errors.errno(self, name, { n = select("#", ...), ... }, -result), 0) end
  return result
end

--- The answer of a call that was sent, or could not be.
local function await(self, name, id, ...)
  if not id then lost(self, name, "unsent", ...) end
  local result, fate = sched.wait(id)
  if fate then lost(self, name, fate, ...) end
  return check(self, name, result, ...)
end

--- By architecture, for roots and for all others: name -> what task:call() takes, or false: it needs a chain.
local heads = {}

local function heads_of(machine, is_root)
  local sys = machine.sys -- and not the machine, which would stay as long as this
  local key = sys.name .. (is_root and " root" or "")
  if not heads[key] then
    heads[key] = setmetatable({}, {
      __index = function(list, name)
        if type(name) ~= "string" then return false end
        local nr, blocks = sys.nr[name], may_block[name]
        local head = nr and is_simple(sys, name) and not (blocks and is_root) and nr + (blocks and FLUSH * 2 ^ 16 or 0)
        list[name] = head or false
        return head
      end,
    })
  end
  return heads[key]
end

local function head_of(self, name)
  local own = rawget(self, "heads")
  if not own then
    own = heads_of(self.machine, self.is_root)
    rawset(self, "heads", own)
  end
  return name ~= nil and own[name]
end

--- Within chains: as record_syscall, but without garbage where all arguments are numbers.
local function record_call(r, p, name, ...)
  local head = head_of(p, name)
  if not head or may_block[name] or not numbers_only(...) then return record_syscall(r, p, name, ...) end
  return requests.number, r:call_number(head, name, false, ...)
end

function process.record_raw(name)
  return function(r, p, ...) return record_call(r, p, name, ...) end
end

--- p:syscall(name_or_number, ...): any system call, as it is. Arguments: numbers, strings (put in memory, NUL-terminated),
--- fds and pointers of this process. Returns the kernel's result as a number; raises its error.
local function syscall(self, name, ...)
  local head = head_of(self, name)
  if not head then return recorded_call(self, name, ...) end
  sched.check_pending()
  local result, id = self.task:call(sched.is_idle(), head, ...)
  if result then return check(self, name, result, ...) end
  if result == nil then return await(self, name, id, ...) end
  return recorded_call(self, name, ...)
end
process.define_recorded("syscall", record_call)
process.define("syscall", syscall)

--- p:tally(): how many system calls this process has made so far because a host asked for them, as it counts them itself.
---@return integer
process.define_recorded("tally", function(r)
  local ref = r:tally()
  return function(r_) return r_:result(ref) end, ref
end)

function process.raw(self, name)
  local sys = self.machine.sys
  if not sys.nr[name] then return nil end
  local method = sys.methods[name]
  if not method then
    method = function(p, ...)
      if getmetatable(p) ~= process.Process then colon("a process", "p", name, p) end
      return syscall(p, name, ...)
    end
    sys.methods[name] = method
  end
  return method
end
