--- Signals: masks, dispositions, sending with values, and a sequence of those that come.

local bit = require "bit"
local ffi = require "ffi"
local children = require "afar.child"
local errors = require "afar.error"
local fds = require "afar.fd"
local io = require "afar.io"
local loop = require "afar.loop"
local pids = require "afar.pids"
local process = require "afar.process"
local sched = require "afar.sched"

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
  local data = r:fetch_of(ref, old, 8)
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
  local data = r:fetch_of(ref, old, 32)
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

--- p:signalfd(set, flags, fd): an fd from which the signals of the set, which should be blocked, are read; see signalfd(2). Close-on-exec. With `fd`, one
--- that it gave before: from now on that one gives the set.
---@return afar.Fd
process.define_recorded("signalfd", function(r, p, set, flags, fd)
  local C = r.sys.C
  local number = tonumber(bit.bor(tonumber(r.sys:const(flags, "SFD_", "signalfd")), C.SFD_CLOEXEC))
  local old = fd and fds.near(fd, p, "signalfd") or -1
  local ref = r:call("signalfd4", { as = "signalfd" }, old, r:bytes(encode(r.sys, set, "signalfd")), 8, number)
  return function(r_) return fd or fds.new(r_.process, r_:result(ref), "device") end, ref
end)

local function decode_info(sys, bytes)
  local info = ffi.new(sys.ctype.signalfd_siginfo)
  ffi.copy(info, bytes, RECORD)
  return {
    signal = signals.name(sys, info.ssi_signo), number = info.ssi_signo, code = info.ssi_code, pid = info.ssi_pid, uid = info.ssi_uid,
    status = info.ssi_status, value = info.ssi_int, pointer = info.ssi_ptr, fd = info.ssi_fd, overrun = info.ssi_overrun, band = info.ssi_band,
  }
end

-- All sequences of a process read from one signalfd, since a signal is read once: whoever waits reads for all, one at a time. So each gets
-- every signal of its set, in order: a child's end, say, both p:signals "SIGCHLD" of a script and our own child:wait{ stopped = true }.

---@class afar.Signals
local Signals = { __name = "signals" }
Signals.__index = Signals

local function new_source(p)
  local source = { process = p, all = setmetatable({}, { __mode = "k" }), sleepers = {}, ours = {} }
  rawset(p, "signal_source", setmetatable({ source }, { __mode = "v" })) -- it lives as long as its sequences
  return source
end

local function source_of(p)
  local weak = rawget(p, "signal_source")
  return weak and weak[1] or new_source(p)
end

--- What all sequences want.
local function wanted(source)
  local set = {}
  for one in pairs(source.all) do
    for signal in pairs(one.set) do set[signal] = true end
  end
  return set
end

local function wake(source)
  for id in pairs(source.sleepers) do loop.complete(id) end
end

local function sleep(source)
  local id = loop.id()
  source.sleepers[id] = true
  local ok, err = pcall(sched.wait, id, function() return true end)
  source.sleepers[id] = nil
  if not ok then error(err, 0) end
end

--- Puts a record where it is wanted. As in the kernel, one of each signal waits to be read, but of real-time signals all do.
local function deliver(source, info)
  local coalesced = info.number < source.process.machine.sys.C.SIGRTMIN
  for one in pairs(source.all) do
    if one.set[info.signal] and not (coalesced and one.unread[info.signal]) then
      one.unread[info.signal] = true
      one.last = one.last + 1
      one.queue[one.last] = info
    end
  end
end

--- Reads once for all; others wait for what comes of it.
local function read(source)
  source.reading = true
  local ok, done, bytes = pcall(io.attempt, fds.recorded.read, source.fd, RECORD * AT_ONCE)
  source.reading = false
  if ok and done then
    for at = 0, #bytes - RECORD, RECORD do
      deliver(source, decode_info(source.process.machine.sys, bytes:sub(at + 1, at + RECORD)))
    end
  end
  wake(source)
  sched.check()
  if not ok and not errors.is(done, "ECANCELED") then error(done, 0) end -- cut short: a sequence was closed
end

--- The next signal that comes: { signal = "SIGUSR1", pid =, uid =, value =, status = ... }. Waits without blocking the process.
function Signals:next()
  local source = self.source
  while self.first > self.last do
    if not source.all[self] then error(errors.new(source.process, "next", { self }, "the sequence was closed", { name = "EBADF" }), 0) end
    if source.reading then sleep(source) else read(source) end
  end
  local info = self.queue[self.first]
  self.queue[self.first], self.unread[info.signal] = nil, nil
  self.first = self.first + 1
  return info
end

Signals.__call = Signals.next

--- Ends who reads: to look whether its sequence is still there.
local function interrupt(source)
  wake(source)
  source.process.table:end_holds(source.fd.number)
end

--- Ends it. What was not blocked before is unblocked, unless another sequence of the process wants it: what comes after does what its disposition says.
function Signals:close()
  local source = self.source
  if not source.all[self] then return end
  source.all[self] = nil
  local unblock, left = {}, wanted(source)
  for signal in pairs(self.set) do
    if source.ours[signal] and not left[signal] then unblock[signal], source.ours[signal] = true, nil end
  end
  interrupt(source)
  if not source.process:is_alive() then return end
  -- All at once: who opens a sequence meanwhile comes after this.
  source.process:chain(function(c)
    if next(left) then c:signalfd(left, nil, source.fd) end
    if next(unblock) then c:sigprocmask("SIG_UNBLOCK", unblock) end
  end)
  if next(source.all) or not source.fd then return end
  source.fd:close()
  source.fd = nil
end

--- Has the source's fd give what is wanted now; one at a time. Returns the mask as it was.
local function subscribe(source, set)
  while source.opening do sleep(source) end
  source.opening = true
  local ok, before, fd = pcall(source.process.chain, source.process, function(c)
    return c:sigprocmask("SIG_BLOCK", set), c:signalfd(wanted(source), "SFD_NONBLOCK", source.fd)
  end)
  source.opening = false
  wake(source)
  if not ok then error(before, 0) end
  source.fd = fd
  return before
end

--- p:signals{ "SIGUSR1", ... }: the signals of the set that come to this process, from now on: they are blocked, and read from a signalfd.
---   for info in p:signals{ "SIGUSR1" } do print(info.signal, info.pid) end
--- s:next() gives one, s:close() ends it. Each of several sequences gets every signal of its set. See signalfd(2).
---@return afar.Signals
process.define("signals", function(self, set)
  local sys = self.machine.sys
  if set == nil or (type(set) == "table" and next(set) == nil) then
    error(errors.new(self, "signals", {}, "which signals? For instance { \"SIGUSR1\" }"), 0)
  end
  local source = source_of(self)
  local one = setmetatable({ source = source, set = decode(sys, encode(sys, set, "signals")), queue = {}, unread = {}, first = 1, last = 0 }, Signals)
  source.all[one] = true
  local ok, before = pcall(subscribe, source, one.set)
  if not ok then
    source.all[one] = nil
    error(before, 0)
  end
  for signal in pairs(one.set) do
    if not before[signal] then source.ours[signal] = true end
  end
  return one
end)

return signals
