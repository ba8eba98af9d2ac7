--- p:upgrade(): a persistent process gets this host's stub, by an exec in place: its pid, children, fds and kept table stay.

local errors = require "afar.error"
local fds = require "afar.fd"
local greeting = require "afar.greeting"
local kept = require "afar.kept"
local process = require "afar.process"
local requests = require "afar.requests"
local sched = require "afar.sched"
local session = require "afar.session"

local upgrade = {}

local SIG_BLOCK, SIG_UNBLOCK = 0, 1
local FD_CLOEXEC = 1
local BATCH = 200

local function fail(p, message, fields) error(errors.new(p, "upgrade", {}, message, fields), 0) end

--- fcntl(number, ...) of many; the results.
local function fcntl_all(p, numbers, command, argument)
  local results = {}
  for from = 1, #numbers, BATCH do
    local r, refs = requests.record(p), {}
    for i = from, math.min(from + BATCH - 1, #numbers) do
      refs[i] = r:call("fcntl", { always = true, may_fail = true, aside = true }, numbers[i], command, argument)
    end
    r:run()
    for i, ref in pairs(refs) do results[i] = r:result(ref) end
  end
  return results
end

--- The numbers that exec would close, and that stay: all but the stub's own.
local function to_keep(p, C)
  local own, numbers, found = {}, {}, {}
  for _, number in ipairs(p.own_fds) do own[number] = true end
  local watch = rawget(p, "watch")
  if watch and watch.epoll then own[watch.epoll] = true end
  for _, name in ipairs(p:listdir "/proc/self/fd") do
    local number = tonumber(name)
    if not own[number] then numbers[#numbers + 1] = number end
  end
  for i, flags in pairs(fcntl_all(p, numbers, C.F_GETFD, 0)) do
    if flags == FD_CLOEXEC then found[#found + 1] = numbers[i] end -- the folder itself is closed by now
  end
  table.sort(found)
  return found
end

--- A file in memory, with that in it, from its beginning.
local function memory_file(p, bytes)
  local fd = p:memfd_create "afar-stub"
  local ok, err = pcall(function()
    fd:write(bytes)
    fd:lseek(0, "SEEK_SET")
  end)
  if ok then return fd end
  fd:close()
  error(err, 0)
end

local function state_of(p, numbers)
  local block = kept.portable(p)
  return greeting.state {
    listener = p.session.listener, lease = p.session.lease, session = session.new_id(), fds = numbers, kept = block,
    front = p.front and p.front.pid or 0,
  }
end

--- What the new stub is started with, and what it leaves behind; if it is not started all is as before.
local function record(p, program, state)
  local r = requests.record(p)
  local C = r.sys.C
  local listener = p.session.listener
  local mask = r:bytes(greeting.word(2 ^ (greeting.SIGNAL - 1)))
  local words = r:bytes(("afar\0%d\0"):format(state.number))
  local argv = r:bytes(greeting.word(words) .. greeting.word(words + 5) .. greeting.word(0))
  r.args = { n = 0 }
  r:call("rt_sigprocmask", nil, SIG_BLOCK, mask, 0, 8)
  r:call("fcntl", nil, listener, C.F_SETFD, 0)
  r:call("fcntl", nil, state.number, C.F_SETFD, 0)
  local started = r:call("execveat", { flush = true }, program.number, r:string "", argv, argv + 16, C.AT_EMPTY_PATH)
  r:call("fcntl", { if_failed = started }, listener, C.F_SETFD, FD_CLOEXEC)
  r:call("rt_sigprocmask", { if_failed = started }, SIG_UNBLOCK, mask, 0, 8)
  return r
end

--- Whether it was started; else why not. The end of the connection says that it was.
local function start(p, program, state)
  local r = record(p, program, state)
  local broken = p.task:wait_break()
  r:start()
  p.session.left = true -- the connection's end is no break
  local answered = false
  sched.start(function()
    if broken then sched.wait(broken) end
    if not answered then p.task:fail "lost" end
  end)
  if r:wait() then return true end
  answered = true
  p.session.left = nil
  return pcall(r.check, r)
end

--- p:upgrade(): the stub of this persistent process becomes that of this host, in place: its pid, its children, its fds and what it keeps stay. Nothing
--- else may be under way in it; what it has cloned that has not executed anything stays with the memory of before. Returns the process anew, as
--- reconnect does; this object is used up. When it can't be done (no memory; executing from memory is forbidden) that is raised, and all is as
--- it was.
---@return afar.Process
process.define("upgrade", function(self)
  local mine = rawget(self, "session")
  if not mine then fail(self, "it is not persistent") end
  local image = require("afar.stubs")[self.machine.sys.name]
  if not image then fail(self, "no stub for " .. self.machine.sys.name) end
  if not mine.via:is_alive() then fail(self, "its connection has broken", { hint = "p:resume(q), or reconnect" }) end
  local C = self.machine.sys.C
  local numbers = to_keep(self, C)
  local program = memory_file(self, image)
  local ok, state = pcall(function() return memory_file(self, state_of(self, numbers)) end)
  local err
  if ok then
    fcntl_all(self, numbers, C.F_SETFD, 0)
    ok, err = start(self, program, state)
    if not ok then
      fcntl_all(self, numbers, C.F_SETFD, FD_CLOEXEC)
      state:close()
    end
  else
    err = state
  end
  if not ok then
    program:close()
    error(err, 0)
  end
  for _, fd in ipairs { program, state } do fds.forget(fd) end
  process.gone(self)
  return require("afar.reconnect").through(mine.via, session.path_for(self, mine.via), { reach = mine.reach, limit = mine.limit })
end)

return upgrade
