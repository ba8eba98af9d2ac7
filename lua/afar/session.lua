--- Sessions with persistent processes: connections to their listening sockets, by whatever process reaches these; and what becomes of
--- a session when its connection breaks.

local attach = require "afar.attach"
local errors = require "afar.error"
local greeting = require "afar.greeting"
local loop = require "afar.loop"
local nursery = require "afar.nursery"
local sched = require "afar.sched"
local spawn = require "afar.spawn"
local tasks = require "afar.task"

local session = {
  patience = 10, -- seconds for a connection to be answered
  limit = 60, -- seconds for which a broken session waits for a new connection
}

local RETRY_FIRST, RETRY_MOST = 0.05, 2 -- seconds

---@class afar.Session
---@field id string          16 random bytes
---@field path string        of the socket
---@field lease integer       seconds
---@field listener integer    the socket's number in the process
---@field via afar.Process   by which it is reached
---@field channel userdata    the carrier
---@field seen? string       the path as `via` sees it, where that is another
---@field reach? fun(): afar.Process  gives another that reaches it
---@field limit number       seconds
---@field taken_by? string   the host that has taken the process over
---@field left? boolean      this host has let go of it

local function fail(p, call, args, message, fields) error(errors.new(p, call, args, message, fields), 0) end

--- 16 random bytes.
function session.new_id()
  return (spawn.random(16):gsub("%x%x", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- Who this host is, for others.
local function own_name()
  local here = require("afar.here").root()
  local user = here.environ.USER or here.environ.LOGNAME or ("uid %d"):format(here.machine.hello.uid)
  return ("%s@%s, started from process %d"):format(user, here.machine.hello.machine_name, here.machine.hello.ppid)
end

-- ---- connecting ----

local function refused(q, path, err)
  if errors.is(err, "ECONNREFUSED") then
    fail(q, "reconnect", { path }, "its process has ended, and has left this socket behind", { name = "ECONNREFUSED" })
  end
  if errors.is(err) then
    err.call, err.args = "reconnect", { path }
    if err.name == "ENOENT" then err.hint = "afar ps lists what there is" end
  end
  error(err, 0)
end

--- Connects, and makes sure of whose process answers.
local function connect(q, path)
  local socket = q:socket("AF_UNIX", "SOCK_STREAM")
  local ok, err = pcall(function()
    socket:connect { family = "AF_UNIX", path = path }
    return socket:getsockopt "SO_PEERCRED"
  end)
  if not ok then
    socket:close()
    refused(q, path, err)
  end
  local own = q:syscall "geteuid"
  if err.uid ~= own and own ~= 0 then
    socket:close()
    fail(q, "reconnect", { path }, ("it is a process of user %d, not of user %d"):format(err.uid, own), { name = "EPERM" })
  end
  return socket, err.pid
end

--- What a process does that doesn't answer: the system call that it is in.
local function blocked_in(q, pid)
  local ok, text = pcall(q.read_file, q, ("/proc/%d/syscall"):format(pid))
  local number = ok and tonumber(text:match "^(%d+)")
  return number and (q.machine.sys.nr_name[number] or ("system call %d"):format(number))
end

local function read_exactly(channel, length)
  local parts, have = {}, 0
  while have < length do
    local data = channel:read(length - have)
    if data == false then break end
    if data then
      parts[#parts + 1], have = data, have + #data
    else
      sched.wait(channel:wait_read(), function()
        channel:forget()
        return "never"
      end)
    end
  end
  return table.concat(parts)
end

local function no_answer(q, path, pid)
  local call = blocked_in(q, pid)
  local message = call and ("process %d does not answer: it is in %s"):format(pid, call)
    or ("process %d does not answer"):format(pid)
  fail(q, "reconnect", { path }, message, { name = "busy", pid = pid, blocked_in = call, hint = "interrupt = true interrupts that call" })
end

local function await_welcome(q, path, pid, channel, options)
  local patience = options.patience or session.patience
  local ok, bytes = pcall(nursery.timeout, patience, read_exactly, channel, greeting.WELCOME_SIZE)
  if not ok and options.interrupt and type(bytes) == "table" and bytes.timeout then
    q:syscall("kill", pid, greeting.SIGNAL)
    ok, bytes = pcall(nursery.timeout, patience, read_exactly, channel, greeting.WELCOME_SIZE)
  end
  if not ok and type(bytes) == "table" and bytes.timeout then no_answer(q, path, pid) end
  if not ok then error(bytes, 0) end
  local welcome = greeting.welcome(bytes)
  if not welcome and #bytes == 0 then fail(q, "reconnect", { path }, "its process ended the connection", { name = "ECONNRESET" }) end
  if not welcome or welcome.verdict == "foreign" then
    fail(q, "reconnect", { path }, "its process speaks another version of the protocol", { name = "version" })
  end
  return welcome
end

--- The greeting goes out with an fd: the socket through which the process hands over fds.
local function greet(q, path, message, options)
  local socket, pid = connect(q, path)
  local mine, theirs = q:socketpair()
  local handoff, channel
  local ok, welcome = pcall(function()
    socket:sendmsg { data = message, fds = { theirs } }
    theirs:close()
    handoff = attach.channel(q, mine, "r")
    channel = attach.channel(q, socket, "rw")
    return await_welcome(q, path, pid, channel, options)
  end)
  if ok then return channel, handoff, welcome, pid end
  for _, fd in ipairs { mine, theirs, socket } do
    if not fd.state.closed then pcall(fd.close, fd) end
  end
  if handoff then handoff:close() end
  if channel then channel:close() end
  error(welcome, 0)
end

---@class afar.Connection
---@field channel userdata
---@field handoff userdata   the channel of what is handed over
---@field welcome table
---@field pid integer        as `q` sees the process

--- Connects a session. resume: only if it is still this one.
---@param q afar.Process
---@param path string
---@param id string
---@param received number
---@param options { resume?: boolean, patience?: number, interrupt?: boolean }
---@return afar.Connection
function session.connect(q, path, id, received, options)
  local message = greeting.greeting(id, received, options.resume, own_name())
  for attempt = 1, 5 do
    local ok, channel, handoff, welcome, pid = pcall(greet, q, path, message, options)
    if ok then return { channel = channel, handoff = handoff, welcome = welcome, pid = pid } end
    -- Another host's connection came in between.
    local between = errors.is(channel, "ECONNRESET") or errors.is(channel, "EPIPE")
    if not between or attempt == 5 then error(channel, 0) end
    sched.sleep(0.02 * attempt)
  end
end

--- The path of a process's socket as q sees it, as far as that is known.
function session.path_for(p, q)
  local self = p.session
  return self.via == q and self.seen or self.path
end

--- Gives a connection up.
function session.close(connection)
  connection.channel:close()
  connection.handoff:close()
end

--- What a process says of itself; nothing changes by it. Fails where it doesn't answer within `patience`.
---@return table welcome
---@return integer pid  as q sees it
function session.look(q, path, patience)
  local found = session.connect(q, path, session.new_id(), 0, { resume = true, patience = patience })
  session.close(found)
  return found.welcome, found.pid
end

-- ---- the machine of a process that is reached so ----

--- As the machine of `q`, over which everything goes; `machine`: made before, of the same process.
function session.machine_of(q, facts, machine)
  local base = q.machine
  machine = machine or setmetatable({}, getmetatable(base))
  machine.name, machine.sys, machine.stream, machine.root = base.name, base.sys, base.stream, base.root
  machine.local_, machine.can_share = false, true
  machine.hello = machine.hello or setmetatable(facts, { __index = base.hello })
  machine.read_max = machine.hello.read_max
  machine.block_size = function() return machine.hello.block_size end
  return machine
end

--- A connection becomes the carrier of the process. Raises when it can't go on there.
function session.attach(p, q, connection)
  local welcome, self = connection.welcome, p.session
  if not p.task:resume(connection.channel, welcome.requests, welcome.window) then
    session.close(connection)
    fail(p, "reconnect", { self.path }, "the process and this host don't agree on what was performed", { name = "lost" })
  end
  p.machine = session.machine_of(q, nil, p.machine)
  if rawget(p, "handoff") then p.handoff.task:close() end
  p.handoff = { task = tasks.child(connection.handoff, welcome.hold_slots, welcome.read_max), carrier = welcome.handoff }
  p.carrier, p.own_fds, self.listener = welcome.carrier, welcome.fds, welcome.listener
  for number in pairs(self.internal or {}) do p.table.internal[number] = nil end
  self.internal = {}
  for _, number in ipairs(welcome.fds) do
    p.table.internal[number], self.internal[number] = true, true
  end
  if self.via ~= q then self.seen = nil end
  self.via, self.pid, self.channel = q, connection.pid, connection.channel
end

-- ---- when the connection breaks ----

local function end_with(p, fate)
  p.task:fail(fate)
  if rawget(p, "handoff") then p.handoff.task:close() end
end

--- One attempt. Returns whether it is settled: the session goes on, or never will.
local function try_resume(p, q)
  local self = p.session
  local ok, connection = pcall(session.connect, q, session.path_for(p, q), self.id, p.task:received(), { resume = true })
  if not ok then
    local gone = errors.is(connection, "ECONNREFUSED") or errors.is(connection, "ENOENT")
    if gone then end_with(p, "eof") end
    return gone, connection
  end
  if connection.welcome.verdict == "gone" then
    self.taken_by = connection.welcome.name ~= "" and connection.welcome.name or "another host"
    session.close(connection)
    end_with(p, "lost")
    return true
  end
  local attached, why = pcall(session.attach, p, q, connection)
  if attached then return true end
  session.close(connection)
  if errors.is(why) then end_with(p, "lost") end
  if p.task:state() ~= "open" then return true end
  p.task:cut() -- that way has ended as it was found
  return false, why
end

--- Some process that may reach it, or nil.
local function way_to(self)
  if self.offered then return self.offered end
  if self.via:is_alive() then return self.via end
  if self.reach then
    local ok, q = pcall(self.reach)
    return ok and q or nil
  end
  return self.via.machine.local_ and require("afar.here").root() or nil
end

local function pause(self, seconds)
  self.wake = loop.id()
  local id = self.wake
  local timer = sched.after(seconds, function() loop.complete(id) end)
  sched.wait(id)
  self.wake, timer.f = nil, nil
end

local function recover(p)
  local self, delay = p.session, RETRY_FIRST
  local stop
  local timer = sched.after(self.limit, function()
    stop = true
    loop.complete(self.wake or 0)
  end)
  while not (stop or self.left) and p.task:state() == "open" do
    local q = way_to(self)
    self.offered = nil
    if q and try_resume(p, q) then break end
    if not self.offered then pause(self, delay) end
    delay = math.min(2 * delay, RETRY_MOST)
  end
  timer.f = nil
  if p.task:state() == "open" and (stop or self.left) then end_with(p, "lost") end
  for _, id in ipairs(self.waiting or {}) do loop.complete(id) end
  self.waiting = nil
end

--- Looks after the session as long as it lasts.
function session.watch(p)
  local self = p.session
  self.limit = self.limit or session.limit
  sched.start(function()
    while p.task:state() == "open" do
      local id = p.task:wait_break()
      if id then sched.wait(id) end
      if self.left or p.task:state() ~= "open" then break end
      if self.offering then
        sched.wait(self.offering)
      else
        self.broken = true
        recover(p)
        self.broken = false
      end
    end
    if rawget(p, "handoff") then p.handoff.task:close() end
  end)
end

--- Offers another way to a process whose connection has broken; waits for what becomes of it.
function session.offer(p, q)
  local self = p.session
  while self.offering do sched.wait(self.offering) end
  if not self.broken then -- as far as anybody has noticed
    self.offering = loop.id()
    p.task:cut() -- the process is told how much has come: nothing more may come this way
    local ok, settled, err = pcall(try_resume, p, q)
    loop.complete(self.offering)
    self.offering = nil
    if not ok or not settled then error(ok and err or settled, 0) end
    return
  end
  if self.via ~= q then self.seen = nil end
  self.offered, self.via = q, q
  local id = loop.id()
  self.waiting = self.waiting or {}
  self.waiting[#self.waiting + 1] = id
  loop.complete(self.wake or 0)
  sched.wait(id)
end

--- Lets go: the process stays, this host's calls to it are over.
function session.leave(p)
  p.session.left = true
  end_with(p, "lost") -- not "eof": its block is still its own
end

return session
