--- statfs(2) and statvfs(3): what a filesystem is, and how full.

local ffi = require "ffi"
local fds = require "afar.fd"
local pointer = require "afar.pointer"
local process = require "afar.process"

local FIELDS = { "f_type", "f_bsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_namelen", "f_frsize", "f_flags" }

---@class afar.Statfs
---@field f_type integer     EXT2_SUPER_MAGIC ...
---@field type? string       the name of that, in lower case: "tmpfs", "ext2" (also for ext3 and ext4) ...
---@field f_bsize number     bytes: the best size of a transfer
---@field f_blocks number    of f_frsize bytes (in statfs of f_bsize: the two are nearly always the same)
---@field f_bfree number
---@field f_bavail number    for unprivileged users
---@field f_files number     inodes
---@field f_ffree number
---@field f_namelen integer  the longest name, in bytes
---@field f_frsize number
---@field f_flags integer    ST_RDONLY ...
---@field size number        bytes
---@field free number        bytes that an unprivileged user may use

local NAMED = { [0xef53] = "ext2", [0x1021994] = "tmpfs", [0x794c7630] = "overlayfs", [0x9fa0] = "proc", [0x62656572] = "sysfs" }

local function type_name(sys, magic)
  if NAMED[magic] then return NAMED[magic] end
  for name, value in pairs(sys.C) do
    local stem = value == magic and name:match "^(.-)_SUPER_MAGIC" or value == magic and name:match "^(.-)_MAGIC$"
    if stem then return stem:lower() end
  end
end

local function decode(sys, bytes)
  local raw = ffi.new(sys.ctype.statfs)
  ffi.copy(raw, bytes, ffi.sizeof(raw))
  local self = {}
  for _, field in ipairs(FIELDS) do self[field] = tonumber(raw[field]) end
  if self.f_frsize == 0 then self.f_frsize = self.f_bsize end
  self.type = type_name(sys, self.f_type)
  self.size, self.free = self.f_blocks * self.f_frsize, self.f_bavail * self.f_frsize
  return self
end

local function record(r, as, call, what, ptr)
  if pointer.is(ptr) then
    local ref = r:call(call, { as = as }, what, ptr:near(r.process, r))
    return function() return ptr end, ref
  end
  local size = ffi.sizeof(r.sys.ctype.statfs)
  local at = r:scratch(size)
  local ref = r:call(call, { as = as }, what, at)
  local data = r:fetch_of(ref, at, size)
  return function(r_) return decode(r_.sys, r_:data(data)) end, ref
end

local function by_path(name)
  process.define_recorded(name, function(r, _, path, ptr) return record(r, name, "statfs", r:string(path), ptr) end)
end

local function by_fd(name)
  fds.define_recorded(name, function(r, fd, ptr) return record(r, name, "fstatfs", fds.near(fd, r.process, name), ptr) end)
end

--- p:statfs(path), fd:fstatfs(): the filesystem that a file is on, as a table (afar.Statfs); see statfs(2). p:statvfs(path), fd:fstatvfs(): the
--- same table, see statvfs(3). With a pointer: the system call into its memory.
---@return afar.Statfs
by_path "statfs"
by_path "statvfs"
by_fd "fstatfs"
by_fd "fstatvfs"
