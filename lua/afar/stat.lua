--- What stat(2) tells, as a table: the fields of the manpage as numbers, times in seconds with their fraction.

local ffi = require "ffi"

---@class afar.Stat
---@field st_dev number
---@field st_ino number
---@field st_mode integer   permissions and type
---@field st_nlink integer
---@field st_uid integer
---@field st_gid integer
---@field st_rdev number
---@field st_size number    bytes
---@field st_blksize integer
---@field st_blocks number  of 512 bytes
---@field st_atime number   seconds since the epoch
---@field st_mtime number
---@field st_ctime number
---@field type string       "file", "directory", "symlink", "fifo", "socket", "char", "block"
---@field permissions string as ls shows them in octal: "0644"
local Stat = { __name = "stat" }
Stat.__index = Stat

local stat = {}

local TYPES = { [1] = "fifo", [2] = "char", [4] = "directory", [6] = "block", [8] = "file", [10] = "symlink", [12] = "socket" }

function Stat:__tostring()
  return ("%s, %s, %d bytes, uid %d, gid %d"):format(self.type, self.permissions, self.st_size, self.st_uid, self.st_gid)
end

local permissions = {} -- mode -> as ls shows it

local function show_permissions(mode)
  local text = permissions[mode] or ("%04o"):format(mode)
  permissions[mode] = text
  return text
end

local int64 = ffi.typeof "int64_t" -- before 1970 times are negative
local raws = {} -- architecture's numbers -> the structure that is decoded now

local function raw_of(sys)
  raws[sys] = raws[sys] or ffi.new(sys.ctype.stat)
  return raws[sys]
end

--- A table is made fastest as a copy of one that has its fields.
local function blank()
  return {
    st_dev = 0, st_ino = 0, st_mode = 0, st_nlink = 0, st_uid = 0, st_gid = 0, st_rdev = 0, st_size = 0, st_blksize = 0, st_blocks = 0,
    st_atime = 0, st_mtime = 0, st_ctime = 0, type = "", permissions = "",
  }
end

---@param machine afar.Machine
---@param bytes string  the kernel's structure
---@return afar.Stat
function stat.decode(machine, bytes)
  local raw = raw_of(machine.sys)
  ffi.copy(raw, bytes, ffi.sizeof(raw))
  local mode, decoded = tonumber(raw.st_mode), blank()
  decoded.st_dev, decoded.st_ino, decoded.st_mode = tonumber(raw.st_dev), tonumber(raw.st_ino), mode
  decoded.st_nlink, decoded.st_uid, decoded.st_gid = tonumber(raw.st_nlink), tonumber(raw.st_uid), tonumber(raw.st_gid)
  decoded.st_rdev, decoded.st_size = tonumber(raw.st_rdev), tonumber(raw.st_size)
  decoded.st_blksize, decoded.st_blocks = tonumber(raw.st_blksize), tonumber(raw.st_blocks)
  decoded.st_atime = tonumber(int64(raw.st_atime)) + tonumber(raw.st_atime_nsec) * 1e-9
  decoded.st_mtime = tonumber(int64(raw.st_mtime)) + tonumber(raw.st_mtime_nsec) * 1e-9
  decoded.st_ctime = tonumber(int64(raw.st_ctime)) + tonumber(raw.st_ctime_nsec) * 1e-9
  decoded.type, decoded.permissions = TYPES[math.floor(mode / 4096) % 16] or "unknown", show_permissions(mode % 4096)
  return setmetatable(decoded, Stat)
end

--- Bytes of the kernel's structure, and where in it a field is.
function stat.size(machine) return ffi.sizeof(machine.sys.ctype.stat) end

function stat.offset(machine, field) return ffi.offsetof(machine.sys.ctype.stat, field) end

return stat
