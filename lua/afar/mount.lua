--- Mounts, by the old calls and the new ones; roots of processes. See mount(2), fsopen(2), open_tree(2), move_mount(2), mount_setattr(2).

local bit = require "bit"
local ffi = require "ffi"
local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local pointer = require "afar.pointer"
local process = require "afar.process"

local nothing = function() end

--- A directory's fd as these calls take it: a handle; or "AT_FDCWD", or nil, for the working directory.
local function near(r, dirfd, call)
  if dirfd == nil or dirfd == "AT_FDCWD" or dirfd == r.sys.C.AT_FDCWD then return r.sys.C.AT_FDCWD end
  return fds.near(dirfd, r.process, call)
end

local function optional(r, text) return text and r:string(text) or 0 end

local function handle_of(ref, kind) return function(r) return fds.new(r.process, r:result(ref), kind) end, ref end

-- ---- the old calls ----

local function record_data(r, data)
  if data == nil then return 0 end
  if pointer.is(data) then return data:near(r.process, r) end
  return r:string(data)
end

--- p:mount(source, target, filesystemtype, mountflags, data): see mount(2). mountflags: "MS_BIND|MS_REC", or nil; source, filesystemtype and
--- data (the filesystem's options, as text) may be nil where the call doesn't need them.
process.define_recorded("mount", function(r, _, source, target, type_, flags, data)
  local number = r.sys:const(flags, "MS_", "mount")
  local ref = r:call("mount", { flush = true }, optional(r, source), r:string(target), optional(r, type_), number, record_data(r, data))
  return nothing, ref
end)

local function record_umount(as)
  return function(r, _, target, flags)
    local number = r.sys:const(flags, "MNT_", as)
    return nothing, r:call("umount2", { as = as, flush = true }, r:string(target), number)
  end
end

--- p:umount2(target, flags), p:umount(target): see umount(2). flags: "MNT_DETACH", "UMOUNT_NOFOLLOW".
process.define_recorded("umount2", record_umount "umount2")
process.define_recorded("umount", record_umount "umount")

--- p:pivot_root(new_root, put_old): see pivot_root(2).
process.define_recorded("pivot_root", function(r, _, new_root, put_old)
  return nothing, r:call("pivot_root", nil, r:string(new_root), r:string(put_old))
end)

-- ---- the new ones ----

--- dirfd:open_tree(path, flags), p:open_tree(dirfd, path, flags): an fd of what is mounted there, or with "OPEN_TREE_CLONE" of a copy of it (with
--- "AT_RECURSIVE": and of what is mounted within); see open_tree(2). dirfd: a handle, or "AT_FDCWD". Since Linux 5.2.
---@return afar.Fd
fds.define_recorded("open_tree", function(r, dirfd, path, flags)
  local C = r.sys.C
  flags = tonumber(bit.bor(r.sys:const(flags, "OPEN_TREE_", "open_tree"), C.OPEN_TREE_CLOEXEC))
  return handle_of(r:call("open_tree", nil, near(r, dirfd, "open_tree"), r:string(path), flags), "directory")
end)

--- from_dirfd:move_mount(from_path, to_dirfd, to_path, flags): attaches a mount elsewhere; see move_mount(2). flags: "MOVE_MOUNT_F_EMPTY_PATH" with "" as
--- from_path: what the fd itself is. Since Linux 5.2.
fds.define_recorded("move_mount", function(r, from, from_path, to, to_path, flags)
  local number = r.sys:const(flags, "MOVE_MOUNT_", "move_mount")
  local a, b = near(r, from, "move_mount"), near(r, to, "move_mount")
  return nothing, r:call("move_mount", nil, a, r:string(from_path), b, r:string(to_path), number)
end)

--- p:fsopen(fsname, flags): an fd in which a filesystem is configured before it is mounted; see fsopen(2). Since Linux 5.2.
---@return afar.Fd
process.define_recorded("fsopen", function(r, _, fsname, flags)
  flags = tonumber(bit.bor(r.sys:const(flags, "FSOPEN_", "fsopen"), r.sys.C.FSOPEN_CLOEXEC))
  return handle_of(r:call("fsopen", nil, r:string(fsname), flags), "device")
end)

--- dirfd:fspick(path, flags): an fd in which a mounted filesystem is configured anew; see fspick(2). Since Linux 5.2.
---@return afar.Fd
fds.define_recorded("fspick", function(r, dirfd, path, flags)
  flags = tonumber(bit.bor(r.sys:const(flags, "FSPICK_", "fspick"), r.sys.C.FSPICK_CLOEXEC))
  return handle_of(r:call("fspick", nil, near(r, dirfd, "fspick"), r:string(path), flags), "device")
end)

--- fsfd:fsmount(flags, attr_flags): an fd of a new mount of what was configured; see fsmount(2). attr_flags: "MOUNT_ATTR_NOSUID|MOUNT_ATTR_RDONLY".
---@return afar.Fd
fds.define_recorded("fsmount", function(r, fsfd, flags, attributes)
  flags = tonumber(bit.bor(r.sys:const(flags, "FSMOUNT_", "fsmount"), r.sys.C.FSMOUNT_CLOEXEC))
  attributes = r.sys:const(attributes, "MOUNT_ATTR_", "fsmount")
  return handle_of(r:call("fsmount", nil, fds.near(fsfd, r.process, "fsmount"), flags, attributes), "directory")
end)

local function record_fsconfig(r, fsfd, command, key, value, aux)
  command = r.sys:const(command, "FSCONFIG_", "fsconfig")
  local at = 0
  if command == r.sys.C.FSCONFIG_SET_BINARY then
    at, aux = r:bytes(value), aux or #value
  elseif command == r.sys.C.FSCONFIG_SET_FD then
    aux = fds.near(value or aux, r.process, "fsconfig")
  elseif value ~= nil then
    at = r:string(tostring(value))
  end
  if type(aux) == "table" or type(aux) == "string" then aux = near(r, aux, "fsconfig") end
  if command == r.sys.C.FSCONFIG_SET_PATH and aux == nil then aux = r.sys.C.AT_FDCWD end
  return nothing, r:call("fsconfig", { flush = true }, fds.near(fsfd, r.process, "fsconfig"), command, optional(r, key), at, aux or 0)
end

--- What the filesystem said of an error: lines such as "e tmpfs: Unknown parameter".
local function log_of(self)
  local lines = {}
  for _ = 1, 16 do
    local r = requests.record(fds.process_of(self))
    local at = r:scratch(1024)
    local ref = r:call("read", { may_fail = true }, self.number, at, 1024)
    local data = r:fetch(at, ref, { if_ok = ref, aside = true, may_fail = true }, 1024)
    r:run()
    if r:result(ref) <= 0 then break end
    lines[#lines + 1] = (r:data(data):gsub("^%a ", ""):gsub("%s+$", ""))
  end
  return #lines > 0 and table.concat(lines, "; ") or nil
end

--- fsfd:fsconfig(cmd, key, value, aux): see fsconfig(2). cmd: "FSCONFIG_SET_STRING" and text; "FSCONFIG_SET_FLAG"; "FSCONFIG_SET_FD" and a
--- handle; "FSCONFIG_SET_PATH" and a path, relative to aux; "FSCONFIG_SET_BINARY" and bytes; "FSCONFIG_CMD_CREATE". An error tells what the filesystem said.
fds.define("fsconfig", function(self, ...)
  local p = fds.process_of(self)
  local r = requests.record(p)
  r.args = { n = select("#", ...) + 1, self, ... }
  record_fsconfig(r, self, ...)
  local ok, err = pcall(r.run, r)
  if ok then return end
  if errors.is(err) and err.errno then err.hint = log_of(self) end
  error(err, 0)
end, record_fsconfig)

--- dirfd:mount_setattr(path, flags, attr), p:mount_setattr(dirfd, path, flags, attr): changes what is mounted there; see mount_setattr(2). flags:
--- "AT_RECURSIVE|AT_EMPTY_PATH"; attr: { attr_set = "MOUNT_ATTR_RDONLY", attr_clr = ..., propagation = "MS_PRIVATE", userns_fd = a handle }. Since Linux 5.12.
fds.define_recorded("mount_setattr", function(r, dirfd, path, flags, attr)
  if type(attr) ~= "table" then error("mount_setattr: { attr_set =, attr_clr =, propagation =, userns_fd = } was expected", 0) end
  local raw = ffi.new(r.sys.ctype.mount_attr)
  raw.attr_set = r.sys:const(attr.attr_set, "MOUNT_ATTR_", "mount_setattr")
  raw.attr_clr = r.sys:const(attr.attr_clr, "MOUNT_ATTR_", "mount_setattr")
  raw.propagation = r.sys:const(attr.propagation, "MS_", "mount_setattr")
  raw.userns_fd = attr.userns_fd and fds.near(attr.userns_fd, r.process, "mount_setattr") or 0
  local size = ffi.sizeof(raw)
  flags = r.sys:const(flags, "AT_", "mount_setattr")
  local at = r:bytes(ffi.string(raw, size))
  return nothing, r:call("mount_setattr", nil, near(r, dirfd, "mount_setattr"), r:string(path), flags, at, size)
end)

-- ---- what is mounted ----

---@class afar.Mount
---@field id integer
---@field parent integer
---@field device string   "8:1"
---@field root string     of the filesystem, what is mounted
---@field target string   where
---@field options string  of the mount
---@field shared? integer its peer group
---@field type string     "ext4" ...
---@field source string
---@field super_options string of the filesystem

local function unescape(text) return (text:gsub("\\(%d%d%d)", function(octal) return string.char(tonumber(octal, 8)) end)) end

local function parse(line)
  local id, parent, device, root, target, options, more, type_, source, super =
    line:match "^(%d+) (%d+) (%S+) (%S+) (%S+) (%S+)(.-) %- (%S+) (%S*) (%S*)"
  if not id then return nil end
  return {
    id = tonumber(id), parent = tonumber(parent), device = device, root = unescape(root), target = unescape(target), options = options,
    shared = tonumber(more:match "shared:(%d+)"), type = type_, source = unescape(source), super_options = super,
  }
end

--- p:mounts(): what is mounted, as the process sees it, in the order of /proc/self/mountinfo; see proc(5).
---@return afar.Mount[]
process.define("mounts", function(self)
  local list = {}
  for line in self:read_file("/proc/self/mountinfo"):gmatch "[^\n]+" do
    list[#list + 1] = parse(line)
  end
  return list
end)
