--- epoll(7), for who wants it: every other call here waits without it.

local bit = require "bit"
local ffi = require "ffi"
local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local nursery = require "afar.nursery"
local pointer = require "afar.pointer"
local process = require "afar.process"

local DEFAULT_EVENTS = 32

--- p:epoll_create1(flags): see epoll_create1(2). Close-on-exec.
---@return afar.Fd
process.define_recorded("epoll_create1", function(r, _, flags)
  flags = tonumber(bit.bor(r.sys:const(flags, "EPOLL_", "epoll_create1"), r.sys.C.EPOLL_CLOEXEC))
  local ref = r:call("epoll_create1", nil, flags)
  return function(r_) return fds.new(r_.process, r_:result(ref), "device") end, ref
end)

local function event_bytes(r, fd, event)
  if type(event) ~= "table" or event[1] then event = { events = event } end
  local raw = ffi.new(r.sys.ctype.epoll_event)
  local number = type(fd) == "table" and rawget(fd, "number") or fd
  local data = event.data or type(number) == "number" and number or 0
  if type(data) ~= "number" and type(data) ~= "cdata" then
    error(("epoll_ctl: data is a number, not %s"):format(type(data)), 0)
  end
  raw.events, raw.data = r.sys:const(event.events, "EPOLL", "epoll_ctl"), data
  return ffi.string(raw, ffi.sizeof(raw))
end

--- epfd:epoll_ctl(op, fd, event): see epoll_ctl(2). op: "EPOLL_CTL_ADD", "EPOLL_CTL_MOD", "EPOLL_CTL_DEL"; event: "EPOLLIN|EPOLLET", or
--- { events = "EPOLLIN", data = number } (by default data is the fd's number), or a pointer. Closing an fd takes it out of the set only once no copy of
--- it is open anywhere.
fds.define_recorded("epoll_ctl", function(r, epfd, op, fd, event)
  op = r.sys:const(op, "EPOLL_CTL_", "epoll_ctl")
  local at
  if pointer.is(event) then
    at = event:near(r.process, r)
  else
    at = op ~= r.sys.C.EPOLL_CTL_DEL and r:bytes(event_bytes(r, fd, event)) or 0
  end
  local near = fds.near(fd, r.process, "epoll_ctl")
  local ref = r:call("epoll_ctl", nil, fds.near(epfd, r.process, "epoll_ctl"), op, near, at)
  return function() end, ref
end)

local NAMES = { "EPOLLIN", "EPOLLPRI", "EPOLLOUT", "EPOLLERR", "EPOLLHUP", "EPOLLRDHUP" }

local function decode_one(sys, raw)
  local data = tonumber(raw.data)
  local event = { events = raw.events, data = data <= 2 ^ 53 and data or raw.data }
  for _, name in ipairs(NAMES) do
    if bit.band(raw.events, sys.C[name]) ~= 0 then event[name] = true end
  end
  return event
end

local function decode(sys, bytes, count)
  local raw, list = ffi.new(sys.ctype.epoll_event), {}
  local size = ffi.sizeof(raw)
  for i = 1, math.min(count, #bytes / size) do
    ffi.copy(raw, bytes:sub((i - 1) * size + 1, i * size), size)
    list[i] = decode_one(sys, raw)
  end
  return list
end

local function record_wait(r, epfd, maxevents, waits)
  local number = fds.near(epfd, r.process, "epoll_wait")
  local size = ffi.sizeof(r.sys.ctype.epoll_event)
  local at = r:scratch(maxevents * size)
  maxevents = math.min(maxevents, math.floor(r:fetch_most(at, maxevents * size) / size))
  if waits then r:hold(number, 1, { as = "epoll_wait" }) end
  local ref = r:call("epoll_pwait", { as = "epoll_wait" }, number, at, maxevents, 0, 0, 8)
  local data = r:fetch_of(ref, at, maxevents * size)
  return function(r_) return decode(r_.sys, r_:data(data), r_:result(ref)) end, ref
end

local function check_maxevents(maxevents)
  maxevents = maxevents or DEFAULT_EVENTS
  if type(maxevents) ~= "number" or maxevents < 1 or maxevents > 4096 or maxevents % 1 ~= 0 then
    error(("epoll_wait: maxevents is a number from 1 to 4096, not %s"):format(tostring(maxevents)), 0)
  end
  return maxevents
end

--- With a pointer: the system call as it is.
local function wait_pointer(self, ptr, maxevents, timeout)
  local p = fds.process_of(self)
  local r = requests.record(p)
  r.args = { n = 4, self, ptr, maxevents, timeout }
  maxevents = maxevents or math.floor(ptr.size / ffi.sizeof(r.sys.ctype.epoll_event))
  r:block()
  local ref = r:call("epoll_pwait", { as = "epoll_wait", flush = true }, fds.near(self, p, "epoll_wait"), ptr:near(p, r), maxevents, timeout or -1, 0, 8)
  r:run()
  return r:result(ref)
end

local function wait_once(self, maxevents, waits)
  local p = fds.process_of(self)
  local r = requests.record(p)
  r.args = { n = 2, self, maxevents }
  r:pin(self)
  local finish = record_wait(r, self, maxevents, waits)
  r:submit()
  r:wait()
  if self.state.closed and not r.fate then
    error(errors.new(p, "epoll_wait", r.args, "the fd was closed meanwhile", { name = "EBADF" }), 0)
  end
  r:check()
  return finish(r)
end

local function wait_for_some(self, maxevents)
  while true do
    local list = wait_once(self, maxevents, true)
    if #list > 0 then return list end
  end
end

--- epfd:epoll_wait(maxevents, timeout): waits for events, without blocking the process; see epoll_wait(2). timeout in milliseconds: -1 (default) waits
--- as long as it takes, 0 not at all. Returns a list of { data = number, events = number, EPOLLIN = true, ... }, empty when the time is over.
--- epfd:epoll_wait(pointer, maxevents, timeout): the system call; returns how many events there are.
fds.define("epoll_wait", function(self, maxevents, timeout, ...)
  if pointer.is(maxevents) then return wait_pointer(self, maxevents, timeout, ...) end
  maxevents = check_maxevents(maxevents)
  if timeout == nil or timeout < 0 then return wait_for_some(self, maxevents) end
  if timeout == 0 then return wait_once(self, maxevents, false) end
  local ok, list = pcall(nursery.timeout, timeout / 1000, wait_for_some, self, maxevents)
  if ok then return list end
  if type(list) == "table" and rawget(list, "timeout") then return {} end
  error(list, 0)
end, function(r, epfd, maxevents) return record_wait(r, epfd, check_maxevents(maxevents), true) end)
