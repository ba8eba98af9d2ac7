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

local WHOLE = { "st_dev", "st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_rdev", "st_size", "st_blksize", "st_blocks" }

---@param machine afar.Machine
---@param bytes string  the kernel's structure
---@return afar.Stat
function stat.decode(machine, bytes)
  local raw = ffi.new(machine.sys.ctype.stat)
  ffi.copy(raw, bytes, ffi.sizeof(raw))
  local self = {}
  for _, field in ipairs(WHOLE) do self[field] = tonumber(raw[field]) end
  for _, time in ipairs { "st_atime", "st_mtime", "st_ctime" } do
    self[time] = tonumber(ffi.cast("int64_t", raw[time])) + tonumber(raw[time .. "_nsec"]) * 1e-9 -- before 1970: negative
  end
  self.type = TYPES[math.floor(self.st_mode / 4096) % 16] or "unknown"
  self.permissions = ("%04o"):format(self.st_mode % 4096)
  return setmetatable(self, Stat)
end

--- Bytes of the kernel's structure, and where in it a field is.
function stat.size(machine) return ffi.sizeof(machine.sys.ctype.stat) end

function stat.offset(machine, field) return ffi.offsetof(machine.sys.ctype.stat, field) end

return stat
