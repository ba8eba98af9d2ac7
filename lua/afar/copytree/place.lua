--- For p:copy_tree: puts what was read at the source into a directory at the destination, many entries in one chain.

local ffi = require "ffi"
local requests = require "afar.requests"
local directory = require "afar.directory"
local errors = require "afar.error"
local fds = require "afar.fd"

local place = {}

local if_ok = directory.if_ok

--- What utimensat takes, exactly as the source's kernel said it.
local function times_of(job, bytes)
  local raw = ffi.new(job.from.machine.sys.ctype.stat)
  ffi.copy(raw, bytes, ffi.sizeof(raw))
  local times = ffi.new("int64_t[4]", raw.st_atime, raw.st_atime_nsec, raw.st_mtime, raw.st_mtime_nsec)
  return ffi.string(times, 32)
end

--- Permissions; without its owner a set-user-id program must not stay one.
local function mode_of(job, stat) return job.owner and stat.st_mode % 4096 or stat.st_mode % 512 + math.floor(stat.st_mode / 512) % 2 * 512 end

-- ---- steps: requests of which each must succeed for the next to be made ----

local function step(r, steps, name, ...)
  local before = steps[#steps]
  local o = if_ok(before)
  if name == "write" then o.expect_arg = 3 end
  steps[#steps + 1] = r:call(name, o, ...)
  return steps[#steps]
end

--- Owner, mode and times of what `fd` is.
local function steps_of_fd(r, job, steps, fd, item)
  if job.owner then step(r, steps, "fchown", fd, item.stat.st_uid, item.stat.st_gid) end
  step(r, steps, "fchmod", fd, mode_of(job, item.stat))
  step(r, steps, "utimensat", fd, 0, r:bytes(times_of(job, item.bytes)), 0)
end

--- Raises the first step that failed.
local function check(r, job, item, steps)
  local last = steps[#steps]
  if not last or r:result(last) >= 0 then return end
  for _, ref in ipairs(steps) do
    local result = r:result(ref)
    if result < 0 and result ~= -job.C.ECANCELED then
      error(errors.errno(job.to, r.names[ref.index], { n = 1, item.target }, -result), 0)
    end
  end
  error(errors.errno(job.to, "write", { n = 1, item.target }, job.C.ENOSPC), 0) -- only a part was written
end

-- ---- kinds of entries ----

local function record_new_file(r, job, dirfd, item, steps)
  local C = job.C
  local flags = C.O_WRONLY + C.O_CREAT + C.O_EXCL + C.O_NOFOLLOW + C.O_CLOEXEC
  return step(r, steps, "openat", dirfd, r:string(item.name), flags, 384)
end

local record = {}

function record.file(r, job, dirfd, item, steps)
  local fd = record_new_file(r, job, dirfd, item, steps)
  if #item.data > 0 then step(r, steps, "write", fd, r:bytes(item.data), #item.data) end
  steps_of_fd(r, job, steps, fd, item)
  r:call("close", if_ok(fd), fd)
end

local function steps_of_name(r, job, dirfd, item, steps, at)
  local nofollow = job.C.AT_SYMLINK_NOFOLLOW
  if job.owner then step(r, steps, "fchownat", dirfd, at, item.stat.st_uid, item.stat.st_gid, nofollow) end
  step(r, steps, "utimensat", dirfd, at, r:bytes(times_of(job, item.bytes)), nofollow)
end

function record.symlink(r, job, dirfd, item, steps)
  local at = r:string(item.name)
  step(r, steps, "symlinkat", r:string(item.data), dirfd, at)
  steps_of_name(r, job, dirfd, item, steps, at)
end

--- A fifo, a socket's name, a device. (The mode is that of mknod less the umask, made good by a chmod through the name, which is ours, new and no link.)
function record.special(r, job, dirfd, item, steps)
  local at = r:string(item.name)
  step(r, steps, "mknodat", dirfd, at, item.stat.st_mode - item.stat.st_mode % 4096 + 384, item.stat.st_rdev)
  if job.owner then step(r, steps, "fchownat", dirfd, at, item.stat.st_uid, item.stat.st_gid, job.C.AT_SYMLINK_NOFOLLOW) end
  step(r, steps, "fchmodat", dirfd, at, mode_of(job, item.stat))
  step(r, steps, "utimensat", dirfd, at, r:bytes(times_of(job, item.bytes)), job.C.AT_SYMLINK_NOFOLLOW)
end

function record.link(r, job, dirfd, item, steps)
  step(r, steps, "linkat", job.root.number, r:string(item.first), dirfd, r:string(item.name), 0)
end

--- Made so that only we can look in meanwhile; it gets its mode when it is full.
function record.directory(r, job, dirfd, item, steps)
  local at = r:string(item.name)
  local made = r:call("mkdirat", if_ok(), dirfd, at, 448)
  if not job.merge then steps[1] = made end
  local opened = directory.record_open(r, dirfd, item.name, false, if_ok(not job.merge and made or nil))
  steps[#steps + 1] = opened
  item.opened = opened
end

--- Puts items into the directory `dir`, all in one chain; raises the first failure. Directories are opened: item.to.
---@param dir afar.Fd
function place.all(job, dir, items)
  if #items == 0 then return end
  local r, all = requests.record(job.to), {}
  for i, item in ipairs(items) do
    local steps = {}
    if job.merge and item.kind ~= "directory" then
      r:call("unlinkat", if_ok(), dir.number, r:string(item.name), 0)
    end
    record[item.kind](r, job, dir.number, item, steps)
    all[i] = steps
  end
  r:run()
  for _, item in ipairs(items) do
    local opened = item.opened and r:result(item.opened) or -1
    if opened >= 0 then item.to = fds.new(job.to, opened, "directory") end
  end
  for i, item in ipairs(items) do check(r, job, item, all[i]) end
end

--- A new file that is filled by other means.
---@return afar.Fd
function place.create(job, dir, item)
  if job.merge then pcall(dir.unlinkat, dir, item.name) end
  return dir:openat(item.name, "O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW", 384)
end

--- Extended attributes: those that the destination's filesystem or our rights don't allow are left out.
local function copy_attributes(job, from, to, item)
  local names, size = job.from:malloc(65536), 65536
  local length = job.from:syscall("flistxattr", from, names, size)
  local value = job.from:malloc(65536)
  for name in names:bytes(0, length):gmatch "[^%z]+" do
    local bytes = value:bytes(0, job.from:syscall("fgetxattr", from, name, value, size))
    local ok, err = pcall(job.to.syscall, job.to, "fsetxattr", to, name, bytes ~= "" and job.to:ptr(bytes) or 0, #bytes, 0)
    if not ok and not (errors.is(err, "EOPNOTSUPP") or errors.is(err, "EPERM")) then
      if errors.is(err) then err.args = { n = 2, item.target, name } end
      error(err, 0)
    end
  end
  names:free()
  value:free()
end

--- The last of a file or directory that was filled: owner, extended attributes, mode, times; both handles are closed.
function place.finish(job, item, from, to)
  if item.attributes then
    if job.owner then to:fchown(item.stat.st_uid, item.stat.st_gid) end
    copy_attributes(job, from, to, item)
  end
  local r, steps = requests.record(job.to), {}
  steps_of_fd(r, job, steps, to.number, item)
  r:call("close", if_ok(), to.number)
  fds.forget(to)
  r:run()
  check(r, job, item, steps)
end

return place
