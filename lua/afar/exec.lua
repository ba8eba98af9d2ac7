--- exec: a process becomes another program. One chain sets up what the program shall have, and tries each place where it may be.

local command = require "afar.command"
local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local loadmode = require "afar.mode"
local nursery = require "afar.nursery"
local passing = require "afar.passing"
local process = require "afar.process"
local sched = require "afar.sched"
local tables = require "afar.tables"

local exec = {}

local RLIMIT_NOFILE = 7
local SIG_SETMASK, SIGPIPE = 2, 13
local STREAMS = { "stdin", "stdout", "stderr" }
local QUIET = { quiet = true }
local DEFAULT, IGNORE = ("\0"):rep(32), "\1" .. ("\0"):rep(31) -- a struct sigaction, as the kernel has it

--- Bytes that are the same for all that is executed.
local function constant(r, bytes) return r.process.space:constant(r.process, bytes) or r:bytes(bytes) end

local function record_null(r, flags)
  return r:call("openat", r.setup, r.sys.C.AT_FDCWD, constant(r, "/dev/null\0"), flags + r.sys.C.O_CLOEXEC, 0)
end

--- What shall become 0, 1 and 2; /dev/null is opened once to read and once to write.
local function sources(r, p, spec)
  local C, from = r.sys.C, {}
  for target, name in ipairs(STREAMS) do
    local source = spec[name]
    if source == "null" then
      from[target] = target == 3 and spec.stdout == "null" and from[2] or record_null(r, target == 1 and C.O_RDONLY or C.O_WRONLY)
    elseif source == "stdout" and target == 3 then
      from[target] = from[2] or 1
    elseif source ~= nil then
      from[target] = fds.near(source, p, name)
    end
  end
  return from
end

--- Whether 0, 1 and 2 all shall be /dev/null, and nobody misses what they are now should that fail.
local function are_nulls(r, spec)
  return r.is_final and spec.stdin == "null" and spec.stdout == "null" and (spec.stderr == "null" or spec.stderr == "stdout")
end

--- Each is opened in its place, which is the lowest number that is free then.
local function record_nulls(r)
  local C, closed = r.sys.C, { quiet = r.setup and true, may_fail = true, always = true }
  for target = 0, 1 do
    r:call("close", closed, target)
    r:call("openat", r.setup, C.AT_FDCWD, constant(r, "/dev/null\0"), target == 0 and C.O_RDONLY or C.O_WRONLY, 0)
  end
  r:call("dup3", r.setup, 1, 2, 0)
end

--- Every fd that shall become 0, 1 or 2, and may be one of them, is first copied out of their way; then each is put in its place.
local function record_standard(r, p, spec)
  if are_nulls(r, spec) then return record_nulls(r) end
  local from, moved = sources(r, p, spec), {}
  for target = 1, 3 do
    local source = from[target]
    if source and not moved[source] then
      local is_clear = type(source) == "number" and source > 2
      moved[source] = is_clear and source or r:call("fcntl", r.setup, source, r.sys.C.F_DUPFD_CLOEXEC, 10)
    end
  end
  for target = 1, 3 do
    if from[target] then r:call("dup3", r.setup, moved[from[target]], target - 1, 0) end
  end
end

local function record_fds(r, p, spec)
  local C = r.sys.C
  record_standard(r, p, spec)
  for _, fd in ipairs(spec.keep or {}) do
    r:call("fcntl", r.setup, fds.near(fd, p, "keep"), C.F_SETFD, 0)
  end
  if spec.listen_fds then
    passing.record_listen(r, spec)
    spec.env = passing.environ(p, spec)
  end
end

local function record_signals(r, p, spec)
  local mask = not r.is_final and r:scratch(8) or 0
  r:call("rt_sigprocmask", r.setup, SIG_SETMASK, constant(r, p.machine.hello.sigmask), mask, 8)
  local last = r:call("rt_sigaction", r.setup, SIGPIPE, constant(r, DEFAULT), 0, 8)
  for _, name in ipairs(type(spec.ignore) == "table" and spec.ignore or { spec.ignore }) do
    last = r:call("rt_sigaction", r.setup, p.machine.sys:const(name, "SIG", "ignore"), constant(r, IGNORE), 0, 8)
  end
  return mask, last
end

--- Whether the stub has raised the soft limit.
local function changes_nofile(r)
  local nofile = r.machine.hello.nofile
  return nofile:sub(1, 8) ~= nofile:sub(9, 16)
end

--- When no program could be executed: as the stub needs it again.
local function record_restore(r, last, setup, mask)
  local failed = { if_ok = setup, if_failed = last, may_fail = true }
  r:call("rt_sigaction", failed, SIGPIPE, constant(r, IGNORE), 0, 8)
  r:call("rt_sigprocmask", failed, SIG_SETMASK, mask, 0, 8)
  local hard = r.machine.hello.nofile:sub(9, 16)
  if changes_nofile(r) then r:call("prlimit64", failed, 0, RLIMIT_NOFILE, constant(r, hard .. hard), 0) end
end

--- By fd: itself, or what is at a path from it; where execveat can't be called, by its name below /proc.
local function record_by_fd(r, p, spec, try)
  local fd = fds.near(spec.fd or spec.at, p, "exec")
  if spec.at then return { try("execveat", nil, fd, r:string(spec[1])) } end
  local first = try("execveat", nil, fd, r:string "", r.sys.C.AT_EMPTY_PATH)
  local path = ("/proc/self/fd/%s"):format(type(fd) == "number" and fd or "")
  return { first, type(fd) == "number" and try("execve", first, r:string(path)) or nil }
end

local function record_places(r, p, spec, setup, mask)
  local argv = {}
  for i, argument in ipairs(spec) do argv[i] = argument end
  argv[1] = spec.argv0 or argv[1]
  local argv_at, envp_at = command.store_array(r, argv), command.store_environ(r, p, spec)
  local function try(call, failed, ...)
    local o = { flush = true, if_ok = setup, if_failed = failed, may_fail = true, aside = true }
    if call == "execve" then return r:call(call, o, (...), argv_at, envp_at) end
    local dirfd, path, flags = ...
    return r:call(call, o, dirfd, path, argv_at, envp_at, flags or 0)
  end
  local tried, last = {}, nil
  if spec.fd or spec.at then
    tried = record_by_fd(r, p, spec, try)
    last = tried[#tried]
  else
    for _, path in ipairs(command.candidates(p, spec)) do
      last = try("execve", last, r:string(path))
      tried[#tried + 1] = last
    end
  end
  if not r.is_final then record_restore(r, last, setup, mask) end
  return tried
end

local function record(r, p, spec)
  local C = p.machine.sys.C
  r.args = { n = 1, table.concat(spec, " ") }
  r.spec = spec
  -- No waking for what prepares it; far away, the first answer says that the environment is there.
  r.setup = (r.is_script or p.space.arena) and QUIET or nil
  record_fds(r, p, spec)
  if spec.cwd then r:call("chdir", r.setup, r:string(spec.cwd)) end
  if spec.umask then r:call("umask", r.setup, loadmode(spec.umask, "umask")) end
  if changes_nofile(r) then
    r:call("prlimit64", { quiet = r.setup ~= nil, may_fail = true }, 0, RLIMIT_NOFILE, constant(r, p.machine.hello.nofile), 0)
  end
  local mask, last = record_signals(r, p, spec)
  r.tried = record_places(r, p, spec, last, mask)
  r.C = C
end

--- Records and queues an exec; `finish` waits for it.
---@param is_final? boolean  the process ends if it fails: nothing is put back
function exec.begin(p, spec, is_final)
  local r = requests.record(p)
  r.name, r.is_final = "exec", is_final
  local ok, err = pcall(r.by, r, record, p, spec)
  if ok then ok, err = pcall(r.submit, r) end
  if ok then return r end
  command.settle_environ(r)
  error(err, 0)
end

--- Records an exec as a script, which a process performs that is there for nothing else and has no carrier.
---@return afar.Recorder  never submitted; to be dropped, and its environment settled
function exec.script(p, spec)
  local r = requests.record(p)
  r.name, r.is_final, r.is_script = "exec", true, true
  local ok, err = pcall(r.by, r, record, p, spec)
  if ok then return r end
  command.settle_environ(r)
  error(err, 0)
end

--- Whether a script that has answered so much has executed something.
function exec.executed(r) return r:result(r.tried[#r.tried]) == nil end

--- Which of several failures says most: as execvp(3), that it may not be executed rather than that it isn't there, and anything else rather than both.
local function worst(r)
  local best
  for _, ref in ipairs(r.tried) do
    local result = r:result(ref)
    local missing = result == -r.C.ENOENT or result == -r.C.ENOTDIR or result == -r.C.ECANCELED
    if result < 0 and not missing and result ~= -r.C.EACCES then return -result end
    if result < 0 and (not best or not missing) then best = -result end
  end
  return best
end

--- Whether one of the places that may not be executed is there. It isn't where a directory of PATH may not be searched.
local function any_present(p, r)
  local refused = {}
  for i, path in ipairs(command.candidates(p, r.spec)) do
    if r:result(r.tried[i]) == -r.C.EACCES then refused[#refused + 1] = path end
  end
  for _, path in ipairs(refused) do
    if path:sub(1, 1) ~= "/" and p ~= r.process and r.spec.cwd then path = r.spec.cwd .. "/" .. path end
    if nursery.try(p.lstat, p, path) then return true end
  end
  return false
end

--- Whether a program's name, that of `spec`, is looked for in PATH.
local function is_searched(spec) return not (spec.fd or spec.at or spec[1]:find("/", 1, true)) end

--- Waits until it was done, or has failed.
---@return string? fate  of the process: "eof" when it is gone
function exec.wait(r)
  local fate = r:wait()
  command.settle_environ(r)
  return fate
end

--- Raises when it failed; else the process is gone, and its child is what runs now.
function exec.finish(p, r)
  local fate = exec.wait(r)
  if fate == "eof" then
    r:release()
    process.gone(p)
    if p.child then p.child.inert = nil end
    return
  end
  exec.failed(p, r)
end

--- Raises what failed of the preparations, if any did.
local function check_setup(r)
  local ok, err = pcall(r.check, r)
  if ok then return end
  if err.call == "chdir" then err.args = { n = 1, r.spec.cwd } end
  if err.call == "openat" then err.args = { n = 1, "/dev/null" } end
  error(err, 0)
end

--- Raises why nothing was executed.
---@param looker? afar.Process  who can still look for files, where `p` can't
function exec.failed(p, r, looker)
  check_setup(r)
  local errno = worst(r)
  if errno == r.C.EACCES and is_searched(r.spec) and not any_present(looker or p, r) then errno = r.C.ENOENT end
  local err = errors.errno(p, "execve", { n = 1, table.concat(r.spec, " ") }, errno)
  if err.name == "ENOENT" then
    if r.spec.fd then
      err.hint = "a script is found by its interpreter only through an fd that stays open: keep = { fd }"
    elseif not is_searched(r.spec) or r.spec.cwd then
      err.hint = "is the program there, and its interpreter?"
    else
      err.hint = ("no %q in PATH, which is %s"):format(r.spec[1], command.search_path(p, r.spec))
    end
  end
  error(err, 0)
end

local function refuse_stub(p, spec)
  local what = p.is_root and "a root" or rawget(p, "session") and "a persistent process"
  if not what then return end
  error(errors.new(p, "exec", { n = 1, table.concat(spec, " ") }, what .. " must stay what it is", { hint = "p:fork():exec{...}" }), 0)
end

--- Siblings, which are there for calls that block, would stay with what is executed.
local function end_siblings(p)
  for _, sibling in ipairs(rawget(p, "siblings") or {}) do
    if sibling:is_alive() then sibling:exit(0) end
  end
  rawset(p, "siblings", nil)
end

--- p:exec{ "program", "argument", ... }: the process becomes that program; see execve(2). It is looked for in PATH unless its name has a
--- slash. Arguments may be fds: such a one is kept, and its number put as the text. Returns its child, to wait for and to kill; this object is
--- used up. All fds but 0, 1, 2 and those named here are closed. Options:
---   env = { NAME = "value", OTHER = false }: added to the process's environment; clean_env = true: instead of it
---   stdin, stdout, stderr = an fd, "null", or (stderr) "stdout"; cwd = a directory; argv0; umask
---   keep = { fds } that it inherits under their numbers; ignore = { "SIGINT" ... }
---   listen_fds = { fds, names = { ... } }: sockets from 3 on, with LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES as of sd_listen_fds(3), up to 7
---   fd = what is executed, an open file; at = the directory from which its path goes; see execveat(2)
--- What fails leaves the process as it was, but for fds 0, 1, 2, cwd and umask.
---@param spec table
---@return afar.Child
process.define("exec", function(self, spec)
  command.check(self, "exec", spec)
  spec = passing.resolve(self, spec, rawget(self, "carrier"))
  refuse_stub(self, spec)
  sched.check()
  end_siblings(self)
  tables.leave(self, true) -- only then does the carrier's end tell that the exec was done
  local r = exec.begin(self, spec)
  exec.finish(self, r)
  self.child.argv = spec
  return self.child
end)

return exec
