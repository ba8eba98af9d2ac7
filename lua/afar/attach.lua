--- An fd of a process becomes a channel: the root carries what goes through it, framed, without a copy through the process.

local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local hello = require "afar.hello"
local sched = require "afar.sched"

local attach = {}

local FILE_WINDOW = 1024 * 1024 -- of bytes under way: a file is never waited for

local function window_of(fd) return fd.kind == "file" and FILE_WINDOW or hello.WINDOW end

local function flags_of(fd, mode)
  local flags = 0
  if mode:find "r" then flags = flags + hello.ATTACH_READ end
  if mode:find "w" then flags = flags + hello.ATTACH_WRITE end
  if fd.kind == "socket" then flags = flags + hello.ATTACH_SOCKET end
  return flags
end

--- Makes the root's fd `number`, which came from one of its processes, a channel. Nobody waits for it.
function attach.in_root(machine, number, channel, flags, window)
  local r = requests.record(machine.root)
  window = window or hello.WINDOW
  r:attach(channel:number(), number, flags, window, window)
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

local function from_root(p, fd, channel, flags)
  local r = requests.record(p)
  r.args = { n = 1, fd }
  if fd.kind == "pipe" then r:call("fcntl", nil, fd.number, p.machine.sys.C.F_SETFL, p.machine.sys.C.O_NONBLOCK) end
  local ref = r:attach(channel:number(), fd.number, flags, window_of(fd), window_of(fd))
  r:run() -- until it is a channel's, it is the handle's to close
  fds.forget(fd)
  p.table.internal[r:result(ref)] = true
end

--- Any other process hands it to the root over its carrier.
local function from_other(p, fd, channel, flags)
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
  if number and p.machine.local_ then number = sched.wait(p.machine.stream:send_fd(number)) end -- it came to the host itself
  r:check()
  if not number or number < 0 then error(errors.lost(p, "attach", r.args, "lost"), 0) end
  local attached = attach.in_root(p.machine, number, channel, flags, window_of(fd))
  attached:wait()
  attached:check()
end

--- Gives an fd to a channel of the process's machine. The handle is used up: the channel owns the file. A pipe's end is made non-blocking.
---@param p afar.Process
---@param fd afar.Fd     a socket, a pipe's end, or a regular file
---@param mode "r"|"w"|"rw"  what is read from it goes to the host; what the host sends is written to it
---@return userdata channel
function attach.channel(p, fd, mode)
  fds.near(fd, p, "attach")
  local channel = p.machine.stream:channel(window_of(fd), window_of(fd))
  local step = p.is_root and from_root or from_other
  local ok, err = pcall(step, p, fd, channel, flags_of(fd, mode))
  if ok then return channel end
  channel:close()
  error(err, 0)
end

return attach
