--- The flags of clone: which may be asked for, which exclude each other, and why the kernel refused.

local ffi = require "ffi"
local errors = require "afar.error"

local cloneflags = {}

local ALLOWED = [[CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_IO CLONE_SYSVSEM CLONE_NEWCGROUP CLONE_NEWIPC CLONE_NEWNET CLONE_NEWNS
CLONE_NEWPID CLONE_NEWUSER CLONE_NEWUTS CLONE_NEWTIME CLONE_PIDFD CLONE_PTRACE CLONE_PARENT CLONE_INTO_CGROUP]]

--- What the kernel never takes together.
local CONFLICTS = {
  { "CLONE_FS", "CLONE_NEWNS" },
  { "CLONE_FS", "CLONE_NEWUSER" },
  { "CLONE_SYSVSEM", "CLONE_NEWIPC" },
}

local function has(flags, bit) return flags % (2 * bit) >= bit end
cloneflags.has = has

local function refuse(p, flags, message, hint) error(errors.new(p, "clone", { flags }, message, { hint = hint }), 0) end

local function check_known(p, flags, number)
  local C, rest = p.machine.sys.C, number
  for name in ALLOWED:gmatch "%S+" do
    if has(rest, C[name]) then rest = rest - C[name] end
  end
  if rest == 0 then return end
  local hint = has(rest, C.CLONE_THREAD) and "p:blocking() gives what shares all that a thread does" or nil
  refuse(p, flags, "only flags for what a process shares and for namespaces are allowed here", hint)
end

--- The number for what the script gave. Raises, before the call, what can't be.
---@param p afar.Process
---@return integer
function cloneflags.check(p, flags)
  local C = p.machine.sys.C
  local number = tonumber(p.machine.sys:const(flags or 0, "CLONE_", "clone"))
  check_known(p, flags, number)
  if has(number, C.CLONE_PARENT) and p.is_root then
    refuse(p, flags, "a root's parent is the host, which has no children of scripts", "CLONE_PARENT in a fork")
  end
  -- The kernel allows it; but at the end of an init it sets SIGCHLD to be ignored for all that share its dispositions.
  if has(number, C.CLONE_SIGHAND) and has(number, C.CLONE_NEWPID) then
    refuse(p, flags, "CLONE_SIGHAND and CLONE_NEWPID exclude each other: at the init's end the process could wait for none of its children any more")
  end
  return number
end

local function conflict(C, number)
  for _, pair in ipairs(CONFLICTS) do
    if has(number, C[pair[1]]) and has(number, C[pair[2]]) then return ("%s and %s exclude each other"):format(pair[1], pair[2]) end
  end
end

local function first_line(p, path)
  local ok, text = pcall(p.read_file, p, path)
  return ok and text:match "^%S+" or nil
end

--- The hard limit of RLIMIT_NOFILE, as the machine's hello tells it: soft, hard.
local function hard_limit(p)
  local words = ffi.new "uint64_t[2]"
  ffi.copy(words, p.machine.hello.nofile, 16)
  return tonumber(words[1])
end

--- What the kernel may have meant: asked of the machine, after the call failed.
---@param err afar.Error
---@param number integer  the flags
function cloneflags.explain(p, err, number)
  local C = p.machine.sys.C
  local between = err.name == "EINVAL" and conflict(C, number)
  if between then
    err.hint = between
  elseif err.name == "EPERM" and has(number, C.CLONE_NEWUSER) and first_line(p, "/proc/sys/kernel/unprivileged_userns_clone") == "0" then
    err.hint = "kernel.unprivileged_userns_clone is 0"
  elseif err.name == "ENOSPC" then
    err.hint = "the limit of namespaces, or of their depth, is reached (/proc/sys/user/max_*_namespaces)"
  elseif err.name == "EPERM" and number % C.CLONE_VM == 0 and not has(number, C.CLONE_NEWUSER) then
    err.hint = "new namespaces take CAP_SYS_ADMIN, which CLONE_NEWUSER beside them gives"
  elseif err.name == "EINVAL" and has(number, C.CLONE_PARENT) then
    err.hint = "the init of a pid namespace has no parent to give its children"
  elseif err.name == "EMFILE" and not err.message then
    err.hint = ("each child takes up to three fds here; the hard limit of RLIMIT_NOFILE is %.0f"):format(hard_limit(p))
  elseif err.name == "EAGAIN" then
    err.hint = "RLIMIT_NPROC, pids.max of the cgroup, or kernel.pid_max is reached"
  end
  return err
end

return cloneflags
