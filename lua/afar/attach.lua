--- An fd of a process becomes a channel: the root carries what goes through it, framed, without a copy through the process.

local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local gate = require "afar.gate"
local hello = require "afar.hello"
local sched = require "afar.sched"
local spawn = require "afar.spawn"

local attach = {}

local MIB = 1024 * 1024
local PIPE_SIZE = MIB -- /proc/sys/fs/pipe-max-size, unless somebody has changed it

--- Bytes that may be under way: to the host at first, and at most, where the way is found to be so long; and from the host. A file is never waited for:
--- what goes there is written as it comes, however much was allowed.
local FILE, OTHER = { to_host = 2 * MIB, most = 8 * MIB, from_host = 8 * MIB }, { to_host = hello.WINDOW, most = hello.WINDOW, from_host = hello.WINDOW }

local function windows_of(fd) return fd.kind == "file" and FILE or OTHER end

local function flags_of(fd, mode)
  local flags = 0
  if mode:find "r" then flags = flags + hello.ATTACH_READ end
  if mode:find "w" then flags = flags + hello.ATTACH_WRITE end
  if fd.kind == "socket" then flags = flags + hello.ATTACH_SOCKET end
  return flags
end

--- Makes the root's fd `number`, which came from one of its processes, a channel. Nobody waits for it.
function attach.in_root(machine, number, channel, flags, windows)
  local r = requests.record(machine.root)
  windows = windows or OTHER
  r:attach(channel:number(), number, flags, windows.to_host, windows.from_host)
  machine.root.table.internal[number] = true
  r:submit()
  return r
end

--- Records how a process hands an fd to its root: `control` is the address of its control message.
function attach.record_send(r, p, control)
  local message = r:scratch(hello.MESSAGE_SIZE)
  local way = rawget(p, "handoff") or p -- of a persistent process: a socket for that alone
  local id = way.task:expect_fd()
  r:store(message, hello.message(message, control, id or 0))
  return { id = id, task = way.task, ref = r:call("sendmsg", { flush = true }, way.carrier, message, p.machine.sys.C.MSG_NOSIGNAL) }
end

--- The number that the fd has in the root, once the chain was answered: it comes before the answers. nil: it wasn't sent, or the
--- connection is lost.
---@return integer?
function attach.received(r, _, send)
  if not send.id then return nil end
  if not r.fate and r:result(send.ref) < 0 then
    send.task:forget_fd(send.id)
    return nil
  end
  local number = sched.wait(send.id)
  return number >= 0 and number or nil
end

--- Sends what makes an fd of a root's a channel; `copy`: a copy of it. Returns a function that waits until it is one.
local function begin_in_root(p, fd, channel, flags, copy)
  local r, C = requests.record(p), p.machine.sys.C
  r.args = { n = 1, fd }
  r:pin(fd)
  local number, windows = fd.number, windows_of(fd)
  if fd.kind == "pipe" then r:call("fcntl", nil, number, C.F_SETFL, C.O_NONBLOCK) end
  if copy then number = r:call("fcntl", { as = "dup" }, number, C.F_DUPFD_CLOEXEC, 3) end
  local ref = r:attach(channel:number(), number, flags, windows.to_host, windows.from_host)
  r:start()
  return function()
    r:wait()
    r:check()
    p.table.internal[r:result(ref)] = true
  end
end

local function from_root(p, fd, channel, flags)
  begin_in_root(p, fd, channel, flags)() -- until it is a channel's, it is the handle's to close
  fds.forget(fd)
end

--- Any other process hands it on over its carrier: on this machine to the host itself, else to the root. Its number there; the handle is used up.
local function hand_on(p, fd)
  local r = requests.record(p)
  r.args = { n = 1, fd }
  local C = p.machine.sys.C
  if fd.kind == "pipe" then r:call("fcntl", nil, fd.number, C.F_SETFL, C.O_NONBLOCK) end
  local send = attach.record_send(r, p, r:bytes(hello.rights(fd.number)))
  r:call("close", { always = true }, fd.number)
  r:start()
  fds.forget(fd)
  r:wait()
  local number = attach.received(r, p, send)
  r:check()
  if not number then error(errors.lost(p, "attach", r.args, "lost"), 0) end
  return number
end

local function from_other(p, fd, channel, flags)
  local number = hand_on(p, fd)
  if p.machine.local_ then number = sched.wait(p.machine.stream:send_fd(number)) end
  if not number or number < 0 then error(errors.lost(p, "attach", { n = 1, fd }, "lost"), 0) end
  local attached = attach.in_root(p.machine, number, channel, flags, windows_of(fd))
  attached:wait()
  attached:check()
end

local function channel_of(p, fd, mode)
  fds.near(fd, p, "attach")
  local windows = windows_of(fd)
  local channel = p.machine.stream:channel(windows.to_host, windows.from_host, windows.most)
  local step = p.is_root and from_root or from_other
  local ok, err = pcall(step, p, fd, channel, flags_of(fd, mode))
  if ok then return channel end
  channel:close()
  error(err, 0)
end

--- Gives an fd to a channel of the process's machine. The handle is used up: the channel owns the file. A pipe's end is made non-blocking.
---@param p afar.Process
---@param fd afar.Fd     a socket, a pipe's end, or a regular file
---@param mode "r"|"w"|"rw"  what is read from it goes to the host; what the host sends is written to it
---@return userdata channel
function attach.channel(p, fd, mode) return gate.pass(p, channel_of, p, fd, mode) end

local function copy_of(p, fd, mode)
  if not p.is_root then return attach.channel(p, fd:dup(), mode), function() end end
  fds.near(fd, p, "attach")
  local windows = windows_of(fd)
  local channel = p.machine.stream:channel(windows.to_host, windows.from_host, windows.most)
  return channel, begin_in_root(p, fd, channel, flags_of(fd, mode), true)
end

--- The same with a copy of the fd: the handle stays. Doesn't wait for the channel, which may be used at once; the second result is to be called before the
--- handle is closed: it waits, and raises what went wrong.
---@return userdata channel, fun() finish
function attach.copy(p, fd, mode) return gate.pass(p, copy_of, p, fd, mode) end

--- A copy of a process's fd that the host itself has, where that is on this machine: its number, the caller's to close; nil where it can't be had.
---@return integer?
function attach.to_host(p, fd)
  if not p.machine.local_ or rawget(p, "session") then return nil end
  if p.is_root then return spawn.take_fd(p.machine.host_pid, fd.number) end
  return hand_on(p, fd:dup())
end

local function pipe_of(p, mode)
  local C = p.machine.sys.C
  local ours, theirs
  if p.is_root then
    local from, to = spawn.pipe()
    if not from then error(errors.new(p, "attach", nil, to), 0) end
    ours, theirs = from, to
    if mode == "r" then ours, theirs = to, from end
    local number = sched.wait(p.machine.stream:send_fd(theirs))
    if not number or number < 0 then
      spawn.close(ours)
      error(errors.lost(p, "attach", nil, "lost"), 0)
    end
    theirs = fds.new(p, number, "pipe")
  else
    local from, to = p:pipe2()
    ours, theirs = from, to
    if mode == "r" then ours, theirs = to, from end
    ours = hand_on(p, ours)
  end
  pcall(theirs.fcntl, theirs, C.F_SETPIPE_SZ, PIPE_SIZE) -- where all that a user may have is in use, it stays as it is
  return theirs, ours
end

--- A pipe between a process of this machine and the host, as wide as may be. Returns the process's end, and the number of the host's, which is the
--- caller's to close.
---@param p afar.Process    on this machine
---@param mode "r"|"w"      what the process does with its end
---@return afar.Fd, integer
function attach.pipe(p, mode) return gate.pass(p, pipe_of, p, mode) end

return attach
