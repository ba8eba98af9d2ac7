--- Calls that may block are not made by a root itself, which serves all of its machine, but by a sibling: a process that shares its
--- memory, fds and working directory. Siblings are made when needed, kept, and used again.

local requests = require "afar.requests"
local errors = require "afar.error"

local sibling = {}

local SHARED = "CLONE_FILES|CLONE_FS"

--- These would see the sibling's own children and signals, not the root's.
local REFUSED = { wait4 = 3, waitid = 4, pause = 0, rt_sigsuspend = 0, rt_sigtimedwait = 0 }
local WNOHANG = 1

function sibling.refuses(name) return REFUSED[name] ~= nil end

--- Whether `name` may be made in a root at all; raises where it may not.
function sibling.check(root, name, args)
  local position = REFUSED[name]
  if not position then return end
  local options = position > 0 and args[position]
  if type(options) == "number" and options % 2 == WNOHANG then return end
  error(errors.new(root, name, nil, "it would block the root, which serves all of the machine", { hint = "child:wait(), or make it in a fork" }), 0)
end

local function free(root)
  for _, process in ipairs(root.siblings) do
    if process:is_alive() and process.task:in_flight() == 0 then return process end
  end
end

--- A sibling of `root` that nobody uses.
---@param root afar.Process
---@return afar.Process
function sibling.of(root)
  root.siblings = rawget(root, "siblings") or {}
  local process = free(root)
  if process then return process end
  local ok
  ok, process = pcall(root.clone, root, SHARED)
  if not ok then
    -- An emulator that shares nothing between processes: it makes the call itself.
    if not errors.is(process, "EINVAL") or root.machine.can_share then error(process, 0) end
    root.machine.plain_clone = true
    return root
  end
  root.siblings[#root.siblings + 1] = process
  return process
end

requests.blocking_process = function(process) return process.is_root and not process.machine.plain_clone and sibling.of(process) or process end

return sibling
