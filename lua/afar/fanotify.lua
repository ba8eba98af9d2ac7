--- fanotify(7): what happens to files of whole mounts and filesystems, with who did it; and whether they may.

local bit = require "bit"
local ffi = require "ffi"
local errors = require "afar.error"
local events = require "afar.events"
local fds = require "afar.fd"
local nearest = require "afar.nearest"
local process = require "afar.process"

local BUFFER = 64 * 1024
local HANDLE = 128 -- MAX_HANDLE_SZ
local AT_FDCWD = -100

-- ---- the calls ----

--- p:fanotify_init(flags, event_f_flags): a fanotify fd; see fanotify_init(2). FAN_CLOEXEC and FAN_NONBLOCK are added. event_f_flags: of the fds in
--- its events; default "O_RDONLY|O_CLOEXEC".
---@return afar.Fd
process.define_recorded("fanotify_init", function(r, _, flags, event_f_flags)
  local C = r.sys.C
  local number = tonumber(bit.bor(r.sys:const(flags, "FAN_", "fanotify_init"), C.FAN_CLOEXEC, C.FAN_NONBLOCK))
  local files = bit.bor(r.sys:const(event_f_flags or "O_RDONLY", "O_", "fanotify_init"), C.O_CLOEXEC)
  local ref = r:call("fanotify_init", nil, number, files)
  return function(r_) return fds.new(r_.process, r_:result(ref), "device") end, ref
end)

--- fd:fanotify_mark(flags, mask, dirfd, path): see fanotify_mark(2). dirfd: nil for the working directory.
fds.define_recorded("fanotify_mark", function(r, fd, flags, mask, dirfd, path)
  local number, C = fds.near(fd, r.process, "fanotify_mark"), r.sys.C
  local at = dirfd and fds.near(dirfd, r.process, "fanotify_mark") or C.AT_FDCWD
  flags, mask = r.sys:const(flags or "FAN_MARK_ADD", "FAN_MARK_", "fanotify_mark"), r.sys:const(mask, "FAN_", "fanotify_mark")
  local ref = r:call("fanotify_mark", nil, number, flags, mask, at, path and r:string(path) or 0)
  return function() end, ref
end)

errors.explain("fanotify_init", { EPERM = "it takes CAP_SYS_ADMIN for fds and decisions; without it, Linux 5.13 for names alone" })
errors.explain("fanotify_mark", {
  EPERM = "a mount or a filesystem as a whole takes CAP_SYS_ADMIN",
  EXDEV = "files on different filesystems, or on one without an id, can't be told apart here",
  ENODEV = "files on a filesystem without an id can't be told apart",
})

-- ---- events ----

---@class afar.FanotifyEvent
---@field path? string    of the directory that the entry is in, or of the file itself; nil where that can't be told any more
---@field name? string    of the entry; nil for an event about `path` itself
---@field mask integer    event.FAN_OPEN etc. tell the same as true or false
---@field pid integer     who did it, as the process sees it
---@field fd? afar.Fd     the file, open; where decisions are asked for
---@field waits boolean   whether somebody waits for event:allow() or event:deny()
local Event = events.kind(
  "fanotify event",
  "FAN_",
  [[FAN_ACCESS FAN_MODIFY FAN_ATTRIB FAN_CLOSE_WRITE FAN_CLOSE_NOWRITE FAN_OPEN FAN_OPEN_EXEC FAN_MOVED_FROM FAN_MOVED_TO FAN_RENAME FAN_CREATE FAN_DELETE
  FAN_DELETE_SELF FAN_MOVE_SELF FAN_Q_OVERFLOW FAN_OPEN_PERM FAN_ACCESS_PERM FAN_OPEN_EXEC_PERM FAN_ONDIR]]
)

local function answer(event, response)
  if not event.waits then error(("fanotify: nobody waits for an answer to %s"):format(tostring(event)), 3) end
  rawset(event, "waits", false)
  local source = rawget(event, "source")
  local p = fds.process_of(source)
  local words = ffi.new("int32_t[2]", event.fd.number, response)
  p:syscall("write", source, p:ptr(ffi.string(words, 8)), 8) -- poll(2) never calls it writable, but it doesn't wait
  event.fd:close()
end

local methods = {
  --- event:allow(): who asked goes on.
  allow = function(self) answer(self, self.sys.C.FAN_ALLOW) end,
  --- event:deny(): whoever asked gets EPERM.
  deny = function(self) answer(self, self.sys.C.FAN_DENY) end,
}
local flag_of = Event.__index
function Event:__index(key) return methods[key] or flag_of(self, key) end

-- ---- taking them apart ----

---@class afar.Fanotify
---@field fd afar.Fd
local Fanotify = { __name = "fanotify" }
Fanotify.__index = Fanotify

local FSID, INFO = 8, 4 -- bytes of a filesystem's id, and of an info record's header

--- What an event's info records say: the directory's handle (with the filesystem's id before it), and the name in it.
local function decode_info(sys, bytes)
  local C, at = sys.C, 1
  local found = {}
  while at + INFO <= #bytes do
    local kind, size = bytes:byte(at), bytes:byte(at + 2) + bytes:byte(at + 3) * 256
    if size < INFO then break end
    local record = bytes:sub(at + INFO, at + size - 1)
    local has_name = kind == C.FAN_EVENT_INFO_TYPE_DFID_NAME or kind == C.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME
    if has_name or kind == C.FAN_EVENT_INFO_TYPE_DFID or kind == C.FAN_EVENT_INFO_TYPE_FID then
      local length = record:byte(FSID + 1) + record:byte(FSID + 2) * 256
      local last = FSID + 8 + length
      found.handle = record:sub(FSID + 1, last)
      found.name = has_name and record:sub(last + 1):match "^[^%z]+" or nil
      if found.name == "." then found.name = nil end
    end
    at = at + size
  end
  return found
end

--- The path of what a handle stands for, or nil: it has gone, or may not be opened by handle.
local function path_of(self, handle)
  local known = self.known[handle]
  if known or not self.mount then return known end
  local p = self.process
  local ok, path = pcall(function()
    local file = fds.new(p, p:syscall("open_by_handle_at", self.mount, p:ptr(handle), p.machine.sys.C.O_PATH + p.machine.sys.C.O_CLOEXEC))
    local link = p:readlink(("/proc/self/fd/%d"):format(file.number))
    file:close()
    return link
  end)
  return ok and path or nil
end

local function decode_one(self, metadata, bytes)
  local C = self.sys.C
  local event = { mask = tonumber(metadata.mask), pid = metadata.pid, sys = self.sys, source = self.fd, waits = false }
  local info = decode_info(self.sys, bytes)
  if metadata.fd >= 0 then
    event.fd = fds.new(self.process, metadata.fd)
    event.waits = bit.band(event.mask, C.FAN_ALL_PERM_EVENTS + C.FAN_OPEN_EXEC_PERM) ~= 0
    local ok, path = pcall(self.process.readlink, self.process, ("/proc/self/fd/%d"):format(metadata.fd))
    event.path = ok and path or nil
    if not event.waits and not self.keep_fds then
      event.fd:close()
      event.fd = nil
    end
  elseif info.handle then
    event.path, event.name = path_of(self, info.handle), info.name
  end
  return setmetatable(event, Event)
end

local function decode(self, bytes)
  local metadata = ffi.new(self.sys.ctype.fanotify_event_metadata)
  local size, at = ffi.sizeof(metadata), 0
  while at + size <= #bytes do
    ffi.copy(metadata, bytes:sub(at + 1, at + size), size)
    if metadata.event_len < size then break end
    self.last = self.last + 1
    self.queue[self.last] = decode_one(self, metadata, bytes:sub(at + metadata.metadata_len + 1, at + metadata.event_len))
    at = at + metadata.event_len
  end
end

--- The next event; waits for it. nil once it was closed. FAN_Q_OVERFLOW among them says that the kernel dropped some.
---@return afar.FanotifyEvent?
function Fanotify:next()
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

Fanotify.__call = Fanotify.next

--- The kernel's handle of a path, by which events name it.
local function handle_of(p, path)
  local memory = p:ptr(string.char(HANDLE, 0, 0, 0) .. ("\0"):rep(4 + HANDLE))
  local ok = pcall(p.syscall, p, "name_to_handle_at", AT_FDCWD, path, memory, p:malloc(4), 0)
  if not ok then return nil end
  local bytes = memory:bytes(0, 8 + HANDLE)
  return bytes:sub(1, 8 + bytes:byte(1) + bytes:byte(2) * 256)
end

--- Watches one more path.
---@param path string
---@param mask? string|integer default: that of the others
function Fanotify:add(path, mask)
  self.fd:fanotify_mark(self.flags + self.sys.C.FAN_MARK_ADD, mask or self.mask, nil, path)
  local handle = self.by_name and handle_of(self.process, path)
  if handle then self.known[handle] = path end
  -- Whose handles are opened: any fd of the filesystem serves.
  if self.by_name and not self.mount then self.mount = self.process:open(path, "O_RDONLY") end
end

--- Watches a path no more.
function Fanotify:remove(path) self.fd:fanotify_mark(self.flags + self.sys.C.FAN_MARK_REMOVE, self.mask, nil, path) end

--- Ends it; who waits for an event gets nil. Whoever waited for a decision goes on.
function Fanotify:close()
  for i = self.first, self.last do
    if rawget(self.queue[i], "fd") then self.queue[i].fd:close() end
  end
  if self.mount then self.mount:close() end
  self.fd:close()
end

local OPTIONS = { whole = true, keep_fds = true }
local WHOLE = { mount = "FAN_MARK_MOUNT", filesystem = "FAN_MARK_FILESYSTEM" }

local function bad(p, message, hint) error(errors.new(p, "fanotify", nil, message, { hint = hint }), 0) end

local function check(p, paths, options)
  if type(paths) ~= "table" then bad(p, "a path, or a list of paths, was expected") end
  for key in pairs(options) do
    local near = not OPTIONS[key] and nearest(tostring(key), OPTIONS)
    if not OPTIONS[key] then bad(p, ("there is no option %q"):format(tostring(key)), near and ("did you mean %q?"):format(near) or nil) end
  end
  if options.whole and not WHOLE[options.whole] then bad(p, 'whole: "mount" or "filesystem" was expected') end
end

--- Names where they can be had: not for decisions, nor for whole mounts.
local function open(p, mask, options)
  local C = p.machine.sys.C
  local decides = bit.band(mask, C.FAN_ALL_PERM_EVENTS + C.FAN_OPEN_EXEC_PERM) ~= 0
  if decides then return p:fanotify_init "FAN_CLASS_CONTENT" end
  if options.whole ~= "mount" and not options.keep_fds then
    local ok, fd = pcall(p.fanotify_init, p, "FAN_CLASS_NOTIF|FAN_REPORT_DFID_NAME")
    if ok then return fd, true end
    if not errors.is(fd, "EINVAL") then error(fd, 0) end -- before Linux 5.9
  end
  return p:fanotify_init "FAN_CLASS_NOTIF"
end

--- p:fanotify(paths, mask, options): watches files, and the entries of directories; see fanotify(7). mask: "FAN_CREATE|FAN_OPEN" ... What it returns is a
--- sequence:
---   for event in p:fanotify("/etc", "FAN_MODIFY") do print(event.pid, event.path, event.name) end
--- and has next(), add(path, mask), remove(path), close(). With whole = "mount" or "filesystem" it watches all that is mounted there. FAN_OPEN_PERM,
--- FAN_ACCESS_PERM and FAN_OPEN_EXEC_PERM in the mask ask for decisions: whoever opens the file waits for event:allow() or event:deny(), and event.fd is the
--- file. keep_fds = true: event.fd always is, to be closed by the script. Waiting for events blocks neither the process nor other coroutines.
---@param paths string|string[]
---@param mask string|integer
---@param options? { whole?: "mount"|"filesystem", keep_fds?: boolean }
---@return afar.Fanotify
process.define("fanotify", function(self, paths, mask, options)
  if type(paths) == "string" then paths = { paths } end
  options = options or {}
  check(self, paths, options)
  local sys = self.machine.sys
  local number = tonumber(sys:const(mask, "FAN_", "fanotify"))
  if number == 0 then bad(self, "which events? For instance \"FAN_CREATE|FAN_MODIFY\"") end
  local fd, by_name = open(self, number, options)
  local watch = setmetatable({
    process = self, fd = fd, sys = sys, by_name = by_name, keep_fds = options.keep_fds, known = {}, queue = {}, first = 1, last = 0,
    flags = options.whole and sys.C[WHOLE[options.whole]] or 0,
    mask = options.whole and number or number + (bit.band(number, sys.C.FAN_EVENT_ON_CHILD) == 0 and sys.C.FAN_EVENT_ON_CHILD or 0),
  }, Fanotify)
  for _, path in ipairs(paths) do
    local ok, err = pcall(watch.add, watch, path)
    if not ok then
      watch:close()
      error(err, 0)
    end
  end
  return watch
end)
