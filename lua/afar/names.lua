--- More calls on names of files: links, renaming with flags, special files; files without a name; and where a program is.

local bit = require "bit"
local requests = require "afar.requests"
local command = require "afar.command"
local directory = require "afar.directory"
local errors = require "afar.error"
local fds = require "afar.fd"
local loadmode = require "afar.mode"
local paths = require "afar.path"
local process = require "afar.process"
local spawn = require "afar.spawn"

local function number_of(ref) return function(r) return r:result(ref) end, ref end

--- olddir:linkat(oldpath, newdir, newpath, flags): see linkat(2). flags: "AT_SYMLINK_FOLLOW", "AT_EMPTY_PATH".
fds.define_recorded("linkat", function(r, olddir, old, newdir, new, flags)
  local from, to = fds.near(olddir, r.process, "linkat"), fds.near(newdir, r.process, "linkat")
  return number_of(r:call("linkat", nil, from, r:string(old), to, r:string(new), r.sys:const(flags, "AT_", "linkat")))
end)

--- olddir:renameat2(oldpath, newdir, newpath, flags): see rename(2). flags: "RENAME_NOREPLACE", "RENAME_EXCHANGE", "RENAME_WHITEOUT".
fds.define_recorded("renameat2", function(r, olddir, old, newdir, new, flags)
  local from, to = fds.near(olddir, r.process, "renameat2"), fds.near(newdir, r.process, "renameat2")
  return number_of(r:call("renameat2", nil, from, r:string(old), to, r:string(new), r.sys:const(flags, "RENAME_", "renameat2")))
end)

local function record_mknod(r, as, dirfd, path, mode, dev)
  local type_ = 0
  if type(mode) == "string" and mode:find "S_IF" then
    type_, mode = r.sys:const(mode:match "S_IF%u+", "S_", as), mode:match "|%s*([0-7]+)"
  end
  mode = loadmode(mode or 438, as)
  return number_of(r:call("mknodat", { as = as }, dirfd, r:string(path), tonumber(bit.bor(type_, mode)), dev or 0))
end

--- p:mknod(path, mode, dev), dirfd:mknodat(path, mode, dev): see mknod(2). mode: "S_IFIFO|0600", or a number.
process.define_recorded("mknod", function(r, _, path, mode, dev) return record_mknod(r, "mknod", r.sys.C.AT_FDCWD, path, mode, dev) end)

fds.define_recorded("mknodat", function(r, dirfd, path, mode, dev)
  return record_mknod(r, "mknodat", fds.near(dirfd, r.process, "mknodat"), path, mode, dev)
end)

--- p:memfd_create(name, flags): a file that has no name and lives in memory; see memfd_create(2). flags: "MFD_ALLOW_SEALING"; MFD_CLOEXEC is added.
---@return afar.Fd
process.define_recorded("memfd_create", function(r, _, name, flags)
  flags = tonumber(bit.bor(r.sys:const(flags, "MFD_", "memfd_create"), r.sys.C.MFD_CLOEXEC))
  local ref = r:call("memfd_create", nil, r:string(name or "afar"), flags)
  return function(r_) return fds.new(r_.process, r_:result(ref), "file") end, ref
end)

--- p:symlink_atomic(target, path): `path` is a symbolic link to `target` from now on; what was there before is replaced in one step. One round trip.
process.define("symlink_atomic", function(self, target, path)
  local r = requests.record(self)
  r.args = { n = 2, target, path }
  local C = r.sys.C
  local temporary = paths.join(paths.dirname(path), ".afar-" .. spawn.random(6))
  local at = r:string(temporary)
  local made = r:call("symlinkat", { as = "symlink" }, r:string(target), C.AT_FDCWD, at)
  local placed = r:call("renameat", { as = "rename" }, C.AT_FDCWD, at, C.AT_FDCWD, r:string(path))
  local left = r:value(1, { if_ok = made, if_failed = placed, aside = true, may_fail = true })
  r:call("unlinkat", { if_ok = left, aside = true, may_fail = true }, C.AT_FDCWD, at, 0)
  r:run()
end)

--- What is at each of these paths that may be executed and is a file.
local function executable(p, candidates)
  local r = requests.record(p)
  r.args = { n = 1, candidates[1] }
  local access = {}
  for i, path in ipairs(candidates) do
    access[i] = r:call("faccessat", directory.if_ok(), r.sys.C.AT_FDCWD, r:string(path), 1)
  end
  local finish = directory.record_stats(r, r.sys.C.AT_FDCWD, candidates, 0)
  r:run()
  local found = finish(r)
  return function(i)
    local stats = require "afar.stat"
    return r:result(access[i]) == 0 and found[i] ~= nil and stats.decode(p.machine, found[i]).type == "file"
  end
end

--- p:which(name): the path at which a program would be executed, as looked up in the process's PATH now; see execvp(3). Raises ENOENT when it is nowhere. One
--- round trip.
---@param name string
---@param path? string instead of PATH
---@return string
process.define("which", function(self, name, path)
  if type(name) ~= "string" or name == "" then error("which: the program's name must be a string", 2) end
  local candidates = command.candidates(self, { name, env = path and { PATH = path } })
  local fits = executable(self, candidates)
  for i, candidate in ipairs(candidates) do
    if fits(i) then return candidate end
  end
  error(errors.new(self, "which", { name }, ("there is no such program in %s"):format(path or self.environ.PATH or "PATH"), { name = "ENOENT" }), 0)
end)
