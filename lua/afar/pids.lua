--- Pids as arguments: a process or a child stands for its pid, as another process sees it.

local children = require "afar.child"
local errors = require "afar.error"
local process = require "afar.process"

local pids = {}

--- What identifies the pid namespace of a process or of a child.
function pids.space(target)
  if getmetatable(target) == children.Child then return pids.space(target.parent) end
  return rawget(target, "pids") or target.machine
end

local function fail(caller, call, target, why) error(errors.new(caller, call, { target }, why), 0) end

--- The pid of `target` as `caller` sees it. Raises where that isn't known: on another machine, or from outside its namespace.
---@param target afar.Process|afar.Child|integer
---@param caller afar.Process
---@param call string  for the error
---@return integer
function pids.near(target, caller, call)
  if type(target) == "number" then return target end
  local mt = getmetatable(target)
  local is_child = mt == children.Child
  if not is_child and mt ~= process.Process then
    fail(caller, call, target, ("a process, a child or a pid was expected, not %s"):format(type(target)))
  end
  local machine = is_child and target.parent.machine or target.machine
  if machine ~= caller.machine then fail(caller, call, target, ("it is on %s"):format(machine.name)) end
  if is_child and target.status then fail(caller, call, target, "it has ended, and its pid may be another's") end
  if pids.space(target) == pids.space(caller) then return target.pid end
  if not is_child and target.child and pids.space(target.parent) == pids.space(caller) then return target.child.pid end
  fail(caller, call, target, "it is in a pid namespace that this process doesn't see by number")
end

children.Child.near = function(self, caller) return pids.near(self, caller, "pid") end
process.Process.near = function(self, caller) return pids.near(self, caller, "pid") end

return pids
