--- pidfd_open(2): a process that is no child of ours, as an fd.

local fds = require "afar.fd"
local process = require "afar.process"

--- p:pidfd_open(pid, flags): an fd for a process, which p sees as `pid`; see pidfd_open(2). fd:wait() waits for its end. Close-on-exec.
---@param pid integer
---@return afar.Fd
process.define_recorded("pidfd_open", function(r, _, pid, flags)
  local ref = r:call("pidfd_open", nil, pid, r.sys:const(flags, "PIDFD_", "pidfd_open"))
  return function(r_) return fds.new(r_.process, r_:result(ref), "device") end, ref
end)
