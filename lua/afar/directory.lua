--- What is in a directory: listed, and looked at, many at once in one chain. Everything is relative to the directory's fd.

local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local files = require "afar.files"
local paths = require "afar.path"
local process = require "afar.process"
local stats = require "afar.stat"
local together = require "afar.together"

local directory = {}

local PARTS = { 16 * 1024, 4096 } -- bytes of entries in a chain: the second shows the end of nearly all directories
local MORE_PARTS = { 32768, 32768, 32768, 32768 } -- of what is known to be longer
local ENTRIES_MOST = 500 -- looked at in one chain
local CHAINS_MOST = 8 -- of these under way at once

--- The condition of a request whose failure the caller looks at; nil: none.
function directory.if_ok(ref) return { if_ok = ref, always = ref == nil, aside = true, may_fail = true } end

local if_ok = directory.if_ok

--- Records that what a call that may fail has put into memory comes with the replies: see fetched(). `result`: of that call, how many bytes
--- these are, at most `most`.
---@return afar.Ref|afar.Ref[]
function directory.fetch_result(r, address, most, result)
  local step = r:fetch_most(address, most)
  if step >= most then return r:attempt_fetch(result, address, result, most) end
  local refs = { pieces = true }
  for at = 0, most - 1, step do
    refs[#refs + 1] = r:attempt_fetch(result, address + at, result - at, math.min(step, most - at))
  end
  return refs
end

--- The bytes of which fetch_result() gave `what`; "" where the call has failed.
---@return string
function directory.fetched(r, what)
  if not rawget(what, "pieces") then return r:data(what) or "" end
  local parts = {}
  for i, ref in ipairs(what) do parts[i] = r:data(ref) or "" end
  return table.concat(parts)
end

-- ---- listing ----

--- Opens a directory for listing. follow: `name` may be a symbolic link.
---@return afar.Ref
function directory.record_open(r, dirfd, name, follow, condition)
  local C = r.sys.C
  local flags = C.O_RDONLY + C.O_DIRECTORY + C.O_CLOEXEC + (follow and 0 or C.O_NOFOLLOW)
  local o = condition or if_ok()
  o.as, o.flush = "open", true
  return r:call("openat", o, dirfd, r:string(name), flags, 0)
end

--- What came of one getdents64, appended to `list`; the errno when it failed.
local function take(r, part, list)
  local result = r:result(part.ref)
  if result < 0 then return -result end
  if result == 0 then return nil, true end
  for _, entry in ipairs(files.entries(directory.fetched(r, part.data))) do
    if entry.d_name ~= "." and entry.d_name ~= ".." then list[#list + 1] = { name = entry.d_name, type = entry.d_type } end
  end
end

--- Records the reading of a directory. Returns a function that gives, once it was answered: the entries { name =, type = } so far, whether that
--- is all, and the errno when it failed; and the last request, which gives 0 when that was all.
---@param fd afar.Ref|integer
---@param sizes? integer[] bytes of entries, as many as are taken at once
function directory.record_entries(r, fd, sizes)
  local parts, before = {}, requests.source(fd)
  for i, size in ipairs(sizes or PARTS) do
    local at = r:scratch(size)
    local ref = r:attempt("getdents64", before, fd, at, size)
    parts[i] = { ref = ref, data = directory.fetch_result(r, at, size, ref) }
    before = ref
  end
  return function(r_)
    local list = {}
    for _, part in ipairs(parts) do
      local errno, ended = take(r_, part, list)
      if errno or ended then return list, ended, errno end
    end
    return list, false
  end, before
end

--- The entries that a first listing didn't show, appended to `list`.
---@param fd afar.Fd
function directory.rest(fd, list)
  local p = fds.process_of(fd)
  while true do
    local r = requests.record(p)
    r.args = { n = 1, fd }
    local finish = directory.record_entries(r, fds.near(fd, p, "getdents64"), MORE_PARTS)
    r:run()
    local more, ended, errno = finish(r)
    if errno then error(errors.errno(p, "getdents64", r.args, errno), 0) end
    for _, entry in ipairs(more) do list[#list + 1] = entry end
    if ended then return list end
  end
end

--- Sorts entries by name, in place.
function directory.sort(list)
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- Closes it, once it was read to its end.
local function record_close_at_end(r, fd, last)
  local ended = r:value(last, { if_ok = last, expect = 0, aside = true, may_fail = true })
  return r:call("close", { if_ok = ended, aside = true, may_fail = true }, fd)
end

--- All entries of the directory `path`, sorted; one round trip for those of ordinary size.
---@return { name: string, type: string }[]
function directory.list(p, path, call)
  local r = requests.record(p)
  r.args = { n = 1, path }
  local fd = directory.record_open(r, r.sys.C.AT_FDCWD, path, true)
  local finish, last = directory.record_entries(r, fd)
  local closed = record_close_at_end(r, fd, last)
  r:run()
  if r:result(fd) < 0 then error(errors.errno(p, call, r.args, -r:result(fd)), 0) end
  local handle = r:result(closed) ~= 0 and fds.new(p, r:result(fd), "directory")
  local list, ended, errno = finish(r)
  if handle and not errno and not ended then directory.rest(handle, list) end
  if handle then handle:close() end
  if errno then error(errors.errno(p, call, r.args, errno), 0) end
  return directory.sort(list)
end

--- p:listdir(path): the names in a directory, sorted, without "." and "..".
---@param path? string default: the working directory
---@return string[]
process.define("listdir", function(self, path)
  local names = {}
  for i, entry in ipairs(directory.list(self, path or ".", "listdir")) do names[i] = entry.name end
  return names
end)

-- ---- looking at many ----

--- Many strings in one piece of memory, which goes there at once: their addresses. Each is followed by a NUL.
---@param strings string[]
---@return number[]
function directory.store(r, strings)
  local at, where = r:bytes(table.concat(strings, "\0") .. "\0"), {}
  for i, text in ipairs(strings) do
    where[i] = at
    at = at + #text + 1
  end
  return where
end

--- Brings so many bytes in as many pieces as needed.
local function fetch_all(r, at, size)
  local parts, done = {}, 0
  while done < size do
    local step = math.min(r:fetch_most(at + done, size - done), size - done)
    parts[#parts + 1] = r:attempt_fetch(nil, at + done, step, step)
    done = done + step
  end
  return function(r_)
    local bytes = {}
    for i, part in ipairs(parts) do bytes[i] = r_:data(part) end
    return table.concat(bytes)
  end
end

--- Records stat(2) of many names relative to a directory. Returns a function that gives for each its bytes; or nil, and the errno in a
--- second list. And where the names are.
---@param flags integer AT_SYMLINK_NOFOLLOW, or 0
---@return fun(r: afar.Recorder): table, table
---@return number[] addresses
function directory.record_stats(r, dirfd, names, flags)
  if #names == 0 then return function() return {}, {} end, {} end
  local size = stats.size(r.machine)
  local step = size + (-size) % 16
  local where, at, refs = directory.store(r, names), r:scratch(step * #names), {}
  for i in ipairs(names) do
    refs[i] = r:attempt("newfstatat", nil, dirfd, where[i], at + (i - 1) * step, flags)
  end
  local data = fetch_all(r, at, step * #names)
  return function(r_)
    local bytes, found, failed = data(r_), {}, {}
    for i, ref in ipairs(refs) do
      local result = r_:result(ref)
      found[i] = result == 0 and bytes:sub((i - 1) * step + 1, (i - 1) * step + size) or nil
      failed[i] = result < 0 and -result or nil
    end
    return found, failed
  end, where
end

local function check_names(names)
  if type(names) ~= "table" then error("stat_many: a list of paths was expected, not " .. type(names), 0) end
  for i, name in ipairs(names) do
    if type(name) ~= "string" or name:find("\0", 1, true) then error(("stat_many: path %d is no path: %q"):format(i, tostring(name)), 0) end
  end
end

local function stat_some(p, names, from, flags, found, failed)
  local r, some = requests.record(p), { unpack(names, from, math.min(from + ENTRIES_MOST - 1, #names)) }
  r.args = { n = 1, ("%d paths"):format(#some) }
  local finish = directory.record_stats(r, r.sys.C.AT_FDCWD, some, flags)
  if r.count > 0 then r:run() end
  local bytes, errnos = finish(r)
  for i, name in ipairs(some) do
    found[from + i - 1] = bytes[i] and stats.decode(p.machine, bytes[i]) or false
    failed[from + i - 1] = errnos[i] and errors.errno(p, "stat", { n = 1, name }, errnos[i]) or nil
  end
end

--- p:stat_many(paths, flags): what stat(2) says of many paths, thousands in a round trip. Returns a list with a table as of p:stat, or false, for each; and
--- the errors, by the same index. flags: "AT_SYMLINK_NOFOLLOW".
---@param names string[]
---@return (afar.Stat|false)[] found, table<integer, afar.Error> failed
process.define("stat_many", function(self, names, flags)
  check_names(names)
  flags = self.machine.sys:const(flags, "AT_", "stat_many")
  local found, failed = {}, {}
  local firsts = {}
  for first = 1, #names, ENTRIES_MOST do firsts[#firsts + 1] = first end
  together(firsts, CHAINS_MOST, function(first) stat_some(self, names, first, flags, found, failed) end)
  return found, failed
end)

-- ---- making ----

local function record_parents(r, path)
  local made, at = {}, 1
  while true do
    at = path:find("/", at, true)
    local part = at and path:sub(1, at - 1) or path
    if part ~= "" then
      made[#made + 1] = r:call("mkdirat", { as = "mkdir", aside = true, always = true, may_fail = true }, r.sys.C.AT_FDCWD, r:string(part), 511)
    end
    if not at then return made end
    at = at + 1
  end
end

--- p:mkdir_p(path, mode): makes a directory, and all that lead to it; that it is there already is no error. One round trip. mode: of the last one,
--- when it is made (default "0777" less the umask, as the others have). Returns how many were made.
---@param path string
---@return integer
process.define("mkdir_p", function(self, path, mode)
  if type(path) ~= "string" or path == "" then error("mkdir_p: the path must be a string", 2) end
  local r = requests.record(self)
  r.args = { n = 2, path, mode }
  local made = record_parents(r, (path:gsub("(.)/+$", "%1")))
  local last = made[#made]
  if mode and last then
    r:call("fchmodat", if_ok(last), r.sys.C.AT_FDCWD, r:string(path), require "afar.mode"(mode, "mkdir_p"))
  end
  local fd = r:call("openat", { as = "mkdir_p", always = true, aside = true, may_fail = true }, r.sys.C.AT_FDCWD, r:string(path), r.sys.C.O_PATH
    + r.sys.C.O_DIRECTORY + r.sys.C.O_CLOEXEC, 0)
  r:call("close", if_ok(fd), fd)
  r:run()
  local count, failed = 0, nil
  for _, ref in ipairs(made) do
    local result = r:result(ref)
    if result == 0 then count = count + 1 end
    if result < 0 and result ~= -r.sys.C.EEXIST then failed = failed or -result end
  end
  if r:result(fd) < 0 then error(errors.errno(self, "mkdir_p", r.args, failed or -r:result(fd)), 0) end
  return count
end)

--- The name at the end of a path. Raises for what has no such name: "/", "..".
---@return string
function directory.last_name(p, path, call)
  if type(path) ~= "string" or path == "" then error(call .. ": the path must be a string", 0) end
  local name = paths.basename(path)
  if name == "" or name == "." or name == ".." then
    error(errors.new(p, call, { path }, "it must end in a name"), 0)
  end
  return name
end

--- An fd of the directory in which `path` is, and the name there.
---@return afar.Fd, string
function directory.parent(p, path, call)
  local name = directory.last_name(p, path, call)
  return p:open(paths.dirname(path), "O_RDONLY|O_DIRECTORY"), name
end

return directory
