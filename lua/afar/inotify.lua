--- inotify(7): what happens to files, as a sequence of events.

local bit = require "bit"
local ffi = require "ffi"
local errors = require "afar.error"
local events = require "afar.events"
local fds = require "afar.fd"
local process = require "afar.process"

local BUFFER = 64 * 1024

-- ---- the calls ----

--- p:inotify_init1(flags): an inotify fd; see inotify_init(2). IN_CLOEXEC and IN_NONBLOCK are added: reads wait here, not in the process.
---@return afar.Fd
process.define_recorded("inotify_init1", function(r, _, flags)
  local C = r.sys.C
  flags = tonumber(bit.bor(r.sys:const(flags, "IN_", "inotify_init1"), C.IN_CLOEXEC, C.IN_NONBLOCK))
  local ref = r:call("inotify_init1", nil, flags)
  return function(r_) return fds.new(r_.process, r_:result(ref), "device") end, ref
end)

--- fd:inotify_add_watch(path, mask): the number of the watch; see inotify_add_watch(2). mask: "IN_CREATE|IN_DELETE"; default "IN_ALL_EVENTS".
---@return integer wd
fds.define_recorded("inotify_add_watch", function(r, fd, path, mask)
  local number = fds.near(fd, r.process, "inotify_add_watch")
  mask = r.sys:const(mask or "IN_ALL_EVENTS", "IN_", "inotify_add_watch")
  local ref = r:call("inotify_add_watch", nil, number, r:string(path), mask)
  return function(r_) return r_:result(ref) end, ref
end)

--- fd:inotify_rm_watch(wd): see inotify_rm_watch(2).
fds.define_recorded("inotify_rm_watch", function(r, fd, wd)
  local ref = r:call("inotify_rm_watch", nil, fds.near(fd, r.process, "inotify_rm_watch"), wd)
  return function() end, ref
end)

-- ---- events ----

---@class afar.InotifyEvent
---@field path string     of what is watched; nil for IN_Q_OVERFLOW
---@field name? string    of the entry in a watched directory that it is about
---@field mask integer    event.IN_CREATE etc. tell the same as true or false
---@field cookie integer  common to IN_MOVED_FROM and IN_MOVED_TO of one rename
---@field wd integer
local Event = events.kind(
  "inotify event",
  "IN_",
  [[IN_ACCESS IN_MODIFY IN_ATTRIB IN_CLOSE_WRITE IN_CLOSE_NOWRITE IN_OPEN IN_MOVED_FROM IN_MOVED_TO IN_CREATE IN_DELETE
  IN_DELETE_SELF IN_MOVE_SELF IN_UNMOUNT IN_Q_OVERFLOW IN_IGNORED IN_ISDIR]]
)

-- ---- the sequence ----

---@class afar.Inotify
---@field fd afar.Fd
local Inotify = { __name = "inotify" }
Inotify.__index = Inotify

local function decode(self, bytes)
  local header = ffi.new(self.sys.ctype.inotify_event)
  local size, at = ffi.sizeof(header), 0
  while at + size <= #bytes do
    ffi.copy(header, bytes:sub(at + 1, at + size), size)
    local name = bytes:sub(at + size + 1, at + size + header.len):match "^[^%z]+"
    local event = { wd = header.wd, mask = header.mask, cookie = header.cookie, name = name, path = self.paths[header.wd], sys = self.sys }
    self.last = self.last + 1
    self.queue[self.last] = setmetatable(event, Event)
    if self.queue[self.last].IN_IGNORED then self.paths[header.wd] = nil end
    at = at + size + header.len
  end
end

--- The next event; waits for it. nil once it was closed. IN_Q_OVERFLOW among them says that the kernel dropped some.
---@return afar.InotifyEvent?
function Inotify:next()
  while self.first > self.last do
    if self.fd.state.closed then return nil end
    local ok, bytes = pcall(self.fd.read, self.fd, BUFFER)
    if not ok and errors.is(bytes, "EBADF") and self.fd.state.closed then return nil end
    if not ok then error(bytes, 0) end
    decode(self, bytes)
  end
  local event = self.queue[self.first]
  self.queue[self.first] = nil
  self.first = self.first + 1
  return event
end

Inotify.__call = Inotify.next

--- Watches one more path.
---@param path string
---@param mask? string|integer default: that of the others
---@return integer wd
function Inotify:add(path, mask)
  local wd = self.fd:inotify_add_watch(path, mask or self.mask)
  self.paths[wd] = path
  return wd
end

--- Watches a path no more. Its last event is IN_IGNORED.
function Inotify:remove(path)
  for wd, other in pairs(self.paths) do
    if other == path then return self.fd:inotify_rm_watch(wd) end
  end
  error(("inotify: %q isn't watched"):format(tostring(path)), 2)
end

--- Ends it; who waits for an event gets nil.
function Inotify:close() self.fd:close() end

--- p:inotify(paths, mask): watches a path, or a list of paths; see inotify(7). mask: default "IN_ALL_EVENTS". What it returns is a sequence:
---   for event in p:inotify("/etc", "IN_CREATE|IN_MOVED_TO") do print(event.name) end
--- and has next(), add(path, mask), remove(path), close(). Waiting for events blocks neither the process nor other coroutines.
---@param paths string|string[]
---@return afar.Inotify
process.define("inotify", function(self, paths, mask)
  if type(paths) == "string" then paths = { paths } end
  if type(paths) ~= "table" then error("inotify: a path, or a list of paths, was expected", 2) end
  mask = self.machine.sys:const(mask or "IN_ALL_EVENTS", "IN_", "inotify")
  local fd = self:inotify_init1()
  local watch = setmetatable({ fd = fd, mask = mask, paths = {}, queue = {}, first = 1, last = 0, sys = self.machine.sys }, Inotify)
  for _, path in ipairs(paths) do
    local ok, err = pcall(watch.add, watch, path)
    if not ok then
      fd:close()
      error(err, 0)
    end
  end
  return watch
end)
