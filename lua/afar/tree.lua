--- The end of a child with all that it has started, surely.

local requests = require "afar.requests"
local children = require "afar.child"
local errors = require "afar.error"
local process = require "afar.process"
local running = require "afar.running"
local sched = require "afar.sched"

local tree = {}

local Child = children.Child
local P_PID, TRIES = 1, 200

-- ---- by /proc ----

--- pid -> { ppid, state } of all that the process sees.
local function table_of(p)
  local all = {}
  local pids = {}
  local dir = p:open("/proc", "O_RDONLY|O_DIRECTORY")
  repeat
    local entries = dir:getdents64()
    for _, entry in ipairs(entries) do
      if entry.d_name:find "^%d+$" then pids[#pids + 1] = entry.d_name end
    end
  until #entries == 0
  dir:close()
  for _, pid in ipairs(pids) do
    local ok, text = pcall(p.read_file, p, "/proc/" .. pid .. "/stat")
    local state, ppid = (ok and text or ""):match "^%d+ %(.*%) (%a) (%d+)"
    if state then all[tonumber(pid)] = { ppid = tonumber(ppid), state = state } end
  end
  return all
end

--- Whether `pid` descends from one of `members`; or is an orphan that came to `parent` and is none of its own children.
local function belongs(all, pid, members, parent, known)
  for _ = 1, 1000 do
    if members[pid] then return true end
    local entry = all[pid]
    if not entry or entry.ppid == 0 then return false end
    if entry.ppid == parent then return not known[pid] end
    pid = entry.ppid
  end
  return false
end

local function known_children(parent)
  running.settle(parent)
  local known = running.known(parent)
  for pid in pairs(rawget(parent, "kids") or {}) do known[pid] = true end
  return known
end

--- Stops all that descend from the child, until there are no more: who is stopped starts nothing new. Returns them.
local function stop_all(parent, child, adopts)
  local members, known = { [child.pid] = true }, known_children(parent)
  local own = adopts and parent.pid or -1
  for _ = 1, TRIES do
    local all, more = table_of(parent), false
    for pid, entry in pairs(all) do
      if not members[pid] and entry.state ~= "Z" and belongs(all, pid, members, own, known) then members[pid], more = true, true end
    end
    for pid in pairs(members) do
      if all[pid] and all[pid].state ~= "T" and all[pid].state ~= "Z" then pcall(parent.kill, parent, pid, "SIGSTOP") end
    end
    if not more then return members end
  end
  error(errors.new(parent, "kill_tree", { child }, "it starts more faster than that can be stopped"), 0)
end

--- Orphans that came to the parent as their subreaper are awaited there.
local function reap(parent, pid)
  local C = parent.machine.sys.C
  for _ = 1, TRIES do
    local r = requests.record(parent)
    local gone = r:call("waitid", { may_fail = true }, P_PID, pid, r:bytes(("\0"):rep(128)), C.WEXITED + C.WNOHANG, 0)
    local still = r:call("kill", { may_fail = true, always = true }, pid, 0)
    r:run()
    if r:result(gone) == -C.ECHILD or r:result(still) == -C.ESRCH then return end
    sched.sleep(0.005)
  end
end

local function by_hand(child)
  local parent = child.parent
  local adopts = parent:prctl "PR_GET_CHILD_SUBREAPER" == 1
  local before = adopts
  if not adopts then parent:prctl("PR_SET_CHILD_SUBREAPER", 1) end
  local members = stop_all(parent, child, before)
  for pid in pairs(members) do pcall(parent.kill, parent, pid, "SIGKILL") end
  child:wait()
  for pid in pairs(members) do
    if pid ~= child.pid then reap(parent, pid) end
  end
  if not before then parent:prctl("PR_SET_CHILD_SUBREAPER", 0) end
  return "subreaper"
end

-- ---- by what holds them together ----

local function by_cgroup(child)
  local cgroup = child.cgroup
  if not cgroup or cgroup.state.closed then return false end
  local killed = pcall(child.parent.chain, child.parent, function(c)
    local file = c:openat(cgroup, "cgroup.kill", "O_WRONLY")
    file:write "1"
    file:close()
  end)
  return killed and "cgroup"
end

local function by_init(child)
  if not child.is_init then return false end
  child:kill "SIGKILL"
  return "pid namespace"
end

--- child:kill_tree(): ends it and all that it has started, with SIGKILL, and waits for the child itself. By cgroup.kill when it was cloned with the option
--- cgroup = fd; by its pid namespace when it was cloned with CLONE_NEWPID: both are sure. Else all descendants are stopped, one after the other, until no
--- new ones come, then killed; orphans that had left the tree before are found only if its parent was a subreaper when they did:
--- p:prctl("PR_SET_CHILD_SUBREAPER", 1). Returns the status, and which way was taken.
---@return afar.Status, "cgroup"|"pid namespace"|"subreaper"
function Child:kill_tree()
  if self.status and not self.cgroup then return self.status, "pid namespace" end
  local way = by_cgroup(self) or by_init(self) or by_hand(self)
  return self:wait(), way
end

--- p:kill_tree(): the process itself and all below it, as child:kill_tree().
process.define("kill_tree", function(self)
  if not self.child then error(errors.new(self, "kill_tree", {}, "it is a root: it ends with its connection"), 0) end
  return self.child:kill_tree()
end)

return tree
