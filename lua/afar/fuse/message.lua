--- The messages of fuse(4): requests of the kernel as tables, and replies from what a script gives. See linux/fuse.h.

local ffi = require "ffi"
local mode = require "afar.mode"
local nearest = require "afar.nearest"

local message = {}

-- ---- requests ----

--- What follows a request's header: a structure, and of it the fields; then strings; or the rest as data.
local BODIES = {
  LOOKUP = { strings = { "name" } },
  FORGET = { "fuse_forget_in", "nlookup" },
  GETATTR = { "fuse_getattr_in", "getattr_flags fh" },
  SETATTR = { "fuse_setattr_in", "valid fh size lock_owner atime mtime ctime atimensec mtimensec ctimensec mode uid gid" },
  SYMLINK = { strings = { "name", "target" } },
  MKNOD = { "fuse_mknod_in", "mode rdev umask", strings = { "name" } },
  MKDIR = { "fuse_mkdir_in", "mode umask", strings = { "name" } },
  UNLINK = { strings = { "name" } },
  RMDIR = { strings = { "name" } },
  RENAME = { "fuse_rename_in", "newdir", strings = { "name", "newname" } },
  RENAME2 = { "fuse_rename2_in", "newdir flags", strings = { "name", "newname" } },
  LINK = { "fuse_link_in", "oldnodeid", strings = { "name" } },
  OPEN = { "fuse_open_in", "flags open_flags" },
  OPENDIR = { "fuse_open_in", "flags open_flags" },
  READ = { "fuse_read_in", "fh offset size read_flags lock_owner flags" },
  READDIR = { "fuse_read_in", "fh offset size read_flags lock_owner flags" },
  READDIRPLUS = { "fuse_read_in", "fh offset size read_flags lock_owner flags" },
  WRITE = { "fuse_write_in", "fh offset size write_flags lock_owner flags", data = true },
  RELEASE = { "fuse_release_in", "fh flags release_flags lock_owner" },
  RELEASEDIR = { "fuse_release_in", "fh flags release_flags lock_owner" },
  FLUSH = { "fuse_flush_in", "fh lock_owner" },
  FSYNC = { "fuse_fsync_in", "fh fsync_flags" },
  FSYNCDIR = { "fuse_fsync_in", "fh fsync_flags" },
  GETXATTR = { "fuse_getxattr_in", "size", strings = { "name" } },
  LISTXATTR = { "fuse_getxattr_in", "size" },
  SETXATTR = { "fuse_setxattr_in", "size flags", size = 8, strings = { "name" }, data = true }, -- without FUSE_SETXATTR_EXT
  REMOVEXATTR = { strings = { "name" } },
  ACCESS = { "fuse_access_in", "mask" },
  CREATE = { "fuse_create_in", "flags mode umask open_flags", strings = { "name" } },
  INIT = { "fuse_init_in", "major minor max_readahead flags flags2" },
  INTERRUPT = { "fuse_interrupt_in", "unique", as = { unique = "interrupted" } },
  BATCH_FORGET = { "fuse_batch_forget_in", "count" },
  FALLOCATE = { "fuse_fallocate_in", "fh offset length mode" },
  LSEEK = { "fuse_lseek_in", "fh offset whence" },
}

--- A number where that is exact.
local function plain(value)
  if type(value) ~= "cdata" or value >= 2ULL ^ 53 then return value end
  return tonumber(value)
end

local function take_struct(sys, body, bytes, into)
  local value = ffi.new(sys.ctype[body[1]])
  local size = body.size or ffi.sizeof(value)
  ffi.copy(value, bytes, math.min(size, #bytes))
  for field in body[2]:gmatch "%S+" do into[(body.as or {})[field] or field] = plain(value[field]) end
  return bytes:sub(size + 1)
end

local function opcode_name(sys, number)
  for name, value in pairs(sys.C) do
    local opcode = value == number and name:match "^FUSE_(.+)$"
    if opcode and BODIES[opcode] then return opcode end
  end
  local others = { "READLINK", "STATFS", "DESTROY", "GETLK", "SETLK", "SETLKW", "BMAP", "IOCTL", "POLL", "COPY_FILE_RANGE" }
  for _, opcode in ipairs(others) do
    if sys.C["FUSE_" .. opcode] == number then return opcode end
  end
  return ("OPCODE_%d"):format(number)
end

local names = setmetatable({}, { __mode = "k" }) -- machine -> number -> opcode: a search through thousands of constants

local function name_of(sys, number)
  names[sys] = names[sys] or {}
  names[sys][number] = names[sys][number] or opcode_name(sys, number)
  return names[sys][number]
end

--- What one read of the device gave, as a table: opcode ("LOOKUP"), nodeid, uid, gid, pid, unique, and the fields of its structure.
---@param sys afar.Machine
---@param bytes string
---@return table
function message.decode(sys, bytes)
  local header = ffi.new(sys.ctype.fuse_in_header)
  local size = ffi.sizeof(header)
  if #bytes < size then error(("fuse: a request of %d bytes"):format(#bytes), 0) end
  ffi.copy(header, bytes, size)
  local request = { number = header.opcode, unique = header.unique, nodeid = plain(header.nodeid), uid = header.uid, gid = header.gid, pid = header.pid }
  request.opcode = name_of(sys, header.opcode)
  local body, rest = BODIES[request.opcode], bytes:sub(size + 1)
  if not body then
    request.data = rest
    return request
  end
  if body[1] then rest = take_struct(sys, body, rest, request) end
  for _, key in ipairs(body.strings or {}) do
    request[key] = rest:match "^[^%z]*"
    rest = rest:sub(#request[key] + 2)
  end
  if body.data then request.data = rest end
  return request
end

--- Whether the kernel waits for a reply.
function message.wants_reply(request)
  local opcode = request.opcode
  return opcode ~= "FORGET" and opcode ~= "BATCH_FORGET" and opcode ~= "INTERRUPT" and opcode ~= "DESTROY"
end

-- ---- replies ----

local function struct(sys, name, fields) return ffi.string(ffi.new(sys.ctype[name], fields), ffi.sizeof(sys.ctype[name])) end

local KINDS = { fifo = 1, char = 2, directory = 4, block = 6, file = 8, symlink = 10, socket = 12 } -- DT_ numbers

local function kind_number(kind)
  local number = KINDS[kind or "file"]
  if number then return number end
  local near = nearest(tostring(kind), KINDS)
  error(("fuse: there is no type of file %q%s"):format(tostring(kind), near and (" (did you mean %q?)"):format(near) or ""), 0)
end

local function parts(seconds)
  local whole = math.floor(seconds)
  return whole, math.floor((seconds - whole) * 1e9)
end

local ATTRIBUTES = { ino = 1, size = 1, blocks = 1, atime = 1, mtime = 1, ctime = 1, mode = 1, nlink = 1, uid = 1, gid = 1, rdev = 1, blksize = 1, type = 1,
  permissions = 1 }

--- A fuse_attr of what a script gives: type and permissions as stat has them, or mode; size; times in seconds; uid ...
local function attributes(sys, given, nodeid)
  for key in pairs(given) do
    if not ATTRIBUTES[key] then error(("fuse: a file has no attribute %q"):format(tostring(key)), 0) end
  end
  local value = ffi.new(sys.ctype.fuse_attr)
  value.ino, value.size = given.ino or nodeid, given.size or 0
  value.blocks = given.blocks or math.ceil((given.size or 0) / 512)
  for _, name in ipairs { "atime", "mtime", "ctime" } do
    value[name], value[name .. "nsec"] = parts(given[name] or given.mtime or 0)
  end
  local directory = given.type == "directory"
  value.mode = given.mode or kind_number(given.type) * 4096 + mode(given.permissions or (directory and "0755" or "0644"), "fuse")
  value.nlink, value.blksize = given.nlink or (directory and 2 or 1), given.blksize or 4096
  value.uid, value.gid, value.rdev = given.uid or 0, given.gid or 0, given.rdev or 0
  return value
end

local function entry_struct(sys, given)
  if type(given) ~= "table" or not given.nodeid then error("fuse: an entry is { nodeid =, attr = { type =, size = ... } }", 0) end
  local value = ffi.new(sys.ctype.fuse_entry_out)
  value.nodeid, value.generation = given.nodeid, given.generation or 0
  value.entry_valid, value.entry_valid_nsec = parts(given.entry_valid or 0)
  value.attr_valid, value.attr_valid_nsec = parts(given.attr_valid or 0)
  value.attr = attributes(sys, given.attr or {}, given.nodeid)
  return value
end

local function entry(sys, given)
  local value = entry_struct(sys, given)
  return ffi.string(value, ffi.sizeof(value))
end

local function attr(sys, given, request)
  local value = ffi.new(sys.ctype.fuse_attr_out)
  value.attr_valid, value.attr_valid_nsec = parts(given.attr_valid or 0)
  value.attr = attributes(sys, given.attr or {}, request.nodeid)
  return ffi.string(value, ffi.sizeof(value))
end

local function opened(sys, given)
  given = given or {}
  return struct(sys, "fuse_open_out", { fh = given.fh or 0, open_flags = sys:const(given.open_flags, "FOPEN_", "fuse") })
end

local function text(_, given, request)
  if type(given) ~= "string" then error(("fuse: %s is answered by a string, not by %s"):format(request.opcode, type(given)), 0) end
  if request.size and #given > request.size then
    error(("fuse: %s asked for %d bytes at most, not for %d"):format(request.opcode, request.size, #given), 0)
  end
  return given
end

--- Of extended attributes: the size alone where that was asked for.
local function sized(sys, given, request)
  if request.size == 0 then return struct(sys, "fuse_getxattr_out", { size = #given }) end
  return text(sys, given, request)
end

--- As many of the entries as there is room for, from the request's offset on: that is how many were given before.
local function listing(sys, given, request)
  local plus, all, size = request.opcode == "READDIRPLUS", {}, 0
  for i = request.offset + 1, #given do
    local one = given[i]
    local dirent = struct(sys, "fuse_dirent", { ino = one.ino or one.nodeid or 0xffffffff, off = i, namelen = #one.name, type = kind_number(one.type) })
    local head = plus and entry(sys, one.nodeid and one or { nodeid = 0 }) or ""
    local record = head .. dirent .. one.name
    record = record .. ("\0"):rep(-#record % 8)
    if size + #record > request.size then break end
    size, all[#all + 1] = size + #record, record
  end
  return table.concat(all)
end

local REPLIES = {
  LOOKUP = entry, MKDIR = entry, MKNOD = entry, SYMLINK = entry, LINK = entry, GETATTR = attr, SETATTR = attr, OPEN = opened, OPENDIR = opened,
  READ = text, READLINK = text, READDIR = listing, READDIRPLUS = listing, GETXATTR = sized, LISTXATTR = sized,
  CREATE = function(sys, given) return entry(sys, given) .. opened(sys, given) end,
  WRITE = function(sys, given) return struct(sys, "fuse_write_out", { size = given }) end,
  LSEEK = function(sys, given) return struct(sys, "fuse_lseek_out", { offset = given }) end,
  STATFS = function(sys, given)
    local value = ffi.new(sys.ctype.fuse_statfs_out)
    for key, number in pairs(given or {}) do value.st[key] = number end
    return ffi.string(value, ffi.sizeof(value))
  end,
  INIT = function(sys, given) return struct(sys, "fuse_init_out", given) end,
}

--- The bytes of a reply: `value` as the opcode wants it (see p:fuse), nothing where it wants none.
---@param sys afar.Machine
---@param request table
---@param value any
---@return string
function message.reply(sys, request, value)
  local encode = REPLIES[request.opcode]
  if not encode and value ~= nil then error(("fuse: %s is answered by nothing, not by %s"):format(request.opcode, type(value)), 0) end
  local body = encode and encode(sys, value, request) or ""
  return struct(sys, "fuse_out_header", { len = 16 + #body, error = 0, unique = request.unique }) .. body
end

--- The bytes of a refusal.
---@param errno string|integer  "ENOENT"
function message.failure(sys, request, errno)
  local number = type(errno) == "number" and errno or sys.C[errno]
  if type(number) ~= "number" or number <= 0 or not sys.errno[number] then error(("fuse: there is no error %s"):format(tostring(errno)), 0) end
  return struct(sys, "fuse_out_header", { len = 16, error = -number, unique = request.unique })
end

return message
