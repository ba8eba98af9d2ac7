--- Whole files: read_file and write_file, each one round trip where the file is an ordinary one.

local ffi = require "ffi"
local attach = require "afar.attach"
local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local io = require "afar.io"
local loadmode = require "afar.mode"
local nursery = require "afar.nursery"
local paths = require "afar.path"
local process = require "afar.process"
local pump = require "afar.pump"
local spawn = require "afar.spawn"
local stats = require "afar.stat"

local content = {}

local FIRST_READ = 64 * 1024 -- what the first round trip brings; from here on the rest comes through a channel
local SECOND_READ = 4096 -- only to see the end: files of /proc give less at once than they have
local ONE_CHAIN = 1024 * 1024 -- what is written by requests; longer data goes through a channel
local LINKS_MOST = 40
local NAME_MAX = 255
local POLLIN = 1

--- A request that succeeds if `ref` has succeeded with a result that isn't 0.
local function record_nonzero(r, ref)
  local zero = r:value(ref, { expect = 0, may_fail = true, aside = true, if_ok = ref })
  return r:value(1, { may_fail = true, aside = true, if_ok = ref, if_failed = zero })
end

-- ---- reading ----

--- open, read until the end is seen, bring the bytes; and close, unless there is more to come.
local function record_read(r, p, path)
  local C = p.machine.sys.C
  local fd = r:call("openat", { as = "open", flush = true }, C.AT_FDCWD, r:string(path), C.O_RDONLY + C.O_CLOEXEC, 0)
  local first_at, second_at = r:scratch(FIRST_READ), r:scratch(SECOND_READ)
  r:hold(fd, POLLIN, { as = "read" })
  local first = r:call("read", nil, fd, first_at, FIRST_READ)
  local second = r:call("read", nil, fd, second_at, SECOND_READ)
  local more = record_nonzero(r, second)
  r:call("close", { if_ok = fd, if_failed = more, aside = true, may_fail = true }, fd)
  local head, tail = io.fetch_result(r, first_at, FIRST_READ, first), io.fetch_result(r, second_at, SECOND_READ, second)
  return fd, more, function() return head(r) .. tail(r) end
end

local function read_rest(fd)
  fd.kind = io.kind_of(fd:fstat().st_mode)
  if fd.kind == "file" and not fd.process.machine.served then
    local rest, errno = pump.read_all(attach.channel(fds.process_of(fd), fd, "r"))
    if errno ~= 0 then error(errors.errno(fd.process, "read", { n = 1, fd }, errno), 0) end
    return rest
  end
  local parts = {}
  repeat
    parts[#parts + 1] = fd:read(FIRST_READ)
  until parts[#parts] == ""
  fd:close()
  return table.concat(parts)
end

--- p:read_file(path): all that a file holds, as a string. One round trip for up to 64 KiB.
---@param path string
---@return string
process.define("read_file", function(self, path)
  local r = requests.record(self)
  r.name, r.args = "read_file", { n = 1, path }
  local fd, more, data = record_read(r, self, path)
  r:run()
  if r:result(more) ~= 1 then return data() end
  local handle = fds.new(self, r:result(fd))
  return data() .. read_rest(handle)
end)

-- ---- writing ----
-- The new content goes into a temporary file beside the old one, which then takes its name: so there is the old file or the new one, at any
-- instant. What was there is looked at in the same chain: an ordinary file's owner and mode are put on the new one. A symbolic link, a file with
-- extended attributes, and what is no regular file end the chain before anything was replaced; each is then done with the round trips that it takes.

local function temporary(path)
  local name = (".%s.afar-%s"):format(paths.basename(path), spawn.random(6))
  if #name > NAME_MAX then name = ".afar-" .. spawn.random(6) end
  return paths.join(paths.dirname(path), name)
end

--- The byte of st_mode that tells the type, alone in a zeroed word: the chain can compare whole numbers only.
local function record_type(r, p, stat, stat_at)
  local words = ffi.new("uint64_t[4]", 0, 1, stat_at + stats.offset(p.machine, "st_mode") + 1, 1)
  local word = r:bytes(("\0"):rep(8))
  words[0] = word
  local iov = r:bytes(ffi.string(words, 32))
  local copy = r:call("process_vm_readv", { if_ok = stat, may_fail = true, aside = true }, p.pid, iov, 1, iov + 16, 1, 0)
  return r:value(requests.load32(word), { if_ok = copy, expect = 0x81, may_fail = true, aside = true })
end

--- What is there already, and whether the chain may go on behind it: if that is nothing, or an ordinary file. `known` says what was
--- found out before, and need not be asked again.
local function record_old(r, p, path, known)
  local C = p.machine.sys.C
  local at, free = r:string(path), { may_fail = true, aside = true, always = true }
  local old = { stat_at = r:scratch(stats.size(p.machine)) }
  old.link = r:call("readlinkat", free, C.AT_FDCWD, at, r:scratch(16), 16)
  old.stat = r:call("newfstatat", free, C.AT_FDCWD, at, old.stat_at, 0)
  local gate = r:value(1, { if_failed = old.link, may_fail = true, aside = true })
  if not known.regular then
    local regular = record_type(r, p, old.stat, old.stat_at)
    old.odd = r:value(1, { if_ok = old.stat, if_failed = regular, may_fail = true, aside = true })
    gate = r:value(1, { if_ok = gate, if_failed = old.odd, may_fail = true, aside = true })
  end
  if not known.attributes then
    local list = r:call("listxattr", { if_ok = old.stat, may_fail = true, aside = true }, at, r:scratch(16), 0)
    old.attributed = record_nonzero(r, list)
    gate = r:value(1, { if_ok = gate, if_failed = old.attributed, may_fail = true, aside = true })
  end
  old.gate = gate
  return old
end

local NEW = "O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW"

local function record_temporary(r, p, name, gate)
  local flags = p.machine.sys:const(NEW, "O_", "open")
  return r:call("openat", { as = "open", if_ok = gate, aside = true }, p.machine.sys.C.AT_FDCWD, r:string(name), flags, 384)
end

--- Puts on the new file what the old one has: owner, extended attributes, mode. (In this order: a change of owner takes capabilities and
--- set-user-id away, an access list changes the mode.)
local function record_kept(r, p, fd, old, known, mode)
  local function at(field) return requests.load32(old.stat_at + stats.offset(p.machine, field), old.stat) end
  local last = r:call("fchown", { if_ok = old.stat, aside = true }, fd, at "st_uid", at "st_gid")
  for name, value in pairs(known.attributes or {}) do
    last = r:call("fsetxattr", { if_ok = last, aside = true }, fd, r:string(name), r:bytes(value), #value, 0)
  end
  return r:call("fchmod", { if_ok = last, aside = true }, fd, mode or at "st_mode")
end

--- The mode of a file where none was: what was asked for; else 0666 less the umask, as a second file shows that is made for this alone.
local function record_fresh(r, p, fd, old, job)
  local mode, name = job.mode or job.new_mode, job.temporary
  if mode then return r:call("fchmod", { if_failed = old.stat, aside = true }, fd, mode) end
  local C, at = p.machine.sys.C, r:string(name .. "~")
  local flags = p.machine.sys:const(NEW, "O_", "open")
  local sample = r:call("openat", { as = "open", if_failed = old.stat, if_ok = fd, aside = true }, C.AT_FDCWD, at, flags, 438)
  local seen = r:call("fstat", { if_ok = sample, aside = true }, sample, old.stat_at)
  r:call("close", { if_ok = sample, aside = true }, sample)
  r:call("unlinkat", { if_ok = sample, aside = true }, C.AT_FDCWD, at, 0)
  return r:call("fchmod", { aside = true }, fd, requests.load32(old.stat_at + stats.offset(p.machine, "st_mode"), seen))
end

local function record_rename(r, p, fd, ready, name, path, opts)
  local C = p.machine.sys.C
  if opts.sync ~= false then ready = r:call("fsync", { flush = true, if_ok = ready, aside = true }, fd) end
  return r:call("renameat", { as = "rename", if_ok = ready, aside = true }, C.AT_FDCWD, r:string(name), C.AT_FDCWD, r:string(path))
end

--- From the file with its new content to the end; whatever fails, the temporary file is gone afterwards. `fd`: where it is open.
local function record_commit(r, p, fd, written, old, job)
  local C = p.machine.sys.C
  local file = r:value(fd, { if_ok = written, aside = true }) -- only usable if all was written
  local kept = record_kept(r, p, file, old, job.known, job.mode)
  local fresh = record_fresh(r, p, file, old, job)
  local renamed = record_rename(r, p, file, kept, job.temporary, job.path, job.opts)
  local placed = record_rename(r, p, file, fresh, job.temporary, job.path, job.opts)
  local opened = requests.source(fd)
  r:call("close", { if_ok = opened, always = not opened, may_fail = true, aside = true }, fd)
  local not_renamed = r:value(1, { if_ok = opened, if_failed = renamed, may_fail = true, aside = true })
  r:call("unlinkat", { if_ok = not_renamed, if_failed = placed, may_fail = true, aside = true }, C.AT_FDCWD, r:string(job.temporary), 0)
  return function() return r:result(renamed) == 0 or r:result(placed) == 0 end
end

--- The first of a chain's requests that failed by itself.
local function raise_first(r, job)
  local ok, err = pcall(r.check, r)
  if ok then err = errors.new(job.p, "write_file", { job.path }, "it could not be replaced") end
  err.args = { n = 1, job.path }
  error(err, 0)
end

local function passed(r, ref) return ref ~= nil and r:result(ref) >= 0 end

--- What stands in the way of the one chain, or nil.
local function obstacle(r, old)
  if passed(r, old.link) then return "link" end
  if passed(r, old.odd) then return "odd" end
  if passed(r, old.attributed) then return "attributes" end
end

--- All in one chain.
local function write_small(job)
  local p = job.p
  local r = requests.record(p)
  r.args = { n = 1, job.path }
  local old = record_old(r, p, job.path, job.known)
  local fd = record_temporary(r, p, job.temporary, old.gate)
  local written = fd
  if #job.data > 0 then
    local at = r:bytes(job.data)
    written = r:call("write", { flush = true, if_ok = fd, aside = true, expect_arg = 3 }, fd, at, #job.data)
    r:call("write", { if_ok = fd, if_failed = written, aside = true }, fd, at, 1) -- says why not all of it could be written
  end
  local done = record_commit(r, p, fd, written, old, job)
  r:submit()
  if r:wait() then r:check() end
  if done() then return end
  return obstacle(r, old) or raise_first(r, job)
end

local function discard(job, fd)
  pcall(fd.close, fd)
  pcall(job.p.unlink, job.p, job.temporary)
end

--- Longer content: the temporary file first, then its bytes, then the rest as one chain.
local function write_large(job)
  local p = job.p
  local r = requests.record(p)
  r.args = { n = 1, job.path }
  local old = record_old(r, p, job.path, job.known)
  local opened = record_temporary(r, p, job.temporary, old.gate)
  r:submit()
  if r:wait() then r:check() end
  if not passed(r, opened) then return obstacle(r, old) or raise_first(r, job) end
  local fd = fds.new(p, r:result(opened), "file")
  local ok, err = pcall(job.fill, fd)
  if not ok then
    discard(job, fd)
    error(err, 0)
  end
  r = requests.record(p)
  r.args = { n = 1, job.path }
  old = record_old(r, p, job.path, { regular = true, attributes = {} })
  local done = record_commit(r, p, fd.number, old.gate, old, job)
  fds.forget(fd)
  r:submit()
  if r:wait() then r:check() end
  if not done() then return obstacle(r, old) or raise_first(r, job) end
end

--- The extended attributes of a file, by name.
local function attributes_of(p, path)
  local names = p:malloc(65536)
  local length = p:syscall("listxattr", path, names, names.size)
  local values, buffer = {}, p:malloc(65536)
  for name in names:bytes(0, length):gmatch "[^%z]+" do
    values[name] = buffer:bytes(0, p:syscall("getxattr", path, name, buffer, buffer.size))
  end
  names:free()
  buffer:free()
  return values
end

-- File systems whose files are the kernel's: /proc, /sys, cgroups. Nobody can put another file beside one of them. See statfs(2).
local KERNELS_OWN = {
  "PROC_SUPER_MAGIC", "SYSFS_MAGIC", "CGROUP_SUPER_MAGIC", "CGROUP2_SUPER_MAGIC", "DEBUGFS_MAGIC", "TRACEFS_MAGIC", "SECURITYFS_MAGIC",
  "SELINUX_MAGIC", "BINFMTFS_MAGIC",
}

local function is_kernels_own(job)
  local C, fs = job.p.machine.sys.C, nursery.try(job.p.statfs, job.p, job.path)
  for _, magic in ipairs(KERNELS_OWN) do
    if fs and tonumber(fs.f_type) == C[magic] then return true end
  end
  return false
end

--- Devices, fifos, sockets and the kernel's own files keep being what they are: the data is written into them.
local function write_into(job)
  local fd = job.p:open(job.path, "O_WRONLY|O_NOCTTY")
  local ok, err = pcall(job.fill, fd)
  fd:close()
  if not ok then error(err, 0) end
end

--- Learns what the chain could not cope with. Returns true when all is done already.
local function learn(job, what)
  if what == "link" then
    job.path = paths.join(paths.dirname(job.path), job.p:readlink(job.path))
    job.temporary, job.known = temporary(job.path), {}
  elseif what == "attributes" then
    job.known.attributes = attributes_of(job.p, job.path)
  elseif job.p:stat(job.path).type == "file" then
    job.known.regular = true
  else
    write_into(job)
    return true
  end
end

function content.replace(write, job)
  for _ = 1, LINKS_MOST do
    local ok, what = pcall(write, job)
    if not ok then
      if errors.is(what) and what.errno and is_kernels_own(job) then return write_into(job) end
      error(what, 0)
    end
    if not what or learn(job, what) then return end
  end
  error(errors.new(job.p, "write_file", { job.path }, "too many symbolic links, or it keeps changing", { name = "ELOOP" }), 0)
end

--- p:write_file(path, data, options): the file holds `data` from now on: all of it or, when this raises, what it held before. Owner, mode and
--- extended attributes of a file that was there are kept, symbolic links followed, and data is on disk when it returns. One round trip for up to 1 MiB
--- into an ordinary file, or a new one. A device, a fifo or a file of the kernel's (/proc, /sys, cgroups) can't be replaced: it is written to.
--- options: mode = permissions (default: those of the old file, or "0666" less the umask); sync = false: don't wait for the disk.
---@param path string
---@param data string
---@param options? { mode: integer|string, sync: boolean }
process.define("write_file", function(self, path, data, options)
  if type(path) ~= "string" or path == "" then error("write_file: the path must be a string", 2) end
  if type(data) ~= "string" then error(("write_file: a string was expected, not %s"):format(type(data)), 2) end
  local opts = options or {}
  content.replace(#data > ONE_CHAIN and write_large or write_small, {
    p = self, path = path, data = data, opts = opts, known = {}, temporary = temporary(path),
    mode = opts.mode and loadmode(opts.mode, "write_file"),
    fill = function(fd) fd:write(data) end,
  })
end)

--- Replaces a file by what `fill(fd)` writes, as write_file does; new_mode: its permissions where there was none.
---@param p afar.Process
---@param path string
---@param fill fun(fd: afar.Fd)
function content.fill(p, path, fill, new_mode, opts)
  content.replace(write_large, {
    p = p, path = path, opts = opts, known = {}, temporary = temporary(path), fill = fill, new_mode = new_mode,
    mode = opts.mode and loadmode(opts.mode, "copy_to"),
  })
end

return content
