--- Connections: accept and connect, which wait without blocking the process.

local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local io = require "afar.io"
local pointer = require "afar.pointer"
local sched = require "afar.sched"
local socket = require "afar.socket"
local u32 = require("afar.bytes").u32

local POLLIN, POLLOUT = 1, 4
local RETRY_FIRST, RETRY_MOST = 0.001, 0.05 -- seconds: see connect_value

local function fail(p, call, args, message, fields) error(errors.new(p, call, args, message, fields), 0) end

-- ---- calls that wait, on sockets of ours ----

local function is_ours(fd)
  return type(fd) == "table" and rawget(fd, "kind") == "socket" and not (rawget(fd, "state") or {}).foreign
end

--- Records what `call()` records with the socket non-blocking, as long as that takes, and in no other request's sight. Only on an open
--- file description that we made: others may be used by programs that would not understand. There the call may block: a
--- root has it made by another process.
local function record_nonblocking(r, fd, number, call)
  local C = r.sys.C
  if not is_ours(fd) then
    r:block()
    return call()
  end
  local plain = r:call("fcntl", { expect = C.O_RDWR, may_fail = true, aside = true }, number, C.F_GETFL, 0)
  local set = r:call("fcntl", { if_ok = plain, may_fail = true, aside = true }, number, C.F_SETFL, C.O_RDWR + C.O_NONBLOCK)
  local ref = call()
  r:call("fcntl", { if_ok = set, may_fail = true, aside = true }, number, C.F_SETFL, C.O_RDWR)
  return ref
end

-- ---- accept ----

local function accept_pointer(r, as, fd, name, length, flags)
  r:block()
  flags = socket.flags(r, flags, "SOCK_", as, r.sys.C.SOCK_CLOEXEC)
  local number = fds.near(fd, r.process, as)
  local ref = r:call("accept4", { as = as, flush = true }, number, name:near(r.process, r), length:near(r.process, r), flags)
  return function(r_) return fds.new(r_.process, r_:result(ref), "socket") end, ref
end

local function record_accept(r, as, fd, flags, ...)
  if pointer.is(flags) then return accept_pointer(r, as, fd, flags, ...) end
  flags = socket.flags(r, flags, "SOCK_", as, r.sys.C.SOCK_CLOEXEC)
  local number = fds.near(fd, r.process, as)
  local name, length, bring = socket.name_room(r)
  r:hold(number, POLLIN, { as = as })
  local ref = record_nonblocking(r, fd, number, function() return r:call("accept4", { as = as }, number, name, length, flags) end)
  local peer = bring(ref)
  return function(r_) return fds.new(r_.process, r_:result(ref), "socket") end, ref, peer, ref
end

local function define_accept(name)
  local function record(r, fd, ...) return record_accept(r, name, fd, ...) end
  local function both(r, fd, ...)
    local accepted, ref, peer = record(r, fd, ...)
    if not peer then return accepted, ref end
    return function(r_) return accepted(r_), peer(r_) end, ref
  end
  fds.define(name, function(self, ...) return io.until_done(both, self, ...) end, record)
end

--- fd:accept4(flags), fd:accept(): waits for a connection without blocking the process; returns its socket, close-on-exec, and the peer's address. See
--- accept(2). fd:accept4(pointer, length_pointer, flags): the system call; returns the socket.
define_accept "accept4"
define_accept "accept"

-- ---- connect ----

local function error_option(r, number)
  local C = r.sys.C
  local value, length = r:bytes("\0\0\0\0"), r:bytes("\4\0\0\0")
  local ref = r:call("getsockopt", nil, number, C.SOL_SOCKET, C.SO_ERROR, value, length)
  return r:fetch_of(ref, value, 4)
end

local function record_outcome(r, number, o)
  r:hold(number, POLLOUT, o)
  return error_option(r, number)
end

local function new_record(self, value)
  local r = requests.record(fds.process_of(self))
  r.args = { n = 2, self, value }
  r:pin(self)
  return r
end

--- Sends; the holds that weren't needed, or were cut short, are told apart by what else was answered.
local function send(r, self)
  r:start()
  r:wait()
  if r.fate then r:check() end
  sched.check()
  if self.state.closed then fail(r.process, "connect", r.args, "the fd was closed meanwhile", { name = "EBADF" }) end
end

local function raise(r, errno)
  if errno ~= 0 then error(errors.errno(r.process, "connect", r.args, errno), 0) end
end

local function settle_outcome(r, data)
  local errno = r:data(data)
  if not errno or #errno < 4 then return r:check() end
  raise(r, u32(errno))
end

local function await_outcome(self, value)
  local r = new_record(self, value)
  local data = record_outcome(r, fds.near(self, r.process, "connect"))
  send(r, self)
  settle_outcome(r, data)
end

--- One attempt. Returns false when it has to be made again.
local function try_connect(self, value)
  local r = new_record(self, value)
  local number = fds.near(self, r.process, "connect")
  local at, length = socket.store_name(r, "connect", value)
  local ref = record_nonblocking(r, self, number, function()
    return r:call("connect", { may_fail = true, aside = true, flush = true }, number, at, length)
  end)
  local data = is_ours(self) and record_outcome(r, number, { as = "connect", if_failed = ref })
  send(r, self)
  local result, C = r:result(ref), r.sys.C
  if result == -C.EAGAIN then return false end
  if result ~= -C.EINPROGRESS and result ~= -C.EALREADY then
    raise(r, -result)
  elseif data then
    settle_outcome(r, data)
  else
    await_outcome(self, value)
  end
  return true
end

--- Only unix sockets answer EAGAIN: the listener's queue is full, and poll(2) doesn't tell when there is room.
local function connect_value(self, value)
  local delay = RETRY_FIRST
  while not try_connect(self, value) do
    sched.sleep(delay)
    delay = math.min(2 * delay, RETRY_MOST)
  end
end

local function connect_pointer(self, ptr)
  local r = new_record(self, ptr)
  r:block()
  r:call("connect", { flush = true }, fds.near(self, r.process, "connect"), ptr:near(r.process, r), ptr.size)
  r:run()
end

--- fd:connect(address): connects, waiting without blocking the process; see connect(2). Paths of unix sockets may be longer than
--- their addresses. Not to be part of a chain. fd:connect(pointer): the system call, with the pointer's memory as the address.
---@param value string|table|afar.Address|afar.Pointer
fds.define("connect", function(self, value)
  if pointer.is(value) then return connect_pointer(self, value) end
  local long = socket.too_long(value)
  if not long then return connect_value(self, value) end
  socket.with_short_path(fds.process_of(self), "connect", long, function(name) return connect_value(self, name) end)
end)
