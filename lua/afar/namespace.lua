--- Leaving and joining namespaces: unshare, setns.

local cloneflags = require "afar.cloneflags"
local errors = require "afar.error"
local fds = require "afar.fd"
local pids = require "afar.pids"
local process = require "afar.process"
local tables = require "afar.tables"
local userns = require "afar.userns"

local has = cloneflags.has

--- Siblings share the working directory, and so could not follow.
local function end_siblings(p)
  for _, sibling in ipairs(rawget(p, "siblings") or {}) do
    if sibling:is_alive() then sibling:exit(0) end
  end
  if rawget(p, "siblings") then p.siblings = {} end
end

--- Changes of credentials disarm the parent-death signal.
local function arm(p)
  if p.child then p:prctl("PR_SET_PDEATHSIG", "SIGKILL") end
end

local UNSHARABLE = [[CLONE_FILES CLONE_FS CLONE_SYSVSEM CLONE_NEWCGROUP CLONE_NEWIPC CLONE_NEWNET CLONE_NEWNS CLONE_NEWPID
CLONE_NEWTIME CLONE_NEWUSER CLONE_NEWUTS]]

local function check_unshare(p, flags)
  local C = p.machine.sys.C
  local number = tonumber(p.machine.sys:const(flags, "CLONE_", "unshare"))
  local rest = number
  for name in UNSHARABLE:gmatch "%S+" do
    if has(rest, C[name]) then rest = rest - C[name] end
  end
  if rest ~= 0 or number == 0 then
    error(errors.new(p, "unshare", { flags }, "one or more of CLONE_FILES, CLONE_FS, CLONE_SYSVSEM and namespaces were expected"), 0)
  end
  return number
end

--- p:unshare(flags, options): the process leaves what it shares, and gets namespaces of its own; see unshare(2). After CLONE_NEWPID and CLONE_NEWTIME its next
--- children are in the new namespaces, not itself. After CLONE_FILES it has its own copy of the table: handles stay those of the old one, and p:inherit(fd)
--- gives the copies. After CLONE_NEWUSER its ids are written, as by p:clone: options uid_map, gid_map.
---@param flags string|integer
---@param options? { uid_map?: any, gid_map?: any }
process.define("unshare", function(self, flags, options)
  local C = self.machine.sys.C
  options = userns.check(self, "unshare", options)
  local number = check_unshare(self, flags)
  local uid, gid = self:syscall "geteuid", self:syscall "getegid"
  if has(number, C.CLONE_FILES) then
    tables.leave(self)
    number = number - C.CLONE_FILES
  end
  if number == 0 then return end
  end_siblings(self)
  self:syscall("unshare", number)
  if has(number, C.CLONE_NEWUSER) then
    arm(self)
    userns.map(self, options, uid, gid)
  end
  if has(number, C.CLONE_NEWPID) then rawset(self, "pids_for_children", {}) end
end)

-- ---- setns ----

local KINDS = { -- in the order in which they can be joined one by one
  { "CLONE_NEWUSER", "user" }, { "CLONE_NEWCGROUP", "cgroup" }, { "CLONE_NEWIPC", "ipc" }, { "CLONE_NEWNET", "net" },
  { "CLONE_NEWUTS", "uts" }, { "CLONE_NEWTIME", "time" }, { "CLONE_NEWPID", "pid" }, { "CLONE_NEWNS", "mnt" },
}

--- Kernels before 5.8 know no pidfd here: one namespace at a time, by its file.
local function join_files(p, pid, number)
  local C, files = p.machine.sys.C, {}
  for _, kind in ipairs(KINDS) do
    if has(number, C[kind[1]]) then files[#files + 1] = { p:open(("/proc/%d/ns/%s"):format(pid, kind[2])), C[kind[1]] } end
  end
  for _, file in ipairs(files) do
    p:syscall("setns", file[1], file[2])
    file[1]:close()
  end
end

local function join_by_pidfd(p, pid, number)
  local pidfd = p:syscall("pidfd_open", pid, 0)
  local ok, err = pcall(p.syscall, p, "setns", pidfd, number)
  p:syscall("close", pidfd)
  if not ok then error(err, 0) end
end

local function join_process(p, target, number)
  local pid = pids.near(target, p, "setns")
  local ok, err = pcall(join_by_pidfd, p, pid, number)
  if ok then return end
  if not errors.is(err, "EINVAL") and not errors.is(err, "ENOSYS") then error(err, 0) end
  join_files(p, pid, number)
end

local function pids_of(target) return type(target) == "table" and getmetatable(target) ~= fds.Fd and pids.space(target) or {} end

--- p:setns(target, nstype): the process joins namespaces; see setns(2). target: a process or a child that this one sees, of which those that nstype names
--- are joined ("CLONE_NEWNET|CLONE_NEWNS"); an fd of a namespace (nstype: its kind, or nothing), or a pidfd. A user namespace is joined with others in one
--- call only if nstype names both.
---@param target afar.Process|afar.Child|afar.Fd|integer
---@param nstype? string|integer
process.define("setns", function(self, target, nstype)
  local C = self.machine.sys.C
  local number = tonumber(self.machine.sys:const(nstype or 0, "CLONE_", "setns"))
  local is_fd = type(target) == "number" or getmetatable(target) == fds.Fd
  if not is_fd and number == 0 then
    error(errors.new(self, "setns", { target }, 'which namespaces? For instance "CLONE_NEWNET|CLONE_NEWNS"'), 0)
  end
  end_siblings(self)
  if is_fd then
    self:syscall("setns", fds.near(target, self, "setns"), number)
  else
    join_process(self, target, number)
  end
  if has(number, C.CLONE_NEWUSER) or number == 0 then arm(self) end
  if has(number, C.CLONE_NEWPID) then rawset(self, "pids_for_children", pids_of(target)) end
end)
