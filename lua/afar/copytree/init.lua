--- p:copy_tree: a directory with all that is in it, from one process to another, wherever the two are. Everything is relative to fds of directories.

local requests = require "afar.requests"
local copy = require "afar.copy"
local directory = require "afar.directory"
local errors = require "afar.error"
local fds = require "afar.fd"
local Item = require "afar.copytree.item"
local nursery = require "afar.nursery"
local place = require "afar.copytree.place"
local process = require "afar.process"
local stats = require "afar.stat"
local together = require "afar.copytree.together"
local unchanged = require "afar.copytree.unchanged"

local BATCH = 64 -- entries in one chain
local AHEAD = 8 * 1024 -- bytes of a file: one that has fewer is read by the chain that looks at it
local SMALL = 64 * 1024 -- bytes of a file that goes with others in one chain
local BATCH_BYTES = 512 * 1024 -- bytes of such files in one chain
local PART = 1024 * 1024 -- of a sparse file's data at once
local LINK_MOST = 4096
local FEW, LISTING = 16, { 32768, 32768 } -- of so few directories so many bytes of entries are brought at once
local DEVICES = { char = true, block = true }

local if_ok = directory.if_ok

local function select_items(items, f)
  local some = {}
  for _, item in ipairs(items) do
    if f(item) then some[#some + 1] = item end
  end
  return some
end

-- ---- reading many at once ----

local function record_open_file(r, dirfd, name_at)
  local C = r.sys.C
  return r:attempt("openat", nil, dirfd, name_at, C.O_RDONLY + C.O_NOFOLLOW + C.O_NONBLOCK + C.O_NOCTTY + C.O_CLOEXEC, 0)
end

local record = {}

local function record_close(r, item)
  item.listed = r:attempt("flistxattr", item.opened, item.opened, 0, 0)
  r:attempt("close", item.opened, item.opened)
end

function record.file(r, dirfd, item)
  item.opened = record_open_file(r, dirfd, item.name_at)
  local size = item.stat.st_size + 1 -- one more: that it has grown is seen
  local at = r:scratch(size)
  item.read = r:attempt("read", item.opened, item.opened, at, size)
  item.fetched = directory.fetch_result(r, at, size, item.read)
  record_close(r, item)
end

local FULL, NOT_FULL = { expect = AHEAD, aside = true, may_fail = true }, { aside = true, may_fail = true }

--- A file of which it isn't known yet how large it is: of one that has AHEAD bytes none are brought.
local function record_ahead(r, dirfd, item)
  local at = r:scratch(AHEAD)
  if r:fetch_most(at, AHEAD) < AHEAD then return end
  item.opened = record_open_file(r, dirfd, item.name_at)
  item.read = r:attempt("read", item.opened, item.opened, at, AHEAD)
  FULL.if_ok, NOT_FULL.if_ok = item.read, item.read
  NOT_FULL.if_failed = r:value(item.read, FULL)
  item.fetched = r:fetch(at, item.read, NOT_FULL, AHEAD)
  record_close(r, item)
end

--- What is there already may have other attributes.
function record.same(r, dirfd, item)
  item.opened = record_open_file(r, dirfd, item.name_at)
  record_close(r, item)
end

function record.symlink(r, dirfd, item)
  local at = r:scratch(LINK_MOST)
  item.read = r:attempt("readlinkat", nil, dirfd, item.name_at, at, LINK_MOST)
  item.fetched = directory.fetch_result(r, at, LINK_MOST, item.read)
end

function record.directory(r, dirfd, item, few)
  item.opened = directory.record_open(r, dirfd, item.name)
  item.listing = directory.record_entries(r, item.opened, few and LISTING or nil)
  item.listed = r:attempt("flistxattr", item.opened, item.opened, 0, 0)
end

local function fail(job, item, call, errno) error(errors.errno(job.from, call, { n = 1, Item.source(job, item) }, errno), 0) end

local function has_attributes(job, r, item) return job.attributes and item.listed and r:result(item.listed) > 0 end

--- A directory that was opened and listed: item.from, item.list, and item.more when that isn't all. Returns the errno of the listing, if it failed.
local function take_directory(job, r, item)
  local ended, errno
  item.from = fds.new(job.from, r:result(item.opened), "directory")
  item.list, ended, errno = item.listing(r)
  item.more, item.attributes, item.opened = not ended, has_attributes(job, r, item), nil
  return errno
end

--- What was read by the chain that looked at it, if that was all of it.
local function take_ahead(job, r, item)
  local length = item.read and item.stat.type == "file" and r:result(item.read) or -1
  if length >= 0 and length < AHEAD then
    item.data, item.attributes = r:data(item.fetched), has_attributes(job, r, item)
  end
  item.opened, item.read, item.fetched, item.listed = nil, nil, nil, nil
end

--- Whether a file that was read can't go with others: it has attributes, or has grown.
local function is_odd(item) return item.attributes or (item.data and #item.data > item.stat.st_size) end

local function check_read(job, r, item)
  for i = 1, 2 do
    local ref = i == 1 and item.opened or item.read
    local result = ref and r:result(ref) or 0
    if result < 0 then fail(job, item, r.names[ref.index], -result) end
  end
  if item.fetched then item.data = directory.fetched(r, item.fetched) end
  item.attributes = has_attributes(job, r, item)
  if item.kind == "file" then item.alone = is_odd(item) end
end

local function is_unread(item) return not item.alone and not item.from and not item.data and record[item.kind] ~= nil end

--- Reads what fits into one chain of the items; directories are opened and listed: item.from, item.list.
local function read_all(job, dir, items)
  items = select_items(items, is_unread)
  if #items == 0 then return end
  local r, names = requests.record(job.from), {}
  for i, item in ipairs(items) do names[i] = item.name end
  for i, at in ipairs(directory.store(r, names)) do items[i].name_at = at end
  for _, item in ipairs(items) do record[item.kind](r, dir.number, item) end
  r:run()
  for _, item in ipairs(items) do
    check_read(job, r, item)
    if item.kind == "directory" then
      local errno = take_directory(job, r, item)
      if errno then fail(job, item, "getdents64", errno) end
    end
    item.opened = nil
  end
end

-- ---- what there is ----

--- What were directories when they were listed is opened and listed in the same chain. Returns a function that gives it to those that are.
local function record_directories(r, job, dir, entries)
  local ahead, count = {}, 0
  for _, entry in ipairs(entries) do count = count + (entry.type == "directory" and 1 or 0) end
  for _, entry in ipairs(entries) do
    if entry.type == "directory" then
      ahead[entry.name] = { name = entry.name }
      record.directory(r, dir.number, ahead[entry.name], count <= FEW)
    end
  end
  return function(items)
    for _, item in ipairs(items) do
      local opened = item.stat.type == "directory" and ahead[item.name]
      if opened and r:result(opened.opened) >= 0 and not take_directory(job, r, opened) then
        item.from, item.list, item.more, item.attributes = opened.from, opened.list, opened.more, opened.attributes
      end
    end
    for _, opened in pairs(ahead) do
      local number = opened.opened and r:result(opened.opened) or -1
      if number >= 0 then fds.drop(fds.new(job.from, number, "directory")) end -- it no longer is one
    end
  end
end

--- What the kernel says of a directory's entries; files that are small, and directories, are read too.
local function look(job, dir, entries, at)
  local r, names, items = requests.record(job.from), {}, {}
  for i, entry in ipairs(entries) do names[i] = entry.name end
  local finish, where = directory.record_stats(r, dir.number, names, job.from.machine.sys.C.AT_SYMLINK_NOFOLLOW)
  for i, entry in ipairs(entries) do
    items[i] = Item.new(entry.name, at, where[i])
    if entry.type == "file" and job.reads_ahead then record_ahead(r, dir.number, items[i]) end
  end
  local give_directories = record_directories(r, job, dir, entries)
  r:run()
  local found, list = finish(r), {}
  for i, item in ipairs(items) do
    if found[i] then -- else it has vanished since it was listed
      item.bytes, item.stat = found[i], stats.decode(job.from.machine, found[i])
      take_ahead(job, r, item)
      local left_out = not job.devices and DEVICES[item.stat.type]
      if not left_out then list[#list + 1] = item end
    end
  end
  give_directories(list)
  return list
end

local function refuse_itself(job, item)
  if not job.own or item.stat.st_ino ~= job.own.st_ino or item.stat.st_dev ~= job.own.st_dev then return end
  error(errors.new(job.from, "copy_tree", { job.source }, "the copy would lie within what is copied"), 0)
end

--- How an item is copied.
local function classify(job, item)
  local stat = item.stat
  item.kind = (stat.type == "file" or stat.type == "directory" or stat.type == "symlink") and stat.type or "special"
  if item.kind == "directory" then return refuse_itself(job, item) end
  if stat.st_nlink > 1 then
    local key = ("%d:%d"):format(stat.st_dev, stat.st_ino)
    item.first = job.links[key]
    if item.first then
      item.kind = "link"
    else
      job.links[key], item.is_first = Item.path(item), true
    end
  end
  item.sparse = item.kind == "file" and stat.st_blocks * 512 < stat.st_size
  item.alone = item.kind == "file" and (item.sparse or stat.st_size > SMALL or is_odd(item))
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
        copy.bytes(from, to, function() end, 0)
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

--- A file that is there already gets its attributes.
local function copy_attributes(job, dir, to_dir, item)
  local from = dir:openat(item.name, "O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_NOCTTY")
  local ok, to = pcall(to_dir.openat, to_dir, item.name, "O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_NOCTTY")
  local err = to
  if ok then
    ok, err = pcall(place.attributes, job, from, to, item)
    to:close()
  end
  from:close()
  if not ok then error(err, 0) end
end

-- ---- directories ----

local copy_directory

--- Lists of items that one chain each may carry.
local function parts_of(items)
  local parts, bytes = {}, math.huge
  for _, item in ipairs(items) do
    local size = item.kind == "file" and not item.alone and item.stat.st_size or 0
    bytes = bytes + size
    if bytes > BATCH_BYTES then
      parts[#parts + 1], bytes = {}, size
    end
    table.insert(parts[#parts], item)
  end
  return parts
end

local function copy_links(job, to_dir, items)
  local links = select_items(items, function(item) return item.kind == "link" end)
  for _, item in ipairs(links) do job.together:await(item.first) end
  place.all(job, to_dir, links)
end

--- The directory is done once all that it has itself is there; what is in those below needs it no more.
local function copy_into(job, item)
  if item.more then directory.rest(item.from, item.list) end
  copy_directory(job, item.from, item.to, item.list, Item.path(item))
  place.finish(job, item, item.from, item.to)
  fds.drop(item.from)
  job.together.directories = job.together.directories - 1
end

local function is_small(item) return not item.alone and item.kind ~= "link" and item.kind ~= "same" end

--- All of a batch that goes in chains. Returns its items: large files and the directories' contents are left to do.
local function copy_small(job, dir, to_dir, entries, at)
  local items
  job.together:batch(function()
    items = look(job, dir, entries, at)
    for _, item in ipairs(items) do classify(job, item) end
    if job.unchanged then unchanged.mark(job, to_dir, items) end
    local parts = parts_of(items)
    if parts[1] then read_all(job, dir, parts[1]) end
    return parts
  end, function(parts)
    for i, part in ipairs(parts) do
      if i > 1 then read_all(job, dir, part) end
      place.all(job, to_dir, select_items(part, is_small))
      for _, item in ipairs(part) do item.data = nil end
    end
  end)
  return items
end

local function copy_some(job, dir, to_dir, entries, at)
  local items, directories = copy_small(job, dir, to_dir, entries, at), {}
  for _, item in ipairs(items) do
    if item.kind == "directory" then directories[#directories + 1] = item end
  end
  job.together.directories = job.together.directories + #directories
  nursery.nursery(function(n)
    for _, item in ipairs(items) do
      local f = item.alone and copy_alone or item.kind == "same" and item.attributes and copy_attributes
      if f then job.together:share(n, f, job, dir, to_dir, item) end
    end
  end)
  for _, item in ipairs(items) do
    if item.is_first then job.together:announce(Item.path(item)) end
  end
  copy_links(job, to_dir, items)
  job.count = job.count + #items
  if job.progress then job.progress(job.count) end
  for _, item in ipairs(directories) do job.together:share(job.nursery, copy_into, job, item) end
end

function copy_directory(job, dir, to_dir, list, at)
  nursery.nursery(function(n)
    for first = 1, #list, BATCH do
      local entries = { unpack(list, first, math.min(first + BATCH - 1, #list)) }
      if job.together:has_room() and first + BATCH <= #list then
        n:spawn(copy_some, job, dir, to_dir, entries, at)
      else
        copy_some(job, dir, to_dir, entries, at)
      end
    end
  end)
end

-- ---- the whole ----

--- The source's own directory, as an item.
local function top(job)
  local r = requests.record(job.from)
  r.args = { n = 1, job.source }
  local size = stats.size(job.from.machine)
  local at = r:scratch(size)
  local opened = directory.record_open(r, r.sys.C.AT_FDCWD, job.source, true)
  local stat = r:call("fstat", if_ok(opened), opened, at)
  local data = r:fetch(at, size, if_ok(stat))
  local listed = r:call("flistxattr", if_ok(opened), opened, 0, 0)
  local listing = directory.record_entries(r, opened)
  r:run()
  if r:result(opened) < 0 then error(errors.errno(job.from, "open", r.args, -r:result(opened)), 0) end
  local item = Item.new("")
  item.bytes = r:data(data)
  item.from, item.kind = fds.new(job.from, r:result(opened), "directory"), "directory"
  item.attributes = job.attributes and r:result(listed) > 0
  item.stat = stats.decode(job.from.machine, item.bytes)
  local ended, errno
  item.list, ended, errno = listing(r)
  if errno then fail(job, item, "getdents64", errno) end
  item.more = not ended
  return item
end

local function copy_top(job, item)
  job.owner, job.root = place.top(job, item)
  if job.from.machine == job.to.machine then job.own = job.root:fstat() end
  if job.own then refuse_itself(job, item) end
  nursery.nursery(function(n)
    job.nursery = n
    job.together.directories = 1
    copy_into(job, item)
  end)
end

local OPTIONS = { merge = true, attributes = true, progress = true, unchanged = true, devices = true }

local function check(other, options)
  if getmetatable(other) ~= process.Process then error("copy_tree: the second argument is a process", 3) end
  for key in pairs(options) do
    if not OPTIONS[key] then error(("copy_tree: there is no option %q"):format(tostring(key)), 3) end
  end
  if options.unchanged and not unchanged.ways[options.unchanged] then
    error(('copy_tree: unchanged is "time" or "checksum", not %q'):format(tostring(options.unchanged)), 3)
  end
end

--- p:copy_tree(source, other, target, options): the directory `source` of this process's is copied to where `other` is (which may be this
--- process), with owner (where `other` is root; else it belongs to `other`, and set-user-id bits are left out), mode, times, extended
--- attributes, symbolic links, hard links among what is copied, fifos and devices; holes in files stay holes. Symbolic links are not followed
--- (but `source` may be one). `target` must not be there yet. Small files go 64 in a chain, and many such chains are under way at once. When it
--- fails, what was copied so far stays. options: merge = true: `target` may be there; directories are joined, other things replaced; attributes
--- = false: without extended attributes; devices = false: without device files, which only root can make; progress = function(count) of entries
--- that are done; unchanged = "time": a file that is there with the same size and time of modification isn't sent again, "checksum": nor one
--- with the same contents (by sha256sum, which both sides need); its owner, mode, times and attributes are put right, and merge goes without
--- saying. Returns how many entries there were, and how many of them were such files.
---@param source string
---@param other afar.Process
---@param target? string default: the same path
---@param options? { merge?: boolean, attributes?: boolean, devices?: boolean, progress?: fun(integer), unchanged?: "time"|"checksum" }
---@return integer entries, integer unchanged
process.define("copy_tree", function(self, source, other, target, options)
  options = options or {}
  check(other, options)
  local job = {
    from = self, to = other, source = source, target = target or source, merge = options.merge or options.unchanged ~= nil, progress = options.progress,
    attributes = options.attributes ~= false, devices = options.devices ~= false,
    links = {}, count = 0, same = 0, unchanged = options.unchanged, C = other.machine.sys.C,
    together = together.new(self.machine.local_),
    reads_ahead = not self.machine.local_ and not options.unchanged, -- here a round trip costs less than memory that isn't needed
  }
  local item = top(job)
  local ok, err = pcall(copy_top, job, item)
  if not item.from.state.closed then fds.drop(item.from) end
  if job.root then fds.drop(job.root) end
  if not ok then error(err, 0) end
  return job.count, job.same
end)
