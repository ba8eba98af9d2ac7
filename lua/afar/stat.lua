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

--- Before 1970: negative.
local function time(seconds, nanoseconds) return tonumber(ffi.cast("int64_t", seconds)) + tonumber(nanoseconds) * 1e-9 end

---@param machine afar.Machine
---@param bytes string  the kernel's structure
---@return afar.Stat
function stat.decode(machine, bytes)
  local raw = ffi.new(machine.sys.ctype.stat)
  ffi.copy(raw, bytes, ffi.sizeof(raw))
  -- Each field by its name: what is looked up by a variable is slow.
  local self = {
    st_dev = tonumber(raw.st_dev), st_ino = tonumber(raw.st_ino), st_mode = tonumber(raw.st_mode), st_nlink = tonumber(raw.st_nlink),
    st_uid = tonumber(raw.st_uid), st_gid = tonumber(raw.st_gid), st_rdev = tonumber(raw.st_rdev), st_size = tonumber(raw.st_size),
    st_blksize = tonumber(raw.st_blksize), st_blocks = tonumber(raw.st_blocks), st_atime = time(raw.st_atime, raw.st_atime_nsec),
    st_mtime = time(raw.st_mtime, raw.st_mtime_nsec), st_ctime = time(raw.st_ctime, raw.st_ctime_nsec),
  }
  self.type = TYPES[math.floor(self.st_mode / 4096) % 16] or "unknown"
  self.permissions = ("%04o"):format(self.st_mode % 4096)
  return setmetatable(self, Stat)
end

--- Bytes of the kernel's structure, and where in it a field is.
function stat.size(machine) return ffi.sizeof(machine.sys.ctype.stat) end

function stat.offset(machine, field) return ffi.offsetof(machine.sys.ctype.stat, field) end

return stat
