--- What a persistent process has and no entry of its kept table names; and fds of others that it takes.

local children = require "afar.child"
local errors = require "afar.error"
local fds = require "afar.fd"
local kept = require "afar.kept"
local nursery = require "afar.nursery"
local process = require "afar.process"
local running = require "afar.running"

local PR_SET_PTRACER = 0x59616d61
local PIDFD = "anon_inode:[pidfd]"

---@class afar.Unclaimed
---@field fd? afar.Fd        an fd, with `target`: what /proc says that it is
---@field target? string
---@field child? afar.Child  a child, with `command`: its arguments, as far as they are known
---@field command? string

--- number -> what it is, of all fds of the process.
local function targets(p)
  local all = {}
  for _, name in ipairs(p:listdir "/proc/self/fd") do
    all[tonumber(name)] = nursery.try(p.readlink, p, "/proc/self/fd/" .. name)
  end
  return all
end

local function command_of(p, pid)
  local text = nursery.try(p.read_file, p, ("/proc/%d/cmdline"):format(pid))
  if not text or text == "" then return nil end
  return (text:gsub("%z$", ""):gsub("%z", " "))
end

local function child_pids(p)
  local pids = {}
  for pid in p:read_file("/proc/thread-self/children"):gmatch "%d+" do pids[#pids + 1] = tonumber(pid) end
  return pids
end

--- Those fds that are pidfds: pid -> number, of those that are nobody's.
local function pidfds_of(p, all, named)
  local numbers, found = {}, {}
  for number, target in pairs(all) do
    if target == PIDFD then
      numbers[number] = true
      local pid = not named[number] and not p.table.internal[number] and not p.table.handles[number] and kept.pid_of(p, number)
      if pid and pid > 0 then found[pid] = number end
    end
  end
  return found, numbers
end

local function known_children(p)
  local known = running.known(p)
  for pid, child in pairs(rawget(p, "kids") or {}) do
    if not child.status then known[pid] = true end
  end
  return known
end

--- p:unclaimed(): what the process has and no entry of p.kept names, nor this script holds: a list of { fd =, target = } and { child =, command = }, to be
--- given a name, or closed and killed. Its standard fds, which are /dev/null, are none of them.
---@return afar.Unclaimed[]
process.define("unclaimed", function(self)
  if not rawget(self, "kept") then error(errors.new(self, "unclaimed", {}, "it is not persistent"), 0) end
  local named, pids = kept.named(self)
  running.settle(self)
  local all = targets(self)
  local free, numbers = pidfds_of(self, all, named)
  local list, known = {}, known_children(self)
  for _, pid in ipairs(child_pids(self)) do
    if not pids[pid] and not known[pid] and not (self.front and self.front.pid == pid) then
      local pidfd = free[pid] or self:syscall("pidfd_open", pid, 0)
      local command = command_of(self, pid)
      list[#list + 1] = { child = children.adopt(self, pid, pidfd, { command }), command = command }
      free[pid] = nil
      named[pidfd] = true
    end
  end
  local sorted = {}
  for number in pairs(all) do sorted[#sorted + 1] = number end
  table.sort(sorted)
  for _, number in ipairs(sorted) do
    local standard = number <= 2 and all[number] == "/dev/null"
    if not (standard or named[number] or self.table.internal[number] or self.table.handles[number]) then
      local fd = fds.new(self, number, numbers[number] and "device" or all[number]:match "^(%a+):%[" or nil)
      fd.state.kept = true -- nobody loses it by looking
      list[#list + 1] = { fd = fd, target = all[number] }
    end
  end
  return list
end)

--- p:take(fd): a copy, in this process, of an fd of another process on this machine; or, of a child of another process, its pidfd. See pidfd_getfd(2).
---@param what afar.Fd|afar.Child
---@return afar.Fd
process.define("take", function(self, what)
  local is_child = getmetatable(what) == children.Child
  local owner = is_child and what.parent or getmetatable(what) == fds.Fd and fds.process_of(what)
  if not owner then error(errors.new(self, "take", { what }, "an fd or a child was expected"), 0) end
  local number = is_child and what.pidfd or fds.near(what, owner, "take")
  if owner.machine.hello.boot_id ~= self.machine.hello.boot_id then
    error(errors.new(self, "take", { what }, "it is on another machine"), 0)
  end
  pcall(owner.syscall, owner, "prctl", PR_SET_PTRACER, self.pid, 0, 0, 0)
  local pidfd = self:pidfd_open(owner.pid)
  local ok, copy = pcall(self.syscall, self, "pidfd_getfd", pidfd, number, 0)
  pidfd:close()
  pcall(owner.syscall, owner, "prctl", PR_SET_PTRACER, 0, 0, 0, 0)
  if not ok then error(copy, 0) end
  return fds.new(self, copy, is_child and "device" or what.kind)
end)
