--- For p:copy_tree: puts what was read at the source into a directory at the destination, many entries in one chain.

local requests = require "afar.requests"
local directory = require "afar.directory"
local errors = require "afar.error"
local fds = require "afar.fd"
local Item = require "afar.copytree.item"
local paths = require "afar.path"
local stats = require "afar.stat"

local place = {}

local if_ok = directory.if_ok

local TIMES = 32 -- bytes of two timespecs

--- What utimensat takes, exactly as the source's kernel said it: there the four numbers stand side by side.
local function times_of(job, bytes)
  local at = stats.offset(job.from.machine, "st_atime")
  return bytes:sub(at + 1, at + TIMES)
end

--- Permissions; without its owner a set-user-id program must not stay one.
local function mode_of(job, stat) return job.owner and stat.st_mode % 4096 or stat.st_mode % 512 + math.floor(stat.st_mode / 512) % 2 * 512 end

-- ---- steps: requests of which each must succeed for the next to be made ----

local function step(r, steps, name, a, b, c, d, e)
  local count = #steps
  local ref = r:attempt(name, steps[count], a, b, c, d, e)
  steps[count + 1] = ref
  return ref
end

--- All of it, or it has failed.
local function step_of_data(r, steps, fd, at, length)
  local o = if_ok(steps[#steps])
  o.expect_arg = 3
  steps[#steps + 1] = r:call("write", o, fd, at, length)
end

--- Owner, mode and times of what `fd` is.
local function steps_of_fd(r, job, steps, fd, item)
  if job.owner then step(r, steps, "fchown", fd, item.stat.st_uid, item.stat.st_gid) end
  step(r, steps, "fchmod", fd, mode_of(job, item.stat))
  step(r, steps, "utimensat", fd, 0, item.times_at, 0)
end

--- Raises the first step that failed.
local function check(r, job, item, steps)
  local last = steps[#steps]
  if not last or r:result(last) >= 0 then return end
  for _, ref in ipairs(steps) do
    local result = r:result(ref)
    if result < 0 and result ~= -job.C.ECANCELED then
      error(errors.errno(job.to, r.names[ref.index], { n = 1, Item.target(job, item) }, -result), 0)
    end
  end
  error(errors.errno(job.to, "write", { n = 1, Item.target(job, item) }, job.C.ENOSPC), 0) -- only a part was written
end

-- ---- kinds of entries ----

--- Names, contents (of a hard link: its first name instead) and times of all items go there in one piece.
local function store_all(r, job, items)
  local strings = {}
  for i, item in ipairs(items) do
    strings[3 * i - 2], strings[3 * i - 1], strings[3 * i] = times_of(job, item.bytes), item.name, item.first or item.data or ""
  end
  local where = directory.store(r, strings)
  for i, item in ipairs(items) do
    item.times_at, item.name_at, item.data_at = where[3 * i - 2], where[3 * i - 1], where[3 * i]
  end
end

local function record_new_file(r, job, dirfd, item, steps)
  local C = job.C
  local flags = C.O_WRONLY + C.O_CREAT + C.O_EXCL + C.O_NOFOLLOW + C.O_CLOEXEC
  return step(r, steps, "openat", dirfd, item.name_at, flags, 384)
end

local record = {}

function record.file(r, job, dirfd, item, steps)
  local fd = record_new_file(r, job, dirfd, item, steps)
  if #item.data > 0 then step_of_data(r, steps, fd, item.data_at, #item.data) end
  steps_of_fd(r, job, steps, fd, item)
  r:attempt("close", fd, fd)
end

local function steps_of_owner(r, job, dirfd, item, steps)
  if job.owner then step(r, steps, "fchownat", dirfd, item.name_at, item.stat.st_uid, item.stat.st_gid, job.C.AT_SYMLINK_NOFOLLOW) end
end

local function step_of_times(r, job, dirfd, item, steps)
  step(r, steps, "utimensat", dirfd, item.name_at, item.times_at, job.C.AT_SYMLINK_NOFOLLOW)
end

function record.symlink(r, job, dirfd, item, steps)
  step(r, steps, "symlinkat", item.data_at, dirfd, item.name_at)
  steps_of_owner(r, job, dirfd, item, steps)
  step_of_times(r, job, dirfd, item, steps)
end

--- A fifo, a socket's name, a device. (The mode is that of mknod less the umask, made good by a chmod through the name, which is ours, new and no link.)
function record.special(r, job, dirfd, item, steps)
  step(r, steps, "mknodat", dirfd, item.name_at, item.stat.st_mode - item.stat.st_mode % 4096 + 384, item.stat.st_rdev)
  steps_of_owner(r, job, dirfd, item, steps)
  step(r, steps, "fchmodat", dirfd, item.name_at, mode_of(job, item.stat))
  step_of_times(r, job, dirfd, item, steps)
end

function record.link(r, job, dirfd, item, steps)
  step(r, steps, "linkat", job.root.number, item.data_at, dirfd, item.name_at, 0)
end

--- Made so that only we can look in meanwhile; it gets its mode when it is full.
function record.directory(r, job, dirfd, item, steps)
  local dir = requests.source(dirfd)
  local made = r:call("mkdirat", if_ok(dir), dirfd, item.name_at, 448)
  if not job.merge then steps[1] = made end
  local opened = directory.record_open(r, dirfd, item.name, false, if_ok(not job.merge and made or dir))
  steps[#steps + 1] = opened
  item.opened = opened
end

--- Puts items into the directory `dir`, all in one chain; raises the first failure. Directories are opened: item.to.
---@param dir afar.Fd
function place.all(job, dir, items)
  if #items == 0 then return end
  local r, all = requests.record(job.to), {}
  store_all(r, job, items)
  for i, item in ipairs(items) do
    local steps = {}
    if job.merge and item.kind ~= "directory" then
      r:call("unlinkat", if_ok(), dir.number, item.name_at, 0)
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

local function differs(job, item, there)
  local stat = there.stat
  if job.owner and (stat.st_uid ~= item.stat.st_uid or stat.st_gid ~= item.stat.st_gid) then return true end
  return stat.st_mode % 4096 ~= mode_of(job, item.stat) or not there.same_time
end

--- Owner, mode and times of files whose contents are there already, all in one chain. Returns those that can't be opened, as a set.
---@param there table<table, { stat: afar.Stat, same_time: boolean }>
function place.adjust(job, dir, items, there)
  local r, todo, all, refused = requests.record(job.to), {}, {}, {}
  for _, item in ipairs(items) do
    if differs(job, item, there[item]) then todo[#todo + 1] = item end
  end
  if #todo == 0 then
    r:drop()
    return refused
  end
  local C = job.C
  local flags = C.O_RDONLY + C.O_NOFOLLOW + C.O_NONBLOCK + C.O_NOCTTY + C.O_CLOEXEC
  store_all(r, job, todo)
  for i, item in ipairs(todo) do
    local steps = {}
    local fd = step(r, steps, "openat", dir.number, item.name_at, flags, 0)
    steps_of_fd(r, job, steps, fd, item)
    r:call("close", if_ok(fd), fd)
    all[i] = steps
  end
  r:run()
  for i, item in ipairs(todo) do
    if r:result(all[i][1]) < 0 then
      refused[item] = true
    else
      check(r, job, item, all[i])
    end
  end
  return refused
end

--- Makes the directory that is to hold all, relative to its parent. Returns whether `job.to` may give files to anybody (it is root), and an
--- fd of the directory that stays when item.to was used up.
---@return boolean, afar.Fd
function place.top(job, item)
  local name = directory.last_name(job.to, job.target, "copy_tree")
  local r, steps = requests.record(job.to), {}
  r.args = { n = 1, job.target }
  local euid = r:call("geteuid", if_ok())
  local parent = directory.record_open(r, job.C.AT_FDCWD, paths.dirname(job.target), true)
  item.name, item.name_at = name, r:string(name)
  record.directory(r, job, parent, item, steps)
  local root = r:call("fcntl", if_ok(item.opened), item.opened, job.C.F_DUPFD_CLOEXEC, 3)
  r:call("close", if_ok(parent), parent)
  r:run()
  if r:result(parent) < 0 then error(errors.errno(job.to, "open", { n = 1, paths.dirname(job.target) }, -r:result(parent)), 0) end
  if r:result(item.opened) >= 0 then item.to = fds.new(job.to, r:result(item.opened), "directory") end
  check(r, job, item, steps)
  if r:result(root) < 0 then error(errors.errno(job.to, "fcntl", { n = 1, item.to }, -r:result(root)), 0) end
  return r:result(euid) == 0, fds.new(job.to, r:result(root), "directory")
end

--- A new file that is filled by other means.
---@return afar.Fd
function place.create(job, dir, item)
  if job.merge then pcall(dir.unlinkat, dir, item.name) end
  return dir:openat(item.name, "O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW", 384)
end

--- Extended attributes: those that the destination's filesystem or our rights don't allow are left out.
function place.attributes(job, from, to, item)
  local names, size = job.from:malloc(65536), 65536
  local length = job.from:syscall("flistxattr", from, names, size)
  local value = job.from:malloc(65536)
  for name in names:bytes(0, length):gmatch "[^%z]+" do
    local bytes = value:bytes(0, job.from:syscall("fgetxattr", from, name, value, size))
    local ok, err = pcall(job.to.syscall, job.to, "fsetxattr", to, name, bytes ~= "" and job.to:ptr(bytes) or 0, #bytes, 0)
    if not ok and not (errors.is(err, "EOPNOTSUPP") or errors.is(err, "EPERM")) then
      if errors.is(err) then err.args = { n = 2, Item.target(job, item), name } end
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
    place.attributes(job, from, to, item)
  end
  local r, steps = requests.record(job.to), {}
  item.times_at = r:bytes(times_of(job, item.bytes))
  steps_of_fd(r, job, steps, to.number, item)
  r:call("close", if_ok(), to.number)
  fds.forget(to)
  r:run()
  check(r, job, item, steps)
end

return place
