--- p.kept: what a persistent process holds, by name: fds, children, and plain data. Each change is committed before it returns.

local anchor = require "afar.anchor"
local children = require "afar.child"
local errors = require "afar.error"
local fds = require "afar.fd"
local loop = require "afar.loop"
local plain = require "afar.plain"
local process = require "afar.process"
local sched = require "afar.sched"

local kept = {}

local P_PIDFD, WEXITED, WNOHANG, WNOWAIT = 3, 4, 1, 0x01000000

---@class afar.KeptState
---@field process afar.Process
---@field anchor number               address of the anchor
---@field facts table                 what a later host must know of the process
---@field entries table<string, table> name -> { raw = plain data, value = handle, lost = why it is no more }
---@field generation integer
---@field memory? table               of the block that was committed last

local function fail(p, name, message) error(errors.new(p, "kept." .. tostring(name), {}, message), 0) end

-- ---- what is written about each kind ----

--- When the process started, in the kernel's ticks; nil without /proc.
local function start_of(p, pid)
  local ok, text = pcall(p.read_file, p, ("/proc/%d/stat"):format(pid))
  if not ok then return nil end
  local fields, count = text:match "%) (.*)$", 0
  for field in (fields or ""):gmatch "%S+" do
    count = count + 1
    if count == 20 then return tonumber(field) end
  end
end

local function describe_fd(p, name, fd)
  fds.near(fd, p, "kept." .. name)
  local stat = fd:fstat()
  return { kind = "fd", number = fd.number, dev = stat.st_dev, ino = stat.st_ino, type = stat.type, fd_kind = fd.kind }
end

local function describe_child(p, name, child)
  if child.parent.table ~= p.table then fail(p, name, "it is a child of another process") end
  if child.status then fail(p, name, "the child has ended, and was awaited") end
  if not child.argv then fail(p, name, "a child is kept once it has executed something: till then it ends with this host") end
  local argv = {}
  for i, word in ipairs(child.argv) do argv[i] = tostring(word) end
  return { kind = "child", pid = child.pid, pidfd = child.pidfd, start = start_of(p, child.pid), argv = argv }
end

local function describe(p, name, value)
  local class = getmetatable(value)
  if class == fds.Fd then return describe_fd(p, name, value) end
  if class == children.Child then return describe_child(p, name, value) end
  if class == process.Process then
    if not value.child then fail(p, name, "it is no child") end
    return describe_child(p, name, value.child)
  end
  local ok, text = pcall(plain.encode, value)
  if not ok then fail(p, name, text .. ": fds, children and plain data can be kept") end
  return { kind = "data", text = text }
end

-- ---- what it is worth later ----

local function restore_fd(p, raw)
  local ok, stat = pcall(fds.borrow(p, raw.number).fstat, fds.borrow(p, raw.number))
  if not ok then return nil, ("fd %d is not open any more"):format(raw.number) end
  if stat.st_dev ~= raw.dev or stat.st_ino ~= raw.ino or stat.type ~= raw.type then
    return nil, ("fd %d is another file now"):format(raw.number)
  end
  return fds.new(p, raw.number, raw.fd_kind)
end

--- Whose pidfd that is: a pid; -1: one that was awaited; nil: none. false: that can't be told.
function kept.pid_of(p, pidfd)
  local ok, text = pcall(p.read_file, p, ("/proc/self/fdinfo/%d"):format(pidfd))
  if ok then return tonumber(text:match "\nPid:%s*(%-?%d+)") end
  if not pcall(p.stat, p, "/proc/self/fdinfo") then return false end
end

local function is_own_child(p, pidfd)
  local memory = p:malloc(128)
  return pcall(p.syscall, p, "waitid", P_PIDFD, pidfd, memory, WEXITED + WNOHANG + WNOWAIT, 0)
end

local function restore_child(p, raw)
  local pid = kept.pid_of(p, raw.pidfd)
  if pid == -1 then return nil, ("child %d has ended, and was awaited"):format(raw.pid) end
  local same = pid == raw.pid or (pid == false and is_own_child(p, raw.pidfd))
  if same and pid then same = raw.start == nil or start_of(p, raw.pid) == raw.start end
  if not same then return nil, ("fd %d is no longer that of child %d"):format(raw.pidfd, raw.pid) end
  return children.adopt(p, raw.pid, raw.pidfd, raw.argv)
end

local restorers = { fd = restore_fd, child = restore_child, data = function() return true end }

local function restore(p, raw)
  local restorer = restorers[raw.kind]
  if not restorer then return nil, ("a newer version keeps it as %q"):format(tostring(raw.kind)) end
  return restorer(p, raw)
end

local function hold(entry, is_kept)
  local value = entry and entry.value
  if type(value) == "table" and value.state then value.state.kept = is_kept end
end

-- ---- committing ----

local function content_of(self)
  local entries = {}
  for name, entry in pairs(self.entries) do entries[name] = entry.raw end
  local space = self.process.space
  self.facts.regions, self.facts.own_regions = space.regions, space.own
  return { facts = self.facts, entries = entries }
end

local function commit(self)
  local p = self.process
  local block = anchor.block(content_of(self), self.generation + 1)
  local memory = anchor.commit(p, self.anchor, block)
  self.generation = self.generation + 1
  local old = self.memory
  self.memory = memory
  if not old then return end
  if old.pinned then
    p.space.heap:add(old.pinned.address, old.pinned.size)
  elseif old.pinned == nil then -- else it lies in what is still another's
    p.space:free(old.address, old.size)
  end
end

--- One change after the other.
local function enter(self)
  while self.busy do
    local id = loop.id()
    self.waiting[#self.waiting + 1] = id
    sched.wait(id)
  end
  self.busy = true
end

local function leave(self)
  self.busy = false
  local waiting = self.waiting
  self.waiting = {}
  for _, id in ipairs(waiting) do loop.complete(id) end
end

local function replace(self, name, value)
  local old = self.entries[name]
  if value == nil and not old then return end
  local new
  if value ~= nil then
    local is_plain = getmetatable(value) ~= fds.Fd and getmetatable(value) ~= children.Child and getmetatable(value) ~= process.Process
    local handle = getmetatable(value) == process.Process and value.child or value
    new = { raw = describe(self.process, name, value), value = is_plain or handle }
  end
  self.entries[name] = new
  local ok, err = pcall(commit, self)
  if not ok then
    self.entries[name] = old
    error(err, 0)
  end
  hold(old, nil)
  hold(new, true)
end

-- ---- the table ----

local function get(self, name)
  local entry = self.entries[name]
  if not entry or entry.lost then return nil end
  if entry.raw.kind == "data" then return (plain.decode(entry.raw.text)) end
  return entry.value
end

local function set(self, name, value)
  if type(name) ~= "string" then fail(self.process, name, "names are strings") end
  enter(self)
  local ok, err = pcall(replace, self, name, value)
  leave(self)
  if not ok then error(err, 0) end
end

--- for name, value in p.kept() do ...: all that is there, in the order of names.
local function each(self)
  local names = {}
  for name, entry in pairs(self.entries) do
    if not entry.lost then names[#names + 1] = name end
  end
  table.sort(names)
  local i = 0
  return function()
    i = i + 1
    if names[i] then return names[i], get(self, names[i]) end
  end
end

--- The table that the script sees: empty, so that each use of it comes here.
local function table_of(self)
  return setmetatable({}, {
    __name = "kept table",
    __index = function(_, name) return get(self, name) end,
    __newindex = function(_, name, value) set(self, name, value) end,
    __call = function() return each(self) end,
    __tostring = function() return ("what %s keeps"):format(tostring(self.process)) end,
  })
end

-- ---- for the modules beside this one ----

local function new(p, at, facts)
  local self = { process = p, anchor = at, facts = facts, entries = {}, generation = 0, waiting = {} }
  rawset(p, "kept", table_of(self))
  rawset(p, "kept_state", self)
  return self
end

--- The table of a process that has just become persistent.
---@param memory table  of the block that it was given
function kept.begin(p, at, facts, memory)
  local self = new(p, at, facts)
  self.generation, self.memory = 1, memory
end

--- The first block of a process that is to become persistent: its bytes.
function kept.first_block(facts) return anchor.block({ facts = facts, entries = {} }, 1) end

--- The table as another host has left it. What isn't there any more, or isn't the same, is in p:lost().
function kept.restore(p, at, content, generation, memory)
  local self = new(p, at, content.facts)
  self.generation, self.memory = generation, memory
  for name, raw in pairs(content.entries) do
    local value, why = restore(p, raw)
    self.entries[name] = { raw = raw, value = value, lost = not value and why or nil }
    hold(self.entries[name], true)
  end
end

--- Numbers of fds, and pids, that an entry names.
function kept.named(p)
  local numbers, pids = {}, {}
  for _, entry in pairs(p.kept_state.entries) do
    if entry.raw.kind == "fd" then numbers[entry.raw.number] = true end
    if entry.raw.kind == "child" then numbers[entry.raw.pidfd], pids[entry.raw.pid] = true, true end
  end
  return numbers, pids
end

--- Writes the table again: what its memory is, or another fact, has changed.
function kept.refresh(p, facts)
  local self = p.kept_state
  enter(self)
  for key, value in pairs(facts or {}) do self.facts[key] = value end
  local ok, err = pcall(commit, self)
  leave(self)
  if not ok then error(err, 0) end
end

--- The bytes of a block that says the same in a memory where nothing else is.
function kept.portable(p)
  local self = p.kept_state
  local content = content_of(self)
  local facts = {}
  for key, value in pairs(content.facts) do facts[key] = value end
  facts.regions, facts.own_regions = {}, {}
  return anchor.block({ facts = facts, entries = content.entries }, self.generation + 1)
end

function kept.facts(p) return p.kept_state.facts end

--- p:lost(): the names of entries that are not what they were, each with the reason, after a reconnect. They are forgotten when the name is
--- given to something else, or to nil.
---@return table<string, string>
process.define("lost", function(self)
  local lost = {}
  if not rawget(self, "kept") then error(errors.new(self, "lost", {}, "it is not persistent"), 0) end
  for name, entry in pairs(self.kept_state.entries) do lost[name] = entry.lost end
  return lost
end)

return kept
