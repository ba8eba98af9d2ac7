--- Signals: masks, dispositions, sending with values, and a sequence of those that come.

local bit = require "bit"
local ffi = require "ffi"
local children = require "afar.child"
local errors = require "afar.error"
local fds = require "afar.fd"
local pids = require "afar.pids"
local process = require "afar.process"

local signals = {}

local SIGINFO, RECORD = 128, 128 -- bytes of a siginfo and of a signalfd_siginfo
local AT_ONCE = 16
local SIG_BLOCK = 0

local function number_of(ref) return function(r) return r:result(ref) end, ref end

-- ---- sets ----

--- The number of one signal: "SIGUSR1", "SIGRTMIN+3", or a number.
function signals.number(sys, signal, call)
  local base, more = tostring(signal):match "^(%a+)%+(%d+)$"
  local number = base and sys:const(base, "SIG", call) + tonumber(more) or sys:const(signal, "SIG", call)
  if number < 0 or number > 64 or number % 1 ~= 0 then error(("%s: %s is no signal"):format(call, tostring(signal)), 0) end
  return number
end

--- "SIGUSR1" ...; "SIGRTMIN+3".
function signals.name(sys, number)
  local min = sys.C.SIGRTMIN
  if number > min and number <= 64 then return ("SIGRTMIN+%d"):format(number - min) end
  for name, value in pairs(sys.C) do
    if value == number and name:find "^SIG%u[%u%d]*$" and name ~= "SIGIOT" and name ~= "SIGPOLL" and name ~= "SIGUNUSED" then return name end
  end
  return ("signal %d"):format(number)
end

--- A set as the kernel has it. From a name, a list of names, or a set: { SIGUSR1 = true }.
local function encode(sys, set, call)
  local mask = ffi.new("uint64_t", 0)
  local function add(signal)
    local number = signals.number(sys, signal, call)
    if number == 0 then error(call .. ": 0 is in no set of signals", 0) end
    mask = bit.bor(mask, bit.lshift(ffi.new("uint64_t", 1), number - 1))
  end
  if type(set) ~= "table" then set = { set } end
  for key, value in pairs(set) do
    if type(key) == "number" then add(value) elseif value then add(key) end
  end
  return ffi.string(ffi.new("uint64_t[1]", mask), 8)
end

local function decode(sys, bytes)
  local set, word = {}, ffi.new "uint64_t[1]"
  ffi.copy(word, bytes, 8)
  for number = 1, 64 do
    if bit.band(word[0], bit.lshift(ffi.new("uint64_t", 1), number - 1)) ~= 0 then set[signals.name(sys, number)] = true end
  end
  return set
end

-- ---- masks and dispositions ----

--- p:sigprocmask(how, set): changes which signals are blocked; returns the set as it was, { SIGINT = true ... }; see sigprocmask(2). how: "SIG_BLOCK",
--- "SIG_UNBLOCK", "SIG_SETMASK"; set: a signal, a list, or such a set. Both may be missing. A signal that is not blocked ends the process, as it would
--- any other; what a terminal sends is blocked from the start. What is executed gets the mask that its root was started with.
process.define_recorded("sigprocmask", function(r, _, how, set)
  local old = r:scratch(8)
  local number = how and r.sys:const(how, "SIG_", "sigprocmask") or SIG_BLOCK
  local new = set ~= nil and r:bytes(encode(r.sys, set, "sigprocmask")) or 0
  local ref = r:call("rt_sigprocmask", { as = "sigprocmask" }, number, new, old, 8)
  local data = r:fetch(old, 8, { if_ok = ref, aside = true })
  return function(r_) return decode(r_.sys, r_:data(data)) end, ref
end)

local HANDLERS = { SIG_DFL = 0, SIG_IGN = 1 }

local function encode_action(r, action)
  if type(action) ~= "table" then action = { handler = action } end
  local handler = HANDLERS[action.handler]
  if not handler then
    local message = 'a process far away runs no handlers: "SIG_DFL" or "SIG_IGN" was expected'
    error(errors.new(r.process, "sigaction", { action.handler }, message, { hint = "p:signals{...}" }), 0)
  end
  local value = ffi.new(r.sys.ctype.sigaction)
  value.sa_handler, value.sa_flags = handler, r.sys:const(action.flags, "SA_", "sigaction")
  ffi.copy(ffi.cast("char *", value) + ffi.offsetof(value, "sa_mask"), encode(r.sys, action.mask or {}, "sigaction"), 8)
  return r:bytes(ffi.string(value, ffi.sizeof(value)))
end

local function decode_action(sys, bytes)
  local value = ffi.new(sys.ctype.sigaction)
  ffi.copy(value, bytes, ffi.sizeof(value))
  local handler = tonumber(value.sa_handler)
  return {
    handler = handler == 0 and "SIG_DFL" or handler == 1 and "SIG_IGN" or handler,
    flags = tonumber(value.sa_flags),
    mask = decode(sys, ffi.string(ffi.cast("char *", value) + ffi.offsetof(value, "sa_mask"), 8)),
    restorer = tonumber(value.sa_restorer),
  }
end

--- p:sigaction(signal, action): what a signal does; returns { handler =, flags =, mask =, restorer = } as it was; see sigaction(2).
--- action: "SIG_DFL", "SIG_IGN" or { handler =, flags = "SA_NOCLDWAIT", mask = { ... } }; missing: nothing changes.
process.define_recorded("sigaction", function(r, _, signal, action)
  local old = r:scratch(32)
  local new = action ~= nil and encode_action(r, action) or 0
  local ref = r:call("rt_sigaction", { as = "sigaction" }, signals.number(r.sys, signal, "sigaction"), new, old, 8)
  local data = r:fetch(old, 32, { if_ok = ref, aside = true })
  return function(r_) return decode_action(r_.sys, r_:data(data)) end, ref
end)

-- ---- sending ----

--- p:kill(pid, signal): see kill(2). pid: a process, a child, or a number (0, -1, -pgid as there). signal: "SIGTERM" (default) or a number.
process.define_recorded("kill", function(r, p, pid, signal)
  return number_of(r:call("kill", nil, pids.near(pid, p, "kill"), signals.number(r.sys, signal or "SIGTERM", "kill")))
end)

--- A siginfo of SI_QUEUE.
local function queued(p, number, value, pid)
  local info = ffi.new(p.machine.sys.ctype.siginfo)
  info.si_signo, info.si_code, info.si_pid = number, p.machine.sys.C.SI_QUEUE, pid or p.pid or 0
  info.si_value = ffi.new("uint64_t", value or 0)
  return ffi.string(info, SIGINFO)
end

local function check_value(p, call, value)
  if value == nil or (type(value) == "number" and value % 1 == 0) or type(value) == "cdata" then return end
  error(errors.new(p, call, { value }, "a signal's value is a whole number"), 0)
end

--- p:rt_sigqueueinfo(pid, signal, value): sends a signal with a value, which is `value` of what p:signals gives; see rt_sigqueueinfo(2).
process.define_recorded("rt_sigqueueinfo", function(r, p, pid, signal, value)
  check_value(p, "rt_sigqueueinfo", value)
  local number = signals.number(r.sys, signal, "rt_sigqueueinfo")
  return number_of(r:call("rt_sigqueueinfo", nil, pids.near(pid, p, "rt_sigqueueinfo"), number, r:bytes(queued(p, number, value))))
end)

--- p:pidfd_send_signal(pidfd, signal, value): as kill, to whom the pidfd is of; with a value as by rt_sigqueueinfo; see pidfd_send_signal(2).
--- pidfd: an fd, or a child of this process.
process.define_recorded("pidfd_send_signal", function(r, p, pidfd, signal, value)
  check_value(p, "pidfd_send_signal", value)
  local is_child = getmetatable(pidfd) == children.Child
  if is_child and pidfd.parent.table ~= p.table then
    error(errors.new(p, "pidfd_send_signal", { pidfd }, "it is no child of this process"), 0)
  end
  local number = signals.number(r.sys, signal, "pidfd_send_signal")
  local info = value ~= nil and r:bytes(queued(p, number, value)) or 0
  return number_of(r:call("pidfd_send_signal", nil, is_child and pidfd.pidfd or fds.near(pidfd, p, "pidfd_send_signal"), number, info, 0))
end)

-- ---- receiving ----

--- p:signalfd(set, flags): an fd from which the signals of the set, which should be blocked, are read; see signalfd(2). Close-on-exec.
---@return afar.Fd
process.define_recorded("signalfd", function(r, _, set, flags)
  local C = r.sys.C
  local number = tonumber(bit.bor(tonumber(r.sys:const(flags, "SFD_", "signalfd")), C.SFD_CLOEXEC))
  local ref = r:call("signalfd4", { as = "signalfd" }, -1, r:bytes(encode(r.sys, set, "signalfd")), 8, number)
  return function(r_) return fds.new(r_.process, r_:result(ref), "device") end, ref
end)

local function decode_info(sys, bytes)
  local info = ffi.new(sys.ctype.signalfd_siginfo)
  ffi.copy(info, bytes, RECORD)
  return {
    signal = signals.name(sys, info.ssi_signo), number = info.ssi_signo, code = info.ssi_code, pid = info.ssi_pid, uid = info.ssi_uid,
    status = info.ssi_status, value = info.ssi_int, pointer = info.ssi_ptr, fd = info.ssi_fd, overrun = info.ssi_overrun, band = info.ssi_band,
  }
end

---@class afar.Signals
---@field fd afar.Fd   from which they are read
local Signals = { __name = "signals" }
Signals.__index = Signals

--- The next signal that comes: { signal = "SIGUSR1", pid =, uid =, value =, status = ... }. Waits without blocking the process.
function Signals:next()
  if self.at >= #self.bytes then
    self.bytes, self.at = self.fd:read(RECORD * AT_ONCE), 0
  end
  local info = decode_info(self.process.machine.sys, self.bytes:sub(self.at + 1, self.at + RECORD))
  self.at = self.at + RECORD
  return info
end

Signals.__call = Signals.next

--- Ends it. What was not blocked before is unblocked: what comes after does what its disposition says.
function Signals:close()
  if self.fd.state.closed then return end
  local set = {}
  for signal in pairs(self.set) do
    if not self.before[signal] then set[signal] = true end
  end
  self.fd:close()
  if self.process:is_alive() and next(set) then self.process:sigprocmask("SIG_UNBLOCK", set) end
end

--- p:signals{ "SIGUSR1", ... }: the signals of the set that come to this process, from now on: they are blocked, and read from a signalfd.
---   for info in p:signals{ "SIGUSR1" } do print(info.signal, info.pid) end
--- s:next() gives one, s:close() ends it. See signalfd(2).
---@return afar.Signals
process.define("signals", function(self, set)
  local sys = self.machine.sys
  local bytes = encode(sys, set, "signals")
  local before, fd = self:chain(function(c) return c:sigprocmask("SIG_BLOCK", set), c:signalfd(set) end)
  return setmetatable({ process = self, fd = fd, set = decode(sys, bytes), before = before, bytes = "", at = 0 }, Signals)
end)

return signals
