--- p:copy_tree: a directory with all that is in it, from one process to another, wherever the two are. Everything is relative to fds of directories.

local requests = require "afar.requests"
local copy = require "afar.copy"
local directory = require "afar.directory"
local errors = require "afar.error"
local fds = require "afar.fd"
local paths = require "afar.path"
local place = require "afar.copytree.place"
local process = require "afar.process"
local stats = require "afar.stat"

local BATCH = 64 -- entries in one chain
local SMALL = 64 * 1024 -- bytes of a file that goes with others in one chain
local PART = 1024 * 1024 -- of a sparse file's data at once
local LINK_MOST = 4096

local if_ok = directory.if_ok

-- ---- reading many at once ----

local function record_open_file(r, dirfd, name)
  local C = r.sys.C
  return r:call("openat", if_ok(), dirfd, r:string(name), C.O_RDONLY + C.O_NOFOLLOW + C.O_NONBLOCK + C.O_NOCTTY + C.O_CLOEXEC, 0)
end

local record = {}

function record.file(r, dirfd, item)
  item.opened = record_open_file(r, dirfd, item.name)
  local size = item.stat.st_size + 1 -- one more: that it has grown is seen
  local at = r:scratch(size)
  item.read = r:call("read", if_ok(item.opened), item.opened, at, size)
  item.fetched = directory.fetch_result(r, at, size, item.read)
  item.listed = r:call("flistxattr", if_ok(item.opened), item.opened, 0, 0)
  r:call("close", if_ok(item.opened), item.opened)
end

function record.symlink(r, dirfd, item)
  local at = r:scratch(LINK_MOST)
  item.read = r:call("readlinkat", if_ok(), dirfd, r:string(item.name), at, LINK_MOST)
  item.fetched = directory.fetch_result(r, at, LINK_MOST, item.read)
end

function record.directory(r, dirfd, item)
  item.opened = directory.record_open(r, dirfd, item.name)
  item.listing = directory.record_entries(r, item.opened)
  item.listed = r:call("flistxattr", if_ok(item.opened), item.opened, 0, 0)
end

local function fail(job, item, call, errno) error(errors.errno(job.from, call, { n = 1, item.source }, errno), 0) end

local function check_read(job, r, item)
  for _, what in ipairs { "opened", "read" } do
    local result = item[what] and r:result(item[what]) or 0
    if result < 0 then fail(job, item, r.names[item[what].index], -result) end
  end
  if item.fetched then item.data = item.fetched(r) end
  item.attributes = job.attributes and item.listed and r:result(item.listed) > 0
  if item.kind == "file" then item.alone = item.attributes or #item.data > item.stat.st_size end
end

--- Reads what fits into one chain of the items; directories are opened and listed: item.from, item.list.
local function read_all(job, dir, items)
  local r = requests.record(job.from)
  for _, item in ipairs(items) do
    local f = not item.alone and record[item.kind]
    if f then f(r, dir.number, item) end
  end
  if r.count > 0 then r:run() end
  for _, item in ipairs(items) do
    local opened = item.kind == "directory" and r:result(item.opened) or -1
    if opened >= 0 then item.from = fds.new(job.from, opened, "directory") end
  end
  for _, item in ipairs(items) do
    if not item.alone and record[item.kind] then check_read(job, r, item) end
    if item.from then
      local ended, errno
      item.list, ended, errno = item.listing(r)
      if errno then fail(job, item, "getdents64", errno) end
      if not ended then directory.rest(item.from, item.list) end
    end
    item.opened = nil
  end
end

-- ---- what there is ----

local function look(job, dir, entries, at)
  local r, names = requests.record(job.from), {}
  for i, entry in ipairs(entries) do names[i] = entry.name end
  local finish = directory.record_stats(r, dir.number, names, job.from.machine.sys.C.AT_SYMLINK_NOFOLLOW)
  r:run()
  local found, items = finish(r), {}
  for i, name in ipairs(names) do
    if found[i] then -- else it has vanished since it was listed
      local stat = stats.decode(job.from.machine, found[i])
      items[#items + 1] = { name = name, bytes = found[i], stat = stat, path = paths.join(at, name) }
    end
  end
  return items
end

local function refuse_itself(job, item)
  if not job.own or item.stat.st_ino ~= job.own.st_ino or item.stat.st_dev ~= job.own.st_dev then return end
  error(errors.new(job.from, "copy_tree", { job.source }, "the copy would lie within what is copied"), 0)
end

--- How an item is copied.
local function classify(job, item)
  local stat = item.stat
  item.source, item.target = paths.join(job.source, item.path), paths.join(job.target, item.path)
  item.kind = (stat.type == "file" or stat.type == "directory" or stat.type == "symlink") and stat.type or "special"
  if item.kind == "directory" then return refuse_itself(job, item) end
  if stat.st_nlink > 1 then
    local key = ("%d:%d"):format(stat.st_dev, stat.st_ino)
    item.first = job.links[key]
    if item.first then item.kind = "link" end
    job.links[key] = item.first or item.path
  end
  item.sparse = item.kind == "file" and stat.st_blocks * 512 < stat.st_size
  item.alone = item.kind == "file" and (item.sparse or stat.st_size > SMALL)
end

-- ---- files by themselves ----

--- Where the next data of a sparse file is, and where it ends; nil: there is no more.
local function next_data(from, at, size)
  local ok, start = pcall(from.lseek, from, at, "SEEK_DATA")
  if not ok then
    if errors.is(start, "ENXIO") then return nil end
    if errors.is(start, "EINVAL") then return at, size end -- this filesystem doesn't tell
    error(start, 0)
  end
  return start, from:lseek(start, "SEEK_HOLE")
end

local function copy_sparse(from, to, size)
  to:ftruncate(size)
  local at = 0
  while at < size do
    local start, stop = next_data(from, at, size)
    if not start then return end
    at = start
    while at < stop do
      local data = from:pread(math.min(PART, stop - at), at)
      if data == "" then return end
      to:pwrite(data, at)
      at = at + #data
    end
  end
end

--- A file that is large, sparse, or has extended attributes.
local function copy_alone(job, dir, to_dir, item)
  local from = dir:openat(item.name, "O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_NOCTTY")
  local ok, to = pcall(place.create, job, to_dir, item)
  if ok then
    item.attributes = job.attributes and job.from:syscall("flistxattr", from, 0, 0) > 0
    local fine, err = pcall(function()
      if item.sparse then
        copy_sparse(from, to, item.stat.st_size)
      elseif job.from == job.to then
        job.from:copy_bytes(from, to)
      else
        copy.bytes(from:dup(), to, function() end)
      end
      place.finish(job, item, from, to)
    end)
    if not fine then
      to:close()
      ok, to = false, err
    end
  end
  from:close()
  if not ok then error(to, 0) end
end

-- ---- directories ----

local copy_directory

local function select_items(items, f)
  local some = {}
  for _, item in ipairs(items) do
    if f(item) then some[#some + 1] = item end
  end
  return some
end

local function copy_some(job, dir, to_dir, entries, at)
  local items = look(job, dir, entries, at)
  for _, item in ipairs(items) do classify(job, item) end
  read_all(job, dir, items)
  place.all(job, to_dir, select_items(items, function(item) return not item.alone and item.kind ~= "link" end))
  for _, item in ipairs(items) do
    if item.alone then copy_alone(job, dir, to_dir, item) end
  end
  place.all(job, to_dir, select_items(items, function(item) return item.kind == "link" end))
  for _, item in ipairs(items) do
    if item.kind == "directory" then
      copy_directory(job, item.from, item.to, item.list, item.path)
      place.finish(job, item, item.from, item.to)
      item.from:close()
    end
  end
  job.count = job.count + #items
  if job.progress then job.progress(job.count) end
end

function copy_directory(job, dir, to_dir, list, at)
  for first = 1, #list, BATCH do
    copy_some(job, dir, to_dir, { unpack(list, first, math.min(first + BATCH - 1, #list)) }, at)
  end
end

-- ---- the whole ----

--- The source's own directory, as an item.
local function top(job)
  local from = job.from:open(job.source, "O_RDONLY|O_DIRECTORY")
  local r = requests.record(job.from)
  local at = r:scratch(stats.size(job.from.machine))
  local stat = r:call("fstat", nil, from.number, at)
  local data = r:fetch(at, stats.size(job.from.machine), { if_ok = stat })
  local listed = r:call("flistxattr", if_ok(), from.number, 0, 0)
  r:run()
  local item = { from = from, bytes = r:data(data), target = job.target, source = job.source }
  item.attributes = job.attributes and r:result(listed) > 0
  item.stat = stats.decode(job.from.machine, item.bytes)
  return item
end

local function copy_top(job, item)
  local parent, name = directory.parent(job.to, job.target, "copy_tree")
  item.name, item.kind = name, "directory"
  local ok, err = pcall(place.all, job, parent, { item })
  parent:close()
  if not ok then error(err, 0) end
  job.root = item.to
  if job.from.machine == job.to.machine then job.own = item.to:fstat() end
  if job.own then refuse_itself(job, item) end
  copy_directory(job, item.from, item.to, directory.rest(item.from, {}), "")
  place.finish(job, item, item.from, item.to)
end

local OPTIONS = { merge = true, attributes = true, progress = true }

--- p:copy_tree(source, other, target, options): the directory `source` of this process's is copied to where `other` is (which may be this process), with
--- owner (where `other` is root; else it belongs to `other`, and set-user-id bits are left out), mode, times, extended attributes, symbolic
--- links, hard links among what is copied, fifos and devices; holes in files stay holes. Symbolic links are not followed (but `source` may be one).
--- `target` must not be there yet. Small files go 64 in three round trips. When it fails, what was copied so far stays.
--- options: merge = true: `target` may be there; directories are joined, other things replaced; attributes = false: without extended attributes; progress =
--- function(count) of entries that are done. Returns how many entries there were.
---@param source string
---@param other afar.Process
---@param target? string default: the same path
---@param options? { merge?: boolean, attributes?: boolean, progress?: fun(count: integer) }
---@return integer
process.define("copy_tree", function(self, source, other, target, options)
  options = options or {}
  if getmetatable(other) ~= process.Process then error("copy_tree: the second argument is a process", 2) end
  for key in pairs(options) do
    if not OPTIONS[key] then error(("copy_tree: there is no option %q"):format(tostring(key)), 2) end
  end
  local job = {
    from = self, to = other, source = source, target = target or source, merge = options.merge, progress = options.progress,
    attributes = options.attributes ~= false, owner = other:geteuid() == 0, links = {}, count = 0, C = other.machine.sys.C,
  }
  local item = top(job)
  local ok, err = pcall(copy_top, job, item)
  item.from:close()
  if not ok then error(err, 0) end
  return job.count
end)
