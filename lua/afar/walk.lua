--- p:walk: all that is beneath a directory, by fds of its directories: what is renamed or replaced by a link meanwhile leads nowhere else.

local requests = require "afar.requests"
local directory = require "afar.directory"
local errors = require "afar.error"
local fds = require "afar.fd"
local nearest = require "afar.nearest"
local paths = require "afar.path"
local process = require "afar.process"
local stats = require "afar.stat"

local BATCH = 64 -- entries of a directory that are looked at, and if directories opened and listed, in one chain
local AHEAD = 256 -- entries of the directories beside it that are looked at in the same chain

---@class afar.Entry
---@field path string     beginning with what was given to walk
---@field name string
---@field type string     as of stat: "file", "directory", "symlink" ...
---@field stat afar.Stat  of itself, when it is a symbolic link
---@field depth integer   1: in the directory that was given
---@field dir afar.Fd     of the directory that it is in; open until the walk leaves that
---@field skip? boolean   set it, and what is beneath is left out
local Entry = { __name = "entry" }
Entry.__index = Entry
function Entry:__tostring() return self.path end

local Walk = { __name = "walk" }
Walk.__index = Walk

local OPTIONS = { max_depth = true, one_filesystem = true, on_error = true }

-- ---- directories that are open ----

--- A directory on the way: its handle, its entries, how many of these were given out, and how many looked at.
local function node_of(path, parent, fd, list)
  return { path = path, parent = parent, depth = parent and parent.depth + 1 or 0, fd = fd, list = directory.sort(list), at = 0, seen = 0 }
end

--- Closes them with the next chain.
local function record_closes(self, r)
  for _, fd in ipairs(self.closing) do
    r:call("close", directory.if_ok(), fd.number)
    fds.forget(fd)
  end
  self.closing = {}
end

--- The handle of what was opened, or nil.
local function take_handle(self, r, opened)
  local result = r:result(opened)
  return result >= 0 and fds.new(self.process, result, "directory") or nil
end

--- What opening and listing a directory gave. nil and an errno when it can't be listed.
local function take_listing(r, opened, fd, finish)
  if not fd then return nil, -r:result(opened) end
  local list, ended, errno = finish(r)
  if errno then
    fd:close()
    return nil, errno
  end
  if not ended then directory.rest(fd, list) end
  return { fd = fd, list = list }
end

local function open_alone(self, dirfd, name, follow)
  local r = requests.record(self.process)
  record_closes(self, r)
  local fd = directory.record_open(r, dirfd, name, follow)
  local finish = directory.record_entries(r, fd)
  r:run()
  return take_listing(r, fd, take_handle(self, r, fd), finish)
end

--- Records a look at the next entries of a directory; those that are directories are opened and listed too.
local function record_look(self, r, node)
  local look = { node = node, first = node.seen + 1, last = math.min(node.seen + BATCH, #node.list), openings = {} }
  local names, dirfd = {}, node.fd.number
  for i = look.first, look.last do names[#names + 1] = node.list[i].name end
  look.finish = directory.record_stats(r, dirfd, names, r.sys.C.AT_SYMLINK_NOFOLLOW)
  for i = look.first, look.last do
    local raw = node.list[i]
    if (raw.type == "directory" or raw.type == "unknown") and self:may_enter(node) then
      local fd = directory.record_open(r, dirfd, raw.name)
      look.openings[i] = { fd = fd, finish = directory.record_entries(r, fd) }
    end
  end
  node.seen = look.last
  return look
end

local function finish_look(r, look)
  local found = look.finish(r)
  for i = look.first, look.last do
    local raw, opening = look.node.list[i], look.openings[i]
    raw.bytes = found[i - look.first + 1]
    if opening then
      local listing, errno = take_listing(r, opening.fd, opening.handle, opening.finish)
      raw.errno = errno
      raw.node = listing and node_of(paths.join(look.node.path, raw.name), look.node, listing.fd, listing.list)
    end
  end
end

--- The directories that come after `node` and were listed, but not looked into.
local function ahead(node)
  local found, count, parent = {}, 0, node.parent
  for i = parent and parent.at + 1 or 1, parent and parent.seen or 0 do
    local next_node = parent.list[i].node
    if next_node and next_node.seen == 0 and #next_node.list > 0 then
      count = count + math.min(#next_node.list, BATCH)
      if count > AHEAD then break end
      found[#found + 1] = next_node
    end
  end
  return found
end

local function look_on(self, node)
  local r = requests.record(self.process)
  record_closes(self, r)
  local looks = { record_look(self, r, node) }
  for _, other in ipairs(ahead(node)) do looks[#looks + 1] = record_look(self, r, other) end
  r:run()
  for _, look in ipairs(looks) do
    for _, opening in pairs(look.openings) do opening.handle = take_handle(self, r, opening.fd) end
  end
  for _, look in ipairs(looks) do finish_look(r, look) end
end

-- ---- the iteration ----

--- Whether directories in `node` are gone into.
function Walk:may_enter(node) return node.depth + 1 < (self.options.max_depth or math.huge) end

--- Closes what was opened ahead.
local function give_up(self, raw)
  local node = raw.node
  if not node then return end
  raw.node = nil
  self.closing[#self.closing + 1] = node.fd
  for _, inner in ipairs(node.list) do give_up(self, inner) end
end

local function trouble(self, path, errno)
  local err = errors.errno(self.process, "walk", { n = 1, path }, errno)
  if not self.options.on_error then error(err, 0) end
  self.options.on_error(path, err)
end

--- Goes into what was given out last, if that is a directory.
local function enter(self, node, raw, entry)
  local other = self.options.one_filesystem and entry.stat.st_dev ~= self.device
  if entry.type ~= "directory" or entry.skip or other or not self:may_enter(node) then return give_up(self, raw) end
  local inner = raw.node
  raw.node = nil
  if not inner then
    local listing, errno = nil, raw.errno
    if not errno or errno == self.process.machine.sys.C.EMFILE then
      listing, errno = open_alone(self, node.fd.number, raw.name)
    end
    if not listing then return trouble(self, entry.path, errno) end
    inner = node_of(entry.path, node, listing.fd, listing.list)
  end
  self.stack[#self.stack + 1] = inner
end

--- The next of a directory's entries; what vanished since it was listed is left out.
local function advance(self, node)
  while node.at < #node.list do
    if node.at == node.seen then look_on(self, node) end
    node.at = node.at + 1
    local raw = node.list[node.at]
    if raw.bytes then
      local stat = stats.decode(self.process.machine, raw.bytes)
      raw.bytes = nil
      return raw,
        setmetatable({
          path = paths.join(node.path, raw.name), name = raw.name, type = stat.type, stat = stat, depth = node.depth + 1, dir = node.fd,
        }, Entry)
    end
    give_up(self, raw)
  end
end

function Walk:__call()
  while true do
    local node = self.stack[#self.stack]
    if not node then return self:close() end
    local last = self.last
    if last then
      self.last = nil
      enter(self, node, last.raw, last.entry)
    else
      local raw, entry = advance(self, node)
      if entry then
        self.last = { raw = raw, entry = entry }
        return entry
      end
      self.closing[#self.closing + 1] = table.remove(self.stack).fd
    end
  end
end

--- Ends it early: closes what it has open. (Dropping it does so too, some time after.)
function Walk:close()
  for _, node in ipairs(self.stack) do
    self.closing[#self.closing + 1] = node.fd
    for _, raw in ipairs(node.list) do give_up(self, raw) end
  end
  self.stack, self.last = {}, nil
  if #self.closing == 0 then return end
  local r = requests.record(self.process)
  record_closes(self, r)
  r:run()
end

local function check_options(options)
  for key in pairs(options) do
    if not OPTIONS[key] then
      local near = nearest(tostring(key), OPTIONS)
      error(("walk: there is no option %q%s"):format(tostring(key), near and (" (did you mean %q?)"):format(near) or ""), 0)
    end
  end
end

--- p:walk(dir, options): iterates over all that is beneath a directory, each directory before what is in it, sorted by name:
---   for entry in p:walk "/etc" do print(entry.path, entry.type, entry.stat.st_size) end
--- Few round trips: one for some hundred entries of directories that lie side by side.
--- Symbolic links are not followed (but `dir` may be one). Setting entry.skip leaves a directory out.
--- options: max_depth = 1 is what is in `dir` itself; one_filesystem = true doesn't go into mounts of others; on_error = function(path, err)
--- is called for a directory that can't be read (without it, that is raised).
---@param dir string
---@param options? { max_depth?: integer, one_filesystem?: boolean, on_error?: fun(path: string, err: afar.Error) }
---@return fun(): afar.Entry?
process.define("walk", function(self, dir, options)
  options = options or {}
  check_options(options)
  local walk = setmetatable({ process = self, options = options, stack = {}, closing = {} }, Walk)
  local top, errno = open_alone(walk, self.machine.sys.C.AT_FDCWD, dir, true)
  if not top then error(errors.errno(self, "walk", { n = 1, dir }, errno), 0) end
  if options.one_filesystem then walk.device = top.fd:fstat().st_dev end
  walk.stack[1] = node_of(dir, nil, top.fd, top.list)
  return walk
end)
