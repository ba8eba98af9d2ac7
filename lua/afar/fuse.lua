--- Filesystems that the script serves: fuse(4). The kernel's requests come as a sequence; each is answered when the script has the answer.

local bit = require "bit"
local errors = require "afar.error"
local message = require "afar.fuse.message"
local nearest = require "afar.nearest"
local nursery = require "afar.nursery"
local process = require "afar.process"

local MAX_WRITE = 128 * 1024
local BUFFER = MAX_WRITE + 4096 -- of a read: the largest request
local MINOR = 31 -- of the protocol: that of Linux 5.4

-- ---- requests ----

---@class afar.FuseRequest
---@field opcode string   "LOOKUP", "GETATTR", "OPEN", "READ" ...; the other fields are those of linux/fuse.h
---@field nodeid integer  1 is the root
---@field pid integer     who asks, and with which uid and gid
local Request = { __name = "fuse request" }
Request.__index = Request

function Request:__tostring() return ("%s(%s%s)"):format(self.opcode, tostring(self.nodeid), self.name and ", " .. self.name or "") end

--- One write is one reply: never in parts. It doesn't wait.
local function send(fuse, bytes)
  local p = fuse.process
  local ok, err = pcall(p.syscall, p, "write", fuse.fd, p:ptr(bytes), #bytes)
  if ok or fuse.closed or errors.is(err, "ENOENT") then return end -- ENOENT: who asked has been interrupted
  error(err, 0)
end

--- request:reply(value): answers it. The value: for LOOKUP, MKDIR, MKNOD, SYMLINK and LINK an entry { nodeid =, attr = { type =, size = ... },
--- entry_valid = seconds, attr_valid = seconds }; for GETATTR and SETATTR { attr = {...} }; for OPEN and OPENDIR { fh = number } or nothing; for CREATE both;
--- for READ, READLINK, GETXATTR and LISTXATTR a string; for READDIR and READDIRPLUS a list of { name =, type =, ino = } or entries with a name; for WRITE a
--- number; for others nothing.
function Request:reply(value)
  local fuse = rawget(self, "fuse")
  if self.answered then error(("fuse: %s was answered before"):format(tostring(self)), 2) end
  local bytes = message.reply(fuse.process.machine.sys, self, value)
  self.answered = true
  if message.wants_reply(self) then send(fuse, bytes) end
end

--- request:fail(errno): refuses it: "ENOENT".
---@param errno string|integer
function Request:fail(errno)
  local fuse = rawget(self, "fuse")
  if self.answered then error(("fuse: %s was answered before"):format(tostring(self)), 2) end
  local bytes = message.failure(fuse.process.machine.sys, self, errno)
  self.answered = true
  if message.wants_reply(self) then send(fuse, bytes) end
end

-- ---- the connection ----

---@class afar.Fuse
---@field target string
---@field process afar.Process  a process of its own, which only serves
local Fuse = { __name = "fuse" }
Fuse.__index = Fuse

function Fuse:__tostring() return ("filesystem on %s, served by %s"):format(self.target, tostring(self.process)) end

local function read(self)
  while not self.closed do
    local ok, bytes = pcall(self.fd.read, self.fd, BUFFER)
    if ok then return message.decode(self.process.machine.sys, bytes) end
    if self.closed or errors.is(bytes, "ENODEV") then return nil end -- unmounted
    if not errors.is(bytes, "ENOENT") and not errors.is(bytes, "EINTR") then error(bytes, 0) end -- ENOENT: it was interrupted meanwhile
  end
end

--- The next request, which is to be answered by request:reply or request:fail; waits for it. nil once it is unmounted.
---@return afar.FuseRequest?
function Fuse:next()
  local request = read(self)
  if not request then return nil end
  request.fuse = self
  return setmetatable(request, Request)
end

Fuse.__call = Fuse.next

--- How many the script serves on that machine: see copy.bytes.
local function count(machine, change)
  local number = (machine.served or 0) + change
  machine.served = number > 0 and number or nil
end

--- Unmounts it, and ends the process that serves it.
function Fuse:close()
  if self.closed then return end
  self.closed = true
  count(self.process.machine, -1)
  local p = self.process
  if not p:is_alive() or p.child.status then return end
  local ok, err = pcall(p.umount2, p, self.target, "MNT_DETACH")
  self.fd:close()
  p:exit(0)
  if not ok and not errors.is(err, "EINVAL") then error(err, 0) end -- EINVAL: somebody has unmounted it
end

--- What a handler raised, as an errno: that of a system call is the answer.
local function errno_of(err) return errors.is(err) and err.errno and err.name or "EIO" end

local function answer(request, handler)
  if not handler then return request:fail "ENOSYS" end
  local ok, value = pcall(handler, request)
  if request.answered then return ok or request.interrupted or error(value, 0) end
  if nursery.is_cancelled(value) then error(value, 0) end
  if ok then ok, value = pcall(request.reply, request, value) end
  if ok or rawget(request, "fuse").closed then return end
  if request.answered then error(value, 0) end -- it could not be sent
  request:fail(errno_of(value))
  if not (errors.is(value) and value.errno) then error(value, 0) end
end

--- fuse:serve{ LOOKUP = function(request) return entry end, ... }: answers all requests, several at once, with what the function of their opcode returns (see
--- request:reply), or with the errno of what it raises: of a system call's error; a request without a function gets ENOSYS. Any other error is answered
--- by EIO, and raised here. Whoever is killed while waiting gets EINTR, whatever the function does then. Returns when it is unmounted, or closed.
---@param handlers table<string, fun(request: afar.FuseRequest): any>
function Fuse:serve(handlers)
  local running = {} -- by unique
  nursery.nursery(function(n)
    for request in self do
      if request.opcode == "INTERRUPT" then
        local asked = running[tonumber(request.interrupted)]
        if asked and not asked.answered then asked:fail "EINTR" end
        if asked then asked.interrupted = true end
      elseif message.wants_reply(request) then
        local unique = tonumber(request.unique)
        running[unique] = request
        n:spawn(function()
          answer(request, handlers[request.opcode])
          running[unique] = nil
        end)
      elseif handlers[request.opcode] then
        n:spawn(handlers[request.opcode], request)
      end
    end
  end)
end

-- ---- mounting ----

--- The first request is the kernel's, about the protocol.
local function handshake(self, readdirplus)
  local C = self.process.machine.sys.C
  local request = self:next()
  if not request or request.opcode ~= "INIT" then error(errors.new(self.process, "fuse", { self.target }, "the kernel did not begin with INIT"), 0) end
  local wanted = C.FUSE_ASYNC_READ + C.FUSE_BIG_WRITES + C.FUSE_PARALLEL_DIROPS + C.FUSE_MAX_PAGES + (readdirplus and C.FUSE_DO_READDIRPLUS or 0)
  request:reply {
    major = C.FUSE_KERNEL_VERSION, minor = math.min(MINOR, request.minor), max_readahead = request.max_readahead, flags = bit.band(wanted, request.flags),
    max_background = 16, congestion_threshold = 12, max_write = MAX_WRITE, time_gran = 1, max_pages = MAX_WRITE / 4096,
  }
end

local OPTIONS = { fsname = true, subtype = true, allow_other = true, default_permissions = true, readdirplus = true, flags = true }

local function bad(p, target, text, hint) error(errors.new(p, "fuse", { target }, text, { hint = hint }), 0) end

local function check(p, target, options)
  if type(target) ~= "string" or target:sub(1, 1) ~= "/" then bad(p, target, "an absolute path was expected, of the directory on which it is mounted") end
  if type(options) ~= "table" then bad(p, target, ("a table of options was expected, not %s"):format(type(options))) end
  for key in pairs(options) do
    local near = not OPTIONS[key] and nearest(tostring(key), OPTIONS)
    if not OPTIONS[key] then bad(p, target, ("there is no option %q"):format(tostring(key)), near and ("did you mean %q?"):format(near) or nil) end
  end
end

local function mount(server, fd, target, options)
  local type_ = "fuse" .. (options.subtype and "." .. options.subtype or "")
  local data = ("fd=%d,rootmode=40000,user_id=%d,group_id=%d"):format(fd.number, server:getuid(), server:getgid())
  for _, name in ipairs { "allow_other", "default_permissions" } do
    if options[name] then data = data .. "," .. name end
  end
  server:mount(options.fsname or "afar", target, type_, options.flags or "MS_NOSUID|MS_NODEV", data)
end

--- p:fuse(target, options): mounts a filesystem on a directory, as the process sees it, which the script serves: what it returns is a sequence of requests,
---   for request in fuse do ... request:reply(value) end
--- or serves by functions: fuse:serve{ LOOKUP = ... }. fuse:close() unmounts it. See fuse(4). A fork of the process serves it and does nothing else: whoever
--- is served must not be who serves; a root must not look into it either, but its forks may. Ends the script, callers get ENOTCONN. Options:
--- fsname; subtype; allow_other; default_permissions; flags as of mount; readdirplus = true: directories are asked for with READDIRPLUS.
---@param target string
---@param options? table
---@return afar.Fuse
process.define("fuse", function(self, target, options)
  options = options or {}
  check(self, target, options)
  local server = self:fork()
  local fuse
  local ok, err = pcall(function()
    server:close_others {}
    local fd = server:open("/dev/fuse", "O_RDWR|O_NONBLOCK")
    fuse = setmetatable({ process = server, fd = fd, target = target }, Fuse)
    mount(server, fd, target, options)
    handshake(fuse, options.readdirplus)
    count(server.machine, 1)
  end)
  if ok then return fuse end
  if server:is_alive() then nursery.shielded(server.exit, server, 0) end
  error(err, 0)
end)
