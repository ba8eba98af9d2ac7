--- Process groups, sessions, controlling terminals: who gets what a terminal sends. See credentials(7), setpgid(2), setsid(2), tcsetpgrp(3).

local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local pids = require "afar.pids"
local pointer = require "afar.pointer"
local process = require "afar.process"

errors.explain("setsid", { EPERM = "it leads a process group already; a fork of it does not" })
errors.explain("setpgid", {
  EACCES = "that child has executed something already: its group is set before",
  EPERM = "a session's leader stays in its group, and the group must be one of the same session",
  ESRCH = "only its own group, and that of its children, can be set",
})
errors.explain("tcgetpgrp", { ENOTTY = "it is not the controlling terminal of this process" })
errors.explain("tcgetsid", { ENOTTY = "it is not the controlling terminal of this process" })
errors.explain("tcsetpgrp", {
  ENOTTY = "it is not the controlling terminal of this process",
  EPERM = "there is no such group in the terminal's session",
  ESRCH = "there is no such group in the terminal's session",
})

--- The pid of `value`, 0 for nil.
local function pid_of(r, value, call)
  if value == nil then return 0 end
  local argument = requests.argument(value)
  if argument then return argument end
  local pid = pids.near(value, r.process, call)
  if pid < 0 or pid % 1 ~= 0 or pid >= 2 ^ 31 then
    error(errors.new(r.process, call, r.args, ("%s is no pid"):format(pid)), 0)
  end
  return pid
end

local function number_of(ref) return function(r) return r:result(ref) end, ref end

--- p:setsid(): the process leads a session of its own, which has no terminal, and a group of its own; returns the session's number. See setsid(2).
---@return integer
process.define_recorded("setsid", function(r) return number_of(r:call "setsid") end)

--- p:setpgid(pid, pgid): puts the process (pid nil or 0) or one of its children, before that has executed anything, into a process group: the one whose number
--- pgid is, or which that process leads; one of its own where pgid is nil or 0. See setpgid(2).
---@param pid? afar.Process|afar.Child|integer
---@param pgid? afar.Process|afar.Child|integer
process.define_recorded("setpgid", function(r, _, pid, pgid)
  return number_of(r:call("setpgid", nil, pid_of(r, pid, "setpgid"), pid_of(r, pgid, "setpgid")))
end)

--- p:getpgid(pid): the process group of the process, or of another; see getpgid(2).
---@param pid? afar.Process|afar.Child|integer
---@return integer
process.define_recorded("getpgid", function(r, _, pid) return number_of(r:call("getpgid", nil, pid_of(r, pid, "getpgid"))) end)

--- p:getsid(pid): the session of the process, or of another; see getsid(2).
---@param pid? afar.Process|afar.Child|integer
---@return integer
process.define_recorded("getsid", function(r, _, pid) return number_of(r:call("getsid", nil, pid_of(r, pid, "getsid"))) end)

-- ---- terminals ----

local function u32(bytes)
  local a, b, c, d = bytes:byte(1, 4)
  return a + b * 2 ^ 8 + c * 2 ^ 16 + d * 2 ^ 24
end

local function record_get(name, request)
  fds.define_recorded(name, function(r, fd)
    local at = r:scratch(4)
    local ref = r:call("ioctl", { as = name }, fds.near(fd, r.process, name), r.sys.C[request], at)
    local data = r:fetch_of(ref, at, 4)
    return function(r_) return u32(r_:data(data)) end, ref
  end)
end

--- fd:tcgetpgrp(): the process group in the foreground of the terminal; see tcgetpgrp(3).
record_get("tcgetpgrp", "TIOCGPGRP")

--- fd:tcgetsid(): the session whose controlling terminal it is; see tcgetsid(3).
record_get("tcgetsid", "TIOCGSID")

local function u32_bytes(number)
  return string.char(number % 2 ^ 8, math.floor(number / 2 ^ 8) % 2 ^ 8, math.floor(number / 2 ^ 16) % 2 ^ 8, math.floor(number / 2 ^ 24))
end

--- fd:tcsetpgrp(pgid): puts a group of the terminal's session into its foreground: what is typed is read by it, and Ctrl-C goes to it. See tcsetpgrp(3).
---@param pgid afar.Process|afar.Child|integer  the group's number, or who leads it
fds.define_recorded("tcsetpgrp", function(r, fd, pgid)
  local number = pids.near(pgid, r.process, "tcsetpgrp")
  if number <= 0 or number % 1 ~= 0 or number >= 2 ^ 31 then
    error(errors.new(r.process, "tcsetpgrp", r.args, ("%s is no process group"):format(number)), 0)
  end
  return number_of(r:call("ioctl", { as = "tcsetpgrp" }, fds.near(fd, r.process, "tcsetpgrp"), r.sys.C.TIOCSPGRP, r:bytes(u32_bytes(number))))
end)

-- ---- ioctl ----

--- fd:ioctl(request, argument): see ioctl(2). request: a name ("TIOCSCTTY", "TUNSETIFF") or a number; argument: a number, or a pointer.
---@param request string|integer
---@param argument? integer|afar.Pointer
---@return integer
fds.define_recorded("ioctl", function(r, fd, request, argument)
  local number = fds.near(fd, r.process, "ioctl")
  if type(argument) ~= "number" and argument ~= nil and not pointer.is(argument) and not requests.argument(argument) then
    local why = ("a number or a pointer was expected, not %s"):format(type(argument))
    error(errors.new(r.process, "ioctl", r.args, why, { hint = "p:ptr(value, type)" }), 0)
  end
  local value = pointer.is(argument) and argument:near(r.process, r) or argument or 0
  return number_of(r:call("ioctl", { as = "ioctl" }, number, r.sys:const(request, "", "ioctl"), value))
end)
