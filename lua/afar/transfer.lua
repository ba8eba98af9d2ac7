--- Bytes through sockets, with flags and addresses.

local bit = require "bit"
local fds = require "afar.fd"
local io = require "afar.io"
local pointer = require "afar.pointer"
local socket = require "afar.socket"

local transfer = {}

local POLLIN, POLLPRI, POLLOUT, POLLERR = 1, 2, 4, 8
local DEFAULT_RECEIVE = 64 * 1024
local RECEIVE_MOST = 1024 * 1024
local SEND_MOST = 1024 * 1024 -- of a stream at once

local function number_of(ref) return function(r) return r:result(ref) end, ref end

--- What poll(2) has to report before a receive with these flags finds something.
function transfer.receive_events(C, flags)
  if bit.band(flags, C.MSG_OOB) ~= 0 then return POLLPRI end
  if bit.band(flags, C.MSG_ERRQUEUE) ~= 0 then return POLLERR end
  return POLLIN
end

--- The flags of a call with values; holds unless the script asked not to wait.
function transfer.hold_unless_told(r, call, number, flags, events, more)
  local C = r.sys.C
  if bit.band(flags, C.MSG_DONTWAIT) == 0 then r:hold(number, events, { as = call }) end
  return tonumber(bit.bor(flags, C.MSG_DONTWAIT, more or 0))
end

function transfer.check_length(call, length)
  if length == nil then return DEFAULT_RECEIVE end
  if type(length) ~= "number" or length < 0 or length % 1 ~= 0 then
    error(("%s: a number of bytes or a pointer was expected, not %s"):format(call, tostring(length)), 0)
  end
  return math.min(length, RECEIVE_MOST)
end

local function receive_pointer(r, call, fd, ptr, flags, name, length)
  r:block()
  local number = fds.near(fd, r.process, call)
  local name_at, length_at = name and name:near(r.process, r) or 0, length and length:near(r.process, r) or 0
  flags = r.sys:const(flags, "MSG_", call)
  local ref = r:call("recvfrom", { as = call, flush = true }, number, ptr:near(r.process, r), ptr.size, flags, name_at, length_at)
  return function(r_) return pointer.parts(ptr, r_:result(ref)) end, ref
end

local function record_receive(r, call, fd, what, flags, ...)
  if pointer.is(what) then return receive_pointer(r, call, fd, what, flags, ...) end
  local length = transfer.check_length(call, what)
  local number = fds.near(fd, r.process, call)
  flags = r.sys:const(flags, "MSG_", call)
  local at = r:scratch(math.max(length, 1))
  local name, name_length, bring = socket.name_room(r)
  local all = transfer.hold_unless_told(r, call, number, flags, transfer.receive_events(r.sys.C, flags))
  local ref = r:call("recvfrom", { as = call }, number, at, length, all, name, name_length)
  local data = io.fetch_result(r, at, length, ref)
  return data, ref, bring(ref), ref
end

--- Whether the script asked not to wait.
function transfer.dont_wait(self, flags)
  local sys = fds.process_of(self).machine.sys
  return bit.band(sys:const(flags, "MSG_", "recv"), sys.C.MSG_DONTWAIT) ~= 0
end

--- Receives until there was something; once, if the script asked not to wait.
function transfer.receive(record, self, what, flags, ...)
  if not pointer.is(what) and transfer.dont_wait(self, flags) then return socket.run(record, self, what, flags, ...) end
  return io.until_done(record, self, what, flags, ...)
end

local function record_recv(r, fd, ...)
  local data, ref = record_receive(r, "recv", fd, ...)
  return data, ref
end

local function record_recvfrom(r, fd, ...) return record_receive(r, "recvfrom", fd, ...) end

local function both_recvfrom(r, fd, ...)
  local data, ref, peer = record_recvfrom(r, fd, ...)
  if not peer then return data, ref end
  return function(r_) return data(r_), peer(r_) end, ref
end

--- fd:recv(length, flags): a message, or of a stream up to so many bytes (default 64 KiB, at most 1 MiB), as a string; waits without blocking the
--- process, unless flags has MSG_DONTWAIT (then EAGAIN is raised). "" at the end. MSG_WAITALL doesn't go with that: fd:reader():exactly(n) does.
--- fd:recv(pointer, flags): the system call; the part that was filled, and the rest. See recv(2).
---@return string
fds.define("recv", function(self, ...) return transfer.receive(record_recv, self, ...) end, record_recv)

--- fd:recvfrom(length, flags): as recv; returns the sender's address too.
--- fd:recvfrom(pointer, flags, name_pointer, length_pointer): the system call.
---@return string, afar.Address?
fds.define("recvfrom", function(self, ...) return transfer.receive(both_recvfrom, self, ...) end, record_recvfrom)

local function send_pointer(r, call, fd, ptr, flags, name)
  r:block()
  local number = fds.near(fd, r.process, call)
  local at, length = 0, 0
  if name then at, length = socket.store_name(r, call, name) end
  flags = r.sys:const(flags, "MSG_", call)
  local ref = r:call("sendto", { as = call, flush = true }, number, ptr:near(r.process, r), ptr.size, flags, at, length)
  return function(r_) return pointer.parts(ptr, r_:result(ref)) end, ref
end

local function record_send(r, call, fd, data, flags, name)
  if pointer.is(data) then return send_pointer(r, call, fd, data, flags, name) end
  if type(data) ~= "string" then error(("%s: a string or a pointer was expected, not %s"):format(call, type(data)), 0) end
  local number, at, length = fds.near(fd, r.process, call), 0, 0
  if name ~= nil then at, length = socket.store_name(r, call, name) end
  flags = r.sys:const(flags, "MSG_", call)
  local all = transfer.hold_unless_told(r, call, number, flags, POLLOUT, r.sys.C.MSG_NOSIGNAL)
  return number_of(r:call("sendto", { as = call }, number, r:bytes(data), #data, all, at, length))
end

--- How much of `data` goes out at once: all, unless it is long and the socket's messages have no bounds.
local function portion(self, data)
  if #data <= SEND_MOST then return #data end
  local stream = self:getsockopt "SO_TYPE" == fds.process_of(self).machine.sys.C.SOCK_STREAM
  return stream and SEND_MOST or #data
end

--- All of `data`: what a stream took only a part of is sent on.
local function send_all(record, self, data, flags, ...)
  local once = pointer.is(data) or type(data) ~= "string" or transfer.dont_wait(self, flags)
  if once then return socket.run(record, self, data, flags, ...) end
  local most, sent = portion(self, data), 0
  repeat
    sent = sent + io.until_done(record, self, data:sub(sent + 1, sent + most), flags, ...)
  until sent >= #data
  return sent
end

local function record_send_plain(r, fd, data, flags) return record_send(r, "send", fd, data, flags) end
local function record_sendto(r, fd, data, flags, name) return record_send(r, "sendto", fd, data, flags, name) end

--- fd:send(data, flags): sends all of it, waiting without blocking the process; returns its length. MSG_NOSIGNAL is added. With MSG_DONTWAIT
--- one attempt: returns what went out, raises EAGAIN. fd:send(pointer, flags): the system call; the part that was sent, and the rest. See send(2).
fds.define("send", function(self, ...) return send_all(record_send_plain, self, ...) end, record_send_plain)

--- fd:sendto(data, flags, address): as send, to that address; see sendto(2).
fds.define("sendto", function(self, ...) return send_all(record_sendto, self, ...) end, record_sendto)

return transfer
