--- pidfd_open(2): a process that is no child of ours, as an fd; and how it has ended, where the kernel says it.

local ffi = require "ffi"

local children = require "afar.child"
local errors = require "afar.error"
local fds = require "afar.fd"
local process = require "afar.process"
local requests = require "afar.requests"

local HINT = "Linux 6.15 and newer know it; its parent always does"

--- p:pidfd_open(pid, flags): an fd for a process, which p sees as `pid`; see pidfd_open(2). fd:wait() waits for its end. Close-on-exec.
---@param pid integer
---@return afar.Fd
process.define_recorded("pidfd_open", function(r, _, pid, flags)
  local ref = r:call("pidfd_open", nil, pid, r.sys:const(flags, "PIDFD_", "pidfd_open"))
  return function(r_) return fds.new(r_.process, r_:result(ref), "device") end, ref
end)

--- What PIDFD_GET_INFO says of the end of the process: its status; nil: nothing, or the kernel's error.
local function ask(p, number)
  local C = p.machine.sys.C
  local info = ffi.new(p.machine.sys.ctype.pidfd_info)
  local size = ffi.sizeof(info)
  info.mask = C.PIDFD_INFO_EXIT
  local r = requests.record(p)
  local at = r:bytes(ffi.string(info, size))
  local asked = r:call("ioctl", { may_fail = true }, number, C.PIDFD_GET_INFO, at)
  local data = r:fetch(at, size, { if_ok = asked, may_fail = true })
  r:run()
  if r:result(asked) < 0 then return nil, -r:result(asked) end
  ffi.copy(info, r:data(data), size)
  if math.floor(tonumber(info.mask) / C.PIDFD_INFO_EXIT) % 2 == 0 then return nil end
  return children.status_of_number(p.machine, info.exit_code)
end

--- Whether the kernel keeps how a process has ended for whoever has a pidfd: found out by a process that ends for it.
local function is_kept(p)
  local facts = p.machine.hello
  if rawget(facts, "keeps_exit") == nil then
    local trial = p:fork()
    local ok, pidfd = pcall(p.pidfd_open, p, trial.child.pid)
    trial:exit(0)
    if not ok then error(pidfd, 0) end
    facts.keeps_exit = ask(p, pidfd.number) ~= nil
    pidfd:close()
  end
  return facts.keeps_exit
end

--- fd:exit_status(): how the process of a pidfd has ended, though it be no child of this one: waits until its parent has awaited it, and only then is
--- it known. An error where the kernel doesn't keep it (PIDFD_INFO_EXIT, Linux 6.15). See ioctl_pidfd(2).
---@return afar.Status
fds.define("exit_status", function(self)
  local p = fds.process_of(self)
  local number = fds.near(self, p, "exit_status")
  local status, errno = ask(p, number)
  if status then return status end
  local C = p.machine.sys.C
  if errno and errno ~= C.ESRCH and errno ~= C.ENOTTY then error(errors.errno(p, "exit_status", { self }, errno), 0) end
  if not is_kept(p) then
    error(errors.new(p, "exit_status", { self }, "this kernel doesn't tell how a process has ended that is no child", { name = "EOPNOTSUPP", hint = HINT }), 0)
  end
  if errno == C.ENOTTY then error(errors.new(p, "exit_status", { self }, "it is no pidfd", { name = "EINVAL" }), 0) end
  while not status do
    self:wait "POLLHUP"
    status = ask(p, number)
  end
  return status
end)
