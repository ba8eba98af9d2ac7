--- Messages that carry more than bytes: sendmsg and recvmsg, with addresses and control messages (cmsg.lua).

local ffi = require "ffi"
local bit = require "bit"
local address = require "afar.address"
local requests = require "afar.requests"
local cmsg = require "afar.cmsg"
local errors = require "afar.error"
local fds = require "afar.fd"
local io = require "afar.io"
local nearest = require "afar.nearest"
local pointer = require "afar.pointer"
local socket = require "afar.socket"
local stats = require "afar.stat"
local transfer = require "afar.transfer"
local u32 = require("afar.bytes").u32

local POLLOUT = 4
local NAME_MOST = 128
local CONTROL_MOST = 4096 -- room for 253 fds and all else that a socket may be told to report
local EMPTY = ""

local OFFSET = { namelen = 8, controllen = 40, flags = 48 } -- in struct msghdr
local FIELDS = { data = true, name = true, control = true, fds = true }

local function bad(p, call, message) error(errors.new(p, call, nil, message), 0) end

--- A struct msghdr of the chain's, for what lies at these addresses.
local function header(r, name, name_length, iov, control, control_length)
  local h = ffi.new(r.sys.ctype.msghdr)
  h.msg_name, h.msg_namelen, h.msg_iov, h.msg_iovlen = name, name_length, iov, 1
  h.msg_control, h.msg_controllen = control, control_length
  return r:bytes(ffi.string(h, ffi.sizeof(h)))
end

local function vector(r, base, length)
  local iov = ffi.new(r.sys.ctype.iovec, base, length)
  return r:bytes(ffi.string(iov, ffi.sizeof(iov)))
end

local function raw(r, call, fd, ptr, flags)
  r:block()
  local number = fds.near(fd, r.process, call)
  local ref = r:call(call, { flush = true }, number, ptr:near(r.process, r), r.sys:const(flags, "MSG_", call))
  return function(r_) return r_:result(ref) end, ref
end

-- ---- sending ----

local function text_of(p, message)
  local data = message.data or EMPTY
  if type(data) == "table" then return table.concat(data) end
  if type(data) ~= "string" then bad(p, "sendmsg", ("data is a string or a list of strings, not %s"):format(type(data))) end
  return data
end

local function check_message(p, message)
  if type(message) ~= "table" then bad(p, "sendmsg", ("a table or a pointer was expected, not %s"):format(type(message))) end
  for key in pairs(message) do
    if not FIELDS[key] then
      local near = nearest(tostring(key), FIELDS)
      bad(p, "sendmsg", ("a message has no %q%s"):format(tostring(key), near and (" (did you mean %q?)"):format(near) or ""))
    end
  end
end

local function control_of(r, message)
  local list = {}
  if message.fds then list[1] = { type = "SCM_RIGHTS", fds = message.fds } end
  for _, one in ipairs(message.control or {}) do list[#list + 1] = one end
  return cmsg.encode(r, list)
end

local function record_sendmsg(r, fd, message, flags)
  if pointer.is(message) then return raw(r, "sendmsg", fd, message, flags) end
  check_message(r.process, message)
  local number, C = fds.near(fd, r.process, "sendmsg"), r.sys.C
  local data, control = text_of(r.process, message), control_of(r, message)
  local name, name_length = 0, 0
  if message.name ~= nil then name, name_length = socket.store_name(r, "sendmsg", message.name) end
  local control_at = #control > 0 and r:bytes(control) or 0
  local at = header(r, name, name_length, vector(r, r:bytes(data), #data), control_at, #control)
  flags = r.sys:const(flags, "MSG_", "sendmsg")
  local all = transfer.hold_unless_told(r, "sendmsg", number, flags, POLLOUT, C.MSG_NOSIGNAL)
  local ref = r:call("sendmsg", nil, number, at, all)
  return function(r_) return r_:result(ref) end, ref
end

--- fd:sendmsg({ data =, name =, fds =, control = }, flags): sends one message, waiting without blocking the process; returns how many bytes.
--- data: a string, or a list of them; name: an address; fds: handles, which arrive as copies (SCM_RIGHTS); control: more control messages, as in
--- cmsg.lua. What a stream took only a part of is sent on. fd:sendmsg(pointer, flags): the system call with a struct msghdr. See sendmsg(2).
---@param message { data: string|string[], name: any, fds: afar.Fd[], control: afar.ControlMessage[] }
---@return integer
fds.define("sendmsg", function(self, message, flags)
  if pointer.is(message) or transfer.dont_wait(self, flags) then return socket.run(record_sendmsg, self, message, flags) end
  local sent = io.until_done(record_sendmsg, self, message, flags)
  local data = text_of(self.process, message)
  if sent < #data then sent = sent + self:send(data:sub(sent + 1), flags) end
  return sent
end, record_sendmsg)

-- ---- receiving ----

local function all_fds(control)
  local list = {}
  for _, message in ipairs(control) do
    for _, fd in ipairs(message.fds or {}) do list[#list + 1] = fd end
  end
  return list
end

--- Brings all parts of what came; `after`: the call. Its message is made by the function that is returned.
local function bring(r, at, parts, after)
  local o = { if_ok = after, aside = true }
  local data = io.fetch_result(r, parts.data, parts.length, after)
  local name = r:fetch(parts.name, requests.load32(at + OFFSET.namelen, after), o, NAME_MOST)
  local control = r:fetch(parts.control, requests.load64(at + OFFSET.controllen, after), o, CONTROL_MOST)
  local flags = r:fetch(at + OFFSET.flags, 4, o)
  return function(r_)
    local list, number = cmsg.decode(r_, r_:data(control) or EMPTY), u32(r_:data(flags))
    return {
      data = data(r_), name = address.unpack(r_.sys, r_:data(name) or EMPTY), control = list, fds = all_fds(list),
      flags = number, truncated = bit.band(number, r_.sys.C.MSG_TRUNC) ~= 0,
      control_truncated = bit.band(number, r_.sys.C.MSG_CTRUNC) ~= 0,
    }
  end
end

local function record_recvmsg(r, fd, what, flags)
  if pointer.is(what) then return raw(r, "recvmsg", fd, what, flags) end
  local length, C = transfer.check_length("recvmsg", what), r.sys.C
  local number = fds.near(fd, r.process, "recvmsg")
  local parts = { length = length, data = r:scratch(math.max(length, 1)), name = r:scratch(NAME_MOST), control = r:scratch(CONTROL_MOST) }
  local at = header(r, parts.name, NAME_MOST, vector(r, parts.data, length), parts.control, CONTROL_MOST)
  flags = r.sys:const(flags, "MSG_", "recvmsg")
  local events = transfer.receive_events(C, flags)
  local all = transfer.hold_unless_told(r, "recvmsg", number, flags, events, C.MSG_CMSG_CLOEXEC)
  local ref = r:call("recvmsg", nil, number, at, all)
  return bring(r, at, parts, ref), ref
end

--- What the fds that came are: known, they are read without any chance of blocking. One round trip, only where fds came.
local function learn_kinds(self, list)
  local p = fds.process_of(self)
  local r, modes = requests.record(p), {}
  for i, fd in ipairs(list) do
    local at = r:scratch(stats.size(p.machine))
    local stat = r:call("fstat", { always = true, may_fail = true }, fd.number, at)
    modes[i] = r:fetch(at + stats.offset(p.machine, "st_mode"), 4, { if_ok = stat, may_fail = true, aside = true })
  end
  r:run()
  for i, fd in ipairs(list) do
    local mode = r:data(modes[i])
    fd.kind = mode and #mode == 4 and io.kind_of(u32(mode)) or nil
  end
end

---@class afar.Message
---@field data string
---@field name? afar.Address          the sender's
---@field control afar.ControlMessage[]
---@field fds afar.Fd[]               handles that came (SCM_RIGHTS), close-on-exec
---@field flags integer               MSG_ bits, as recvmsg(2) answers them
---@field truncated boolean           the message was longer
---@field control_truncated boolean   there were more control messages: fds among them are lost

--- fd:recvmsg(length, flags): receives one message of up to so many bytes (default 64 KiB, at most 1 MiB), waiting without blocking the
--- process. fd:recvmsg(pointer, flags): the system call with a struct msghdr; returns its result. See recvmsg(2).
---@return afar.Message
fds.define("recvmsg", function(self, what, flags)
  local message = transfer.receive(record_recvmsg, self, what, flags)
  if type(message) == "table" and #message.fds > 0 then learn_kinds(self, message.fds) end
  return message
end, record_recvmsg)
