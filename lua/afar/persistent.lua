--- Persistent processes: they stay, with their children and fds, when their host goes, and take it up again with another.

local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local gate = require "afar.gate"
local handover = require "afar.handover"
local ffi = require "ffi"
local kept = require "afar.kept"
local paths = require "afar.path"
local process = require "afar.process"
local sched = require "afar.sched"
local session = require "afar.session"
local tables = require "afar.tables"

local persistent = {}

local PR_SET_PDEATHSIG, SIGKILL = 1, 9
local LOCK_EX, LOCK_NB = 2, 4
local OTHERS_WRITE = 18 -- 0022
local LOCK_PATIENCE = 5 -- seconds

local function fail(p, path, message, fields) error(errors.new(p, "persistent", { path }, message, fields), 0) end

-- ---- where ----

--- The directory of a user's persistent processes.
---@param p afar.Process
---@return string
function persistent.directory(p)
  local state = p.environ.XDG_STATE_HOME
  if state and state:sub(1, 1) == "/" then return state .. "/afar" end
  local home = p.environ.HOME
  if not home or home:sub(1, 1) ~= "/" then fail(p, nil, "no HOME in its environment: give a path with a directory") end
  return home .. "/.local/state/afar"
end

--- The whole path for what the script said: a name alone is in the user's directory.
function persistent.path(p, path)
  if path == nil then path = ("process-%d"):format(p.pid) end
  if type(path) ~= "string" or path == "" or path:find "%z" then fail(p, path, "a path, or a name, was expected") end
  if not path:find("/", 1, true) then return persistent.directory(p) .. "/" .. path, true end
  if path:sub(1, 1) ~= "/" then path = p:getcwd() .. "/" .. path end
  return path, false
end

local function check_directory(p, path, dir)
  local stat = dir:fstat()
  local own = p:syscall "geteuid"
  if stat.st_uid ~= own and stat.st_uid ~= 0 then
    fail(p, path, ("its directory belongs to user %d, not to user %d"):format(stat.st_uid, own), { name = "EPERM" })
  end
  if require("bit").band(stat.st_mode, OTHERS_WRITE) ~= 0 then
    fail(p, path, ("others may write to its directory (%s)"):format(stat.permissions), { name = "EPERM", hint = "chmod 700 it" })
  end
end

-- ---- the listening socket ----

--- One at a time looks whether a socket is stale and replaces it.
local function lock(p, path, dir)
  local waited = 0
  while true do
    local ok, err = pcall(p.syscall, p, "flock", dir.number, LOCK_EX + LOCK_NB)
    if ok then return end
    if not errors.is(err, "EAGAIN") or waited > LOCK_PATIENCE then fail(p, path, "its directory is locked by another: " .. tostring(err)) end
    sched.sleep(0.02)
    waited = waited + 0.02
  end
end

--- Whether somebody listens there; false: nobody does any more; nil: there is nothing.
local function is_live(p, path)
  local socket = p:socket("AF_UNIX", "SOCK_STREAM")
  local ok, err = pcall(socket.connect, socket, { family = "AF_UNIX", path = path })
  socket:close()
  if ok then return true end
  if errors.is(err, "ENOENT") then return nil end
  if errors.is(err, "ECONNREFUSED") then return false end
  fail(p, path, "something else is there already: " .. tostring(err), { name = "EEXIST" })
end

local function bind(p, path)
  local live = is_live(p, path)
  if live then fail(p, path, "another process listens there already", { name = "EADDRINUSE", hint = "afar.reconnect, or another name" }) end
  if live == false then p:unlink(path) end
  local socket = p:socket("AF_UNIX", "SOCK_STREAM")
  local mask = p:umask "0177"
  local ok, err = pcall(function()
    socket:bind { family = "AF_UNIX", path = path }
    socket:listen(16)
  end)
  p:umask(mask)
  if ok then return socket end
  socket:close()
  error(err, 0)
end

--- Makes the socket in a directory where nobody else can put one.
local function listen(p, path, is_default)
  local folder = paths.dirname(path)
  if is_default then p:mkdir_p(folder, "0700") end
  local dir = p:open(folder, "O_RDONLY|O_DIRECTORY|O_CLOEXEC")
  local ok, result = pcall(function()
    check_directory(p, path, dir)
    lock(p, path, dir)
    return bind(p, path)
  end)
  dir:close()
  if not ok then error(result, 0) end
  return result
end

-- ---- becoming persistent ----

local function facts_of(p, path, lease)
  local hello = p.machine.hello
  return {
    sigmask = hello.sigmask, nofile = hello.nofile, environ = p.environ, regions = p.space.regions, path = path, lease = lease,
    since = os.time(),
  }
end

--- The chain after which it is its own: no death signal, a session of its own, none of the session's fds.
local function record(r, p, socket, lease, id, memory)
  local C = p.machine.sys.C
  r:call("prctl", nil, PR_SET_PDEATHSIG, 0, 0, 0, 0)
  r:call("setsid", { may_fail = true, aside = true })
  local null = r:call("openat", nil, C.AT_FDCWD, r:string "/dev/null", C.O_RDWR + C.O_CLOEXEC, 0)
  for target = 0, 2 do r:call("dup3", nil, null, target, 0) end
  r:call("close", nil, null)
  local words = ffi.new "uint64_t[2]"
  ffi.copy(words, id, 16)
  r:persist(socket.number, lease, words, memory.address)
end

local function rearm(p)
  p.task:go_on()
  pcall(p.syscall, p, "prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
end

--- What waits in other coroutines may be answered all at once, and is kept then until its host has it.
local function refuse_crowd(p, path)
  if p.task:fits_session() then return end
  fail(p, path, "others wait for more answers than it can keep", { hint = "make it persistent before they begin" })
end

local function become(p, path, socket, lease)
  if p.is_root then
    handover.prepare(p, path)
  else
    gate.close(p)
  end
  local id, facts = session.new_id(), facts_of(p, path, lease)
  local block = kept.first_block(facts)
  local memory = { address = p.space:alloc(p, #block), size = #block }
  local write = requests.record(p)
  write:write(memory.address, block)
  write:run()
  local r = requests.record(p)
  r.args = { n = 1, path }
  local ok, err = pcall(refuse_crowd, p, path)
  if ok then
    record(r, p, socket, lease, id, memory)
    r:submit()
    r:wait()
    ok, err = pcall(r.check, r)
  end
  if not ok then
    if p:is_alive() then rearm(p) end
    p.space:free(memory.address, memory.size)
    error(err, 0)
  end
  fds.forget(socket)
  return id, facts, memory
end

--- The root may see other files than the process, which is in a mount namespace of its own.
local function first_connection(p, q, path, id)
  local ok, found = pcall(session.connect, q, path, id, 0, { resume = true })
  if ok and found.welcome.verdict == "resumed" then return found end
  if ok then session.close(found) end
  local seen = ("/proc/%d/root%s"):format(p.child and p.child.pid or p.pid, path)
  local ok_there, found_there = pcall(session.connect, q, seen, id, 0, { resume = true })
  if not ok_there then error(ok and found_there or found, 0) end
  p.session.seen = seen
  return found_there
end

local function check(p, path, options)
  local lease = options.lease or 0
  if type(lease) ~= "number" or lease < 0 or lease > 2 ^ 31 / 1000 then fail(p, path, "lease: a number of seconds was expected") end
  if rawget(p, "session") then fail(p, path, "it is persistent already, at " .. p.session.path) end
  if p.machine.plain_clone then fail(p, path, "under an emulator that shares no memory nothing is persistent") end
  return math.ceil(lease)
end

--- p:persistent(path, { lease = seconds, reach = function }): from now on this process stays when the host, its connection or its parent goes, with its
--- children and fds; a root, too. afar.reconnect(path) takes it up again. path: of a socket, in a directory to which nobody else may write; a name alone
--- is in $XDG_STATE_HOME/afar (~/.local/state/afar). It gets a session of its own, /dev/null as its standard fds, and no parent-death signal.
--- lease: it ends by itself, with its children, when no host was connected for so long. reach: gives a process that reaches it, when the
--- connection breaks. Returns p.
---@param path? string
---@param options? { lease?: number, reach?: fun(): afar.Process, limit?: number }
---@return afar.Process
process.define("persistent", function(self, path, options)
  options = options or {}
  local lease = check(self, path, options)
  local whole, is_default = persistent.path(self, path)
  if not self.is_root then tables.leave(self) end
  local socket = listen(self, whole, is_default)
  local ok, id, facts, memory = pcall(become, self, whole, socket, lease)
  if not ok then
    gate.open(self)
    pcall(self.unlink, self, whole)
    pcall(socket.close, socket)
    error(id, 0)
  end
  local closing
  if self.is_root then closing = select(2, handover.finish(self)) end
  local q = self.machine.root
  rawset(self, "session", { id = id, path = whole, lease = lease, via = q, reach = options.reach, limit = options.limit })
  local connected, connection = pcall(first_connection, self, q, whole, id)
  if not connected then
    self.task:fail "lost"
    gate.open(self)
    error(connection, 0)
  end
  self.machine = session.machine_of(q, {})
  session.attach(self, q, connection)
  session.watch(self)
  gate.open(self)
  if closing then closing:wait() end
  kept.begin(self, connection.welcome.anchor, facts, memory)
  return self
end)

-- ---- its end ----

local POLLRDHUP, LAST_WORD = 0x2000, 2 -- seconds

--- It removes its socket, which it answers, and waits then until its host has that answer and hangs up: what brings it may end with the process.
local function record_end(p, code)
  local C, ctype = p.machine.sys.C, p.machine.sys.ctype
  local r, last = requests.record(p), requests.record(p)
  r.args = { n = 1, code }
  r:call("unlinkat", { as = "exit", may_fail = true }, C.AT_FDCWD, r:string(p.session.path), 0)
  local poll, most = ffi.new(ctype.pollfd, p.carrier, POLLRDHUP), ffi.new(ctype.timespec, LAST_WORD)
  local at = last:bytes(ffi.string(poll, ffi.sizeof(poll)))
  last:call("ppoll", { as = "exit", flush = true }, at, 1, last:bytes(ffi.string(most, ffi.sizeof(most))), 0, 8)
  last:call("exit_group", { as = "exit", always = true, flush = true }, code)
  return r, last
end

--- Tells it to end. Where its way breaks meanwhile the session goes on over another. Returns what became of the session: nil, it has heard that; "eof",
--- it has ended; "lost".
local function tell(p, code)
  local r, last = record_end(p, code)
  local started, err = pcall(r.start, r)
  if not started then
    last:drop()
    error(err, 0)
  end
  last:submit() -- leaves with it
  local fate = r:wait()
  if not fate then
    p.session.left = true
    local broken = p.task:wait_break()
    p.session.channel:eof()
    if broken then sched.wait(broken) end
    p.task:fail "eof"
  end
  last:wait()
  process.gone(p)
  return fate
end

--- Ends a persistent process, and its children with it. Raises where nobody could reach it to tell it that.
function persistent.exit(p, code)
  local child = p.child
  local fate = tell(p, code or 0)
  if fate and fate ~= "eof" then
    local err = errors.lost(p, "exit", { n = 1, code or 0 }, fate)
    err.hint = err.hint or "if it still runs, its socket is still there"
    error(err, 0)
  end
  handover.reap(p)
  if not child or not child.parent:is_alive() then return end
  local ok, status = pcall(child.wait, child)
  if ok then return status end
  if child.parent:is_alive() then error(status, 0) end -- else its parent has gone meanwhile, and nobody can tell how it has ended
end

return persistent
