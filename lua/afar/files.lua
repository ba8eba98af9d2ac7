--- The system calls on files by path, and on fds what io.lua doesn't have. All names relative to a directory fd exist too:
--- p:openat(dirfd, path, ...); without "at" the process's working directory is meant.

local ffi = require "ffi"
local bit = require "bit"
local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local io = require "afar.io"
local loadmode = require "afar.mode"
local pointer = require "afar.pointer"
local process = require "afar.process"
local stats = require "afar.stat"
local u16 = require("afar.bytes").u16
local u32 = require("afar.bytes").u32

local PATH_MAX = 4096
local DENTS = 32 * 1024

-- ---- opening ----

local ABOUT = { aside = true, may_fail = true }

--- Asks for the type of what was opened, in the same chain.
local function record_kind(r, opened)
  local machine = r.machine
  local at = r:scratch(stats.size(machine))
  ABOUT.if_ok = opened
  ABOUT.if_ok = r:call("fstat", ABOUT, opened, at)
  opened.fetched = r:fetch(at + stats.offset(machine, "st_mode"), 4, ABOUT)
  ABOUT.if_ok = nil
end

local function opened_fd(r, ref)
  local mode = rawget(ref, "fetched")
  local data = mode and r:data(mode)
  local kind = data and #data == 4 and io.kind_of(data:byte(1) + data:byte(2) * 256) or nil
  return fds.new(r.process, r:result(ref), kind)
end

local OPENS = {} -- call -> how it is recorded
for _, name in ipairs { "open", "openat" } do OPENS[name] = { as = name, flush = true } end

local function record_open(r, as, dirfd, name, flags, mode)
  local C = r.sys.C
  flags = r.sys:const(flags or "O_RDONLY", "O_", as)
  flags = tonumber(bit.bor(flags, C.O_CLOEXEC))
  local ref = r:call("openat", OPENS[as], dirfd, r:string(name), flags, loadmode(mode or 438, as))
  r:put_off(record_kind, ref)
  return opened_fd, ref
end

--- p:open(path, flags, mode): see open(2). flags: "O_RDWR|O_CREAT" or a number (default O_RDONLY); O_CLOEXEC is added. mode: a number, or octal
--- digits as a string (default "0666", less the umask).
---@return afar.Fd
process.define_recorded("open", function(r, p, name, flags, mode)
  return record_open(r, "open", p.machine.sys.C.AT_FDCWD, name, flags, mode)
end)

fds.define_recorded("openat", function(r, dirfd, name, flags, mode)
  return record_open(r, "openat", fds.near(dirfd, r.process, "openat"), name, flags, mode)
end)

-- ---- calls on paths that answer nothing, or a number ----

local function number_of(ref) return requests.number, ref end

--- Defines p:NAME(args) and p:NAMEat(dirfd, args) from one description. `take(r, dirfd, ...)` gives the system call and its arguments.
local function define_at(name, at_name, take)
  process.define_recorded(name, function(r, p, ...)
    local call, args = take(r, p.machine.sys.C.AT_FDCWD, ...)
    return number_of(r:call(call, { as = name, flush = true }, unpack(args)))
  end)
  if not at_name then return end
  fds.define_recorded(at_name, function(r, dirfd, ...)
    local call, args = take(r, fds.near(dirfd, r.process, at_name), ...)
    return number_of(r:call(call, { as = at_name, flush = true }, unpack(args)))
  end)
end

define_at("mkdir", "mkdirat", function(r, dir, name, mode)
  return "mkdirat", { dir, r:string(name), loadmode(mode or 511, "mkdir") }
end)

define_at("unlink", "unlinkat", function(r, dir, name, flags)
  return "unlinkat", { dir, r:string(name), r.sys:const(flags, "AT_", "unlinkat") }
end)

define_at("rmdir", nil, function(r, dir, name) return "unlinkat", { dir, r:string(name), r.sys.C.AT_REMOVEDIR } end)

define_at("symlink", nil, function(r, dir, target, name) return "symlinkat", { r:string(target), dir, r:string(name) } end)

define_at("chmod", "fchmodat", function(r, dir, name, mode)
  return "fchmodat", { dir, r:string(name), loadmode(mode, "chmod") }
end)

--- A uid or gid, -1 where it stays. Names are looked up by other calls.
local function id_of(value, call, by)
  if type(value) == "number" and (value < -1 or value >= 2 ^ 32 or value % 1 ~= 0) then -- the kernel would cut it, to 0 even
    error(("%s: %s is no user's or group's number"):format(call, tostring(value)), 0)
  end
  if type(value) ~= "string" then return value or -1 end
  error(("%s: a number was expected, not %q; p:%s has it"):format(call, value, by:format(value)), 0)
end

local function owner_of(call, uid, gid)
  return id_of(uid, call, "getpwnam(%q).pw_uid"), id_of(gid, call, "getgrnam(%q).gr_gid")
end

define_at("chown", "fchownat", function(r, dir, name, uid, gid, flags)
  uid, gid = owner_of("chown", uid, gid)
  return "fchownat", { dir, r:string(name), uid, gid, r.sys:const(flags, "AT_", "chown") }
end)

define_at("lchown", nil, function(r, dir, name, uid, gid)
  uid, gid = owner_of("lchown", uid, gid)
  return "fchownat", { dir, r:string(name), uid, gid, r.sys.C.AT_SYMLINK_NOFOLLOW }
end)

define_at("access", "faccessat", function(r, dir, name, mode)
  return "faccessat", { dir, r:string(name), r.sys:const(mode or "F_OK", "", "access") }
end)

define_at("truncate", nil, function(r, _, name, length) return "truncate", { r:string(name), length } end)
define_at("chdir", nil, function(r, _, name) return "chdir", { r:string(name) } end)
define_at("chroot", nil, function(r, _, name) return "chroot", { r:string(name) } end)

process.define_recorded("rename", function(r, p, old, new)
  local C = p.machine.sys.C
  return number_of(r:call("renameat", { as = "rename" }, C.AT_FDCWD, r:string(old), C.AT_FDCWD, r:string(new)))
end)

process.define_recorded("link", function(r, p, old, new)
  local C = p.machine.sys.C
  return number_of(r:call("linkat", { as = "link" }, C.AT_FDCWD, r:string(old), C.AT_FDCWD, r:string(new), 0))
end)

process.define_recorded("umask", function(r, _, mode) return number_of(r:call("umask", nil, loadmode(mode, "umask"))) end)

fds.define_recorded("fchmod", function(r, fd, mode)
  return number_of(r:call("fchmod", nil, fds.near(fd, r.process, "fchmod"), loadmode(mode, "fchmod")))
end)

fds.define_recorded("symlinkat", function(r, dirfd, target, name)
  return number_of(r:call("symlinkat", nil, r:string(target), fds.near(dirfd, r.process, "symlinkat"), r:string(name)))
end)

fds.define_recorded("renameat", function(r, olddir, old, newdir, new)
  local from, to = fds.near(olddir, r.process, "renameat"), fds.near(newdir, r.process, "renameat")
  return number_of(r:call("renameat", nil, from, r:string(old), to, r:string(new)))
end)

-- ---- calls that answer in memory ----

local function given_pointer(_, ref) return ref.pointer end

local function decoded_stat(r, ref) return stats.decode(r.machine, r:data(ref.fetched)) end

local AS = {} -- call -> how it is recorded
for _, name in ipairs { "stat", "lstat", "fstat", "fstatat" } do AS[name] = { as = name } end

--- Memory for the answer: the script's pointer, or what the chain brings.
local function stat_memory(r, ptr)
  if pointer.is(ptr) then return ptr:near(r.process, r) end
  return r:scratch(stats.size(r.machine))
end

local function bring_stat(r, ref, at, ptr)
  if pointer.is(ptr) then
    ref.pointer = ptr
    return given_pointer, ref
  end
  ref.fetched = r:fetch_of(ref, at, stats.size(r.machine))
  return decoded_stat, ref
end

local function record_stat(r, as, ptr, dirfd, name, flags)
  local where, at = r:string(name), stat_memory(r, ptr)
  return bring_stat(r, r:call("newfstatat", AS[as], dirfd, where, at, flags), at, ptr)
end

--- p:stat(path): a table with the fields of stat(2) as numbers, and `type`; p:stat(path, pointer): the system call into the pointer's memory.
---@return afar.Stat
process.define_recorded("stat", function(r, p, name, ptr) return record_stat(r, "stat", ptr, p.machine.sys.C.AT_FDCWD, name, 0) end)

process.define_recorded("lstat", function(r, p, name, ptr)
  local C = p.machine.sys.C
  return record_stat(r, "lstat", ptr, C.AT_FDCWD, name, C.AT_SYMLINK_NOFOLLOW)
end)

fds.define_recorded("fstat", function(r, fd, ptr)
  local number, at = fds.near(fd, r.process, "fstat"), stat_memory(r, ptr)
  return bring_stat(r, r:call("fstat", AS.fstat, number, at), at, ptr)
end)

fds.define_recorded("fstatat", function(r, dirfd, name, flags, ptr)
  flags = r.sys:const(flags, "AT_", "fstatat")
  return record_stat(r, "fstatat", ptr, fds.near(dirfd, r.process, "fstatat"), name, flags)
end)

local function record_readlink(r, as, dirfd, name, ptr)
  local where = r:string(name)
  if pointer.is(ptr) then
    local ref = r:call("readlinkat", { as = as }, dirfd, where, ptr:near(r.process, r), ptr.size)
    return function(r_) return pointer.parts(ptr, r_:result(ref)) end, ref
  end
  local at = r:scratch(PATH_MAX)
  local ref = r:call("readlinkat", { as = as }, dirfd, where, at, PATH_MAX)
  local data = r:fetch_of(ref, at, ref + 0)
  return function(r_) return r_:data(data) end, ref
end

--- p:readlink(path): what the symlink says, as a string; see readlink(2).
process.define_recorded("readlink", function(r, p, name, ptr) return record_readlink(r, "readlink", p.machine.sys.C.AT_FDCWD, name, ptr) end)

fds.define_recorded("readlinkat", function(r, dirfd, name, ptr)
  return record_readlink(r, "readlinkat", fds.near(dirfd, r.process, "readlinkat"), name, ptr)
end)

--- p:getcwd(): the working directory, as a string; see getcwd(2).
process.define_recorded("getcwd", function(r)
  local at = r:scratch(PATH_MAX)
  local ref = r:call("getcwd", nil, at, PATH_MAX)
  local data = r:fetch_of(ref, at, ref + -1)
  return function(r_) return r_:data(data) end, ref
end)

local TYPES = { [0] = "unknown", "fifo", "char", [4] = "directory", [6] = "block", [8] = "file", [10] = "symlink", [12] = "socket" }

--- What getdents64(2) gives, as a list.
local function entries(bytes)
  local list, at = {}, 1
  while at + 18 < #bytes do
    local length = u16(bytes, at + 16)
    if length < 19 then break end
    local name = bytes:sub(at + 19, at + length - 1):match "^[^%z]*"
    if name == "" or name:find("/", 1, true) then error(("a directory has an entry %q, which can be no name of a file"):format(name), 0) end
    local inode = ffi.new "uint64_t[1]"
    ffi.copy(inode, bytes:sub(at, at + 7), 8)
    list[#list + 1] = { d_ino = tonumber(inode[0]), d_type = TYPES[bytes:byte(at + 18)] or "unknown", d_name = name }
    at = at + length
  end
  return list
end

--- fd:getdents64(): the next entries of a directory: { d_name =, d_type = "file" ..., d_ino = } each, "." and ".." among them; {} at the end.
--- fd:getdents64(pointer): the system call; returns the part of the memory that was filled, and the rest. See getdents64(2).
fds.define_recorded("getdents64", function(r, fd, ptr)
  local number = fds.near(fd, r.process, "getdents64")
  if pointer.is(ptr) then
    local ref = r:call("getdents64", nil, number, ptr:near(r.process, r), ptr.size)
    return function(r_) return pointer.parts(ptr, r_:result(ref)) end, ref
  end
  local at = r:scratch(DENTS)
  local ref = r:call("getdents64", nil, number, at, DENTS)
  local data = io.fetch_result(r, at, DENTS, ref)
  return function(r_) return entries(data(r_)) end, ref
end)

-- ---- numbers of fds ----

fds.define_recorded("lseek", function(r, fd, offset, whence)
  if type(offset) == "number" and (offset % 1 ~= 0 or math.abs(offset) >= 2 ^ 63) then
    error(("lseek: %s is no whole number of bytes"):format(tostring(offset)), 0)
  end
  return number_of(r:call("lseek", nil, fds.near(fd, r.process, "lseek"), offset or 0, r.sys:const(whence or "SEEK_SET", "SEEK_", "lseek")))
end)

local function check_target(p, number)
  if p.table.internal[number] then
    error(errors.new(p, "dup2", { number }, "that number is in use by afar itself", { name = "EBUSY" }), 0)
  end
end

--- fd:dup2(newfd): newfd, a number or a handle, becomes another handle to the same file; see dup2(2). Close-on-exec from 3 on.
fds.define_recorded("dup2", function(r, fd, newfd)
  local old = fds.near(fd, r.process, "dup2")
  local number = fds.near(newfd, r.process, "dup2")
  check_target(r.process, number)
  local ref
  if old == number then
    ref = r:call("fcntl", { as = "dup2" }, old, r.sys.C.F_GETFD, 0)
  else
    ref = r:call("dup3", { as = "dup2" }, old, number, number > 2 and r.sys.C.O_CLOEXEC or 0)
  end
  return function(r_)
    if number <= 2 then return fds.borrow(r_.process, number) end
    if old == number then return fd end
    return fds.new(r_.process, number, type(fd) == "table" and rawget(fd, "kind") or nil)
  end, ref
end)

--- fd:dup(): another handle to the same file, close-on-exec; see dup(2).
fds.define_recorded("dup", function(r, fd)
  local ref = r:call("fcntl", { as = "dup" }, fds.near(fd, r.process, "dup"), r.sys.C.F_DUPFD_CLOEXEC, 3)
  return function(r_) return fds.new(r_.process, r_:result(ref), type(fd) == "table" and rawget(fd, "kind") or nil) end, ref
end)

local ARGUMENTS = { F_SETFL = "O_", F_SETFD = "FD_", F_ADD_SEALS = "F_SEAL_" }

--- fd:fcntl(command, argument): see fcntl(2). F_DUPFD and F_DUPFD_CLOEXEC give a handle, all others the number that the kernel answers.
fds.define_recorded("fcntl", function(r, fd, command, argument)
  local number = r.sys:const(command, "F_", "fcntl")
  if pointer.is(argument) then
    argument = argument:near(r.process, r)
  elseif type(argument) == "string" then
    argument = r.sys:const(argument, ARGUMENTS[command] or "", "fcntl")
  end
  local ref = r:call("fcntl", { flush = true }, fds.near(fd, r.process, "fcntl"), number, argument or 0)
  local C = r.sys.C
  if number ~= C.F_DUPFD and number ~= C.F_DUPFD_CLOEXEC then return number_of(ref) end
  return function(r_) return fds.new(r_.process, r_:result(ref)) end, ref
end)

-- ---- pairs of fds ----

--- Two numbers that a call puts into memory, as two handles.
local function pair(r, at, made, kind)
  local data = r:fetch_of(made, at, 8)
  local function handle(index)
    return function(r_)
      return fds.new(r_.process, u32(r_:data(data), 4 * index + 1), kind)
    end
  end
  return handle(0), requests.load32(at, made), handle(1), requests.load32(at + 4, made)
end

--- p:pipe2(flags): the read end and the write end of a new pipe; see pipe2(2). Close-on-exec.
---@return afar.Fd read, afar.Fd write
local function record_pipe(r, _, flags)
  local at = r:scratch(8)
  flags = tonumber(bit.bor(r.sys:const(flags, "O_", "pipe2"), r.sys.C.O_CLOEXEC))
  return pair(r, at, r:call("pipe2", nil, at, flags), "pipe")
end
process.define_recorded("pipe2", record_pipe)
process.define_recorded("pipe", record_pipe)

--- p:socketpair(domain, type, protocol): two connected sockets; see socketpair(2). Default AF_UNIX, SOCK_STREAM. Close-on-exec.
---@return afar.Fd, afar.Fd
process.define_recorded("socketpair", function(r, _, domain, type_, protocol)
  local C, at = r.sys.C, r:scratch(8)
  domain = r.sys:const(domain or "AF_UNIX", "AF_", "socketpair")
  type_ = tonumber(bit.bor(r.sys:const(type_ or "SOCK_STREAM", "SOCK_", "socketpair"), C.SOCK_CLOEXEC))
  return pair(r, at, r:call("socketpair", nil, domain, type_, protocol or 0, at), "socket")
end)

return { entries = entries }
