--- p:remove_tree: a directory and all that is in it, by fds of directories: what is replaced by a symbolic link meanwhile leads nowhere else.

local requests = require "afar.requests"
local directory = require "afar.directory"
local errors = require "afar.error"
local fds = require "afar.fd"
local nursery = require "afar.nursery"
local paths = require "afar.path"
local process = require "afar.process"
local stats = require "afar.stat"

local BATCH = 64 -- entries that are removed in one chain, or if they are directories with something in them opened and listed
local BESIDE = 64 -- directories that are emptied at once
local OPEN = 256 -- directories that may be open for another to be emptied beside them
local TRIES = 10 -- of a directory into which something is put meanwhile

local remove = {}

local function fail(job, path, call, errno) error(errors.errno(job.p, call, { n = 1, path }, errno), 0) end

--- May be done to a directory that belongs to us and says that its owner may not: once.
local function allow(job, fd)
  if not job.force or job.allowed[fd.state] then return false end
  job.allowed[fd.state] = true
  return (pcall(fd.fchmod, fd, 448))
end

-- ---- one entry ----

--- Records what removes an entry; a directory that has something in it is opened and listed.
local function record_one(r, dirfd, entry, device)
  local C, at = r.sys.C, r:string(entry.name)
  local one = { entry = entry }
  if entry.type ~= "directory" then
    one.removed = r:call("unlinkat", directory.if_ok(), dirfd, at, 0)
    if entry.type ~= "unknown" then return one end
    one.refused, one.removed = one.removed, nil
  end
  local condition = one.refused and { if_failed = one.refused, aside = true, may_fail = true } or directory.if_ok()
  one.rmdir = r:call("unlinkat", condition, dirfd, at, C.AT_REMOVEDIR)
  one.opened = directory.record_open(r, dirfd, entry.name, false, { if_failed = one.rmdir, aside = true, may_fail = true })
  if device then
    one.stat_at = r:scratch(stats.size(r.machine))
    one.stat = r:call("fstat", directory.if_ok(one.opened), one.opened, one.stat_at)
    one.device = r:fetch(one.stat_at, stats.size(r.machine), directory.if_ok(one.stat))
  end
  one.finish = directory.record_entries(r, one.opened)
  return one
end

--- Opens a directory that its owner may not read, having made it readable by itself, not by what may be in its place by now.
local function open_forbidden(job, dir, name, path, errno)
  local ok, fd = pcall(job.p.openat, job.p, dir, name, "O_PATH|O_NOFOLLOW|O_DIRECTORY")
  if not ok then fail(job, path, "openat", errno) end
  ok = pcall(job.p.chmod, job.p, "/proc/self/fd/" .. fd.number, 448)
  fd:close()
  if not ok then fail(job, path, "openat", errno) end
  return dir:openat(name, "O_RDONLY|O_DIRECTORY|O_NOFOLLOW")
end

local empty -- goes into directories

--- Raises when a directory is on another filesystem.
local function check_device(job, path, handle, r, one)
  if not job.device then return end
  local stat = one.handle and stats.decode(job.p.machine, r:data(one.device)) or handle:fstat()
  if stat.st_dev == job.device then return end
  handle:close()
  error(errors.new(job.p, "remove_tree", { path }, "another filesystem is mounted there", { name = "EXDEV" }), 0)
end

--- A directory that has something in it, or can't be removed for another reason.
local function descend(job, dir, path, r, one)
  local C, opened = r.sys.C, r:result(one.opened)
  local handle, list
  if opened == -C.EACCES and job.force then
    handle = open_forbidden(job, dir, one.entry.name, path, -opened)
    list = directory.rest(handle, {})
  elseif opened < 0 then
    if opened == -C.ENOENT then return end
    fail(job, path, "openat", -opened)
  else
    handle = one.handle
    local ended, errno
    list, ended, errno = one.finish(r)
    if errno then fail(job, path, "getdents64", errno) end
    if not ended then directory.rest(handle, list) end
  end
  check_device(job, path, handle, r, one)
  if #list == 0 and r:result(one.rmdir) ~= -C.ENOTEMPTY then -- what refuses is the directory that it is in
    if not (r:result(one.rmdir) == -C.EACCES and allow(job, dir)) then
      handle:close()
      fail(job, path, "rmdir", -r:result(one.rmdir))
    end
  end
  empty(job, handle, path, list)
  job.closing[#job.closing + 1] = handle
  job.open = job.open - 1
end

--- What became of one entry: whether it has to be tried again, and whether what is in it has to go before.
local function settle(job, dir, path, r, one)
  local C = r.sys.C
  local result = r:result(one.removed or one.rmdir)
  if one.refused and r:result(one.refused) >= 0 then return false end
  if result >= 0 or result == -C.ENOENT then return false end
  if one.removed then
    if result == -C.EISDIR then
      one.entry.type = "directory"
      return true
    end
    if result == -C.EACCES and allow(job, dir) then return true end
    fail(job, path, "unlinkat", -result)
  end
  if result == -C.ENOTDIR then
    one.entry.type = "file"
    return true
  end
  if result == -C.EBUSY then fail(job, path, "rmdir", -result) end
  return true, true
end

--- Does `f(...)` beside all else; or here and now, when enough is under way.
local function share(job, n, f, ...)
  if job.workers == 0 or job.open > OPEN then return f(...) end
  job.workers = job.workers - 1
  n:spawn(function(...)
    f(...)
    job.workers = job.workers + 1
  end, ...)
end

--- Removes some entries; returns those that are to be tried again, now that they are empty.
local function remove_some(job, dir, path, entries)
  local r = requests.record(job.p)
  r.args = { n = 1, path }
  for _, fd in ipairs(job.closing) do
    r:call("close", directory.if_ok(), fd.number)
    fds.forget(fd)
  end
  job.closing = {}
  local all = {}
  for i, entry in ipairs(entries) do all[i] = record_one(r, dir.number, entry, job.device) end
  r:run()
  for _, one in ipairs(all) do -- from here on each is closed, whatever happens to the others
    local opened = one.opened and r:result(one.opened) or -1
    if opened >= 0 then
      one.handle = fds.new(job.p, opened, "directory")
      job.open = job.open + 1
    end
  end
  local again = {}
  nursery.nursery(function(n)
    for _, one in ipairs(all) do
      local entry_path = paths.join(path, one.entry.name)
      local once_more, is_full = settle(job, dir, entry_path, r, one)
      if once_more then again[#again + 1] = one.entry end
      if is_full then share(job, n, descend, job, dir, entry_path, r, one) end
    end
  end)
  return again
end

local function remove_all(job, dir, path, entries)
  for tries = 1, TRIES do
    if #entries == 0 then return end
    local again = {}
    for first = 1, #entries, BATCH do
      local some = { unpack(entries, first, math.min(first + BATCH - 1, #entries)) }
      for _, entry in ipairs(remove_some(job, dir, path, some)) do again[#again + 1] = entry end
    end
    entries = again
    if tries == TRIES and #entries > 0 then
      error(errors.new(job.p, "remove_tree", { path }, ("%q keeps being filled"):format(entries[1].name), { name = "ENOTEMPTY" }), 0)
    end
  end
end

--- Removes all that is in the directory `fd`.
function empty(job, fd, path, list) remove_all(job, fd, path, list) end

--- Opens the directory that `path` is in, and looks at what is there. nil: there is nothing, and that is no error.
---@return afar.Fd? dir, table? entry
local function top(job, path, missing_ok)
  local p, name, parent = job.p, directory.last_name(job.p, path, "remove_tree"), paths.dirname(path)
  local r = requests.record(p)
  r.args = { n = 1, path }
  local C, at = r.sys.C, r:scratch(stats.size(r.machine))
  local opened = directory.record_open(r, C.AT_FDCWD, parent, true)
  local stat = r:call("newfstatat", directory.if_ok(opened), opened, r:string(name), at, C.AT_SYMLINK_NOFOLLOW)
  local data = r:fetch(at, stats.size(r.machine), directory.if_ok(stat))
  r:run()
  local found, result = r:result(opened), r:result(stat)
  if missing_ok and (found == -C.ENOENT or result == -C.ENOENT) then result = nil end
  local dir = found >= 0 and fds.new(p, found, "directory")
  if dir and not (result and result >= 0) then dir:close() end
  if not result then return nil end
  if found < 0 then error(errors.errno(p, "open", { n = 2, parent, "O_RDONLY|O_DIRECTORY" }, -found), 0) end
  if result < 0 then error(errors.errno(p, "remove_tree", { n = 1, path }, -result), 0) end
  stat = stats.decode(p.machine, r:data(data))
  if not job.other_filesystems then job.device = stat.st_dev end
  return dir, { name = name, type = stat.type == "directory" and "directory" or "file" }
end

--- p:remove_tree(path, options): removes a file, or a directory with all that is in it. Symbolic links are removed, never followed, also when they come
--- into being meanwhile. Stops at what is mounted within. options: missing_ok = true: that there is nothing is no error; force = true: directories that their
--- owner may not write or read are made so; other_filesystems = true: what is mounted within is emptied too (and can't be removed).
---@param path string
---@param options? { missing_ok?: boolean, force?: boolean, other_filesystems?: boolean }
process.define("remove_tree", function(self, path, options)
  options = options or {}
  local job = { p = self, force = options.force, other_filesystems = options.other_filesystems, allowed = {}, closing = {}, open = 0, workers = BESIDE }
  local dir, entry = top(job, path, options.missing_ok)
  if not dir then return end
  local ok, err = pcall(remove_all, job, dir, paths.dirname(path), { entry })
  dir:close()
  if not ok then error(err, 0) end
end)

return remove
