--- reconnect: a persistent process is taken up again, by its socket, from any process that reaches it.

local anchor = require "afar.anchor"
local blocks = require "afar.block"
local errors = require "afar.error"
local fdtable = require "afar.fdtable"
local here = require "afar.here"
local kept = require "afar.kept"
local persistent = require "afar.persistent"
local process = require "afar.process"
local session = require "afar.session"
local space = require "afar.space"
local takeover = require "afar.takeover"
local tasks = require "afar.task"

local reconnect = {}

local NO_SIGNALS = ("\0"):rep(8)

--- A process object of which nothing is known yet but what the welcome said.
local function object_of(q, path, id, connection, options)
  local welcome = connection.welcome
  local facts = {
    pid = welcome.pid, entry = welcome.entry, block_size = welcome.block_size, hold_slots = welcome.hold_slots, read_max = welcome.read_max,
    features = welcome.features, sigmask = NO_SIGNALS,
  }
  local machine = session.machine_of(q, facts)
  local p = process.new {
    machine = machine,
    task = tasks.session(welcome.hold_slots, welcome.read_max),
    pid = welcome.pid,
    space = space.unknown(machine),
    table = fdtable.new(("persistent process %d"):format(welcome.pid)),
    environ = {},
  }
  rawset(p, "session", { id = id, path = path, via = q, reach = options.reach, limit = options.limit })
  session.attach(p, q, connection)
  return p
end

local PAGE = 4096

local function pages(memory)
  local from = memory.address - memory.address % PAGE
  local to = memory.address + memory.size + PAGE - 1
  return { address = from, size = to - to % PAGE - from }
end

--- What it keeps, and memory to work with.
local function take_up(p, q, connection)
  local welcome = connection.welcome
  local content, generation, memory = anchor.read(p, welcome.anchor)
  if not content then error(errors.new(p, "reconnect", { p.session.path }, "it never became persistent wholly", { name = "kept" }), 0) end
  local facts = content.facts
  p.session.lease = facts.lease or 0
  p.machine.hello.sigmask, p.machine.hello.nofile = facts.sigmask, facts.nofile
  for name, value in pairs(facts.environ) do p.environ[name] = value end
  local block = blocks.range(welcome.block, welcome.block_size)
  local changed
  p.space, changed = takeover.space(p, q, connection.pid, facts, { block, memory })
  memory.pinned = takeover.covers(p.space, memory) and pages(memory)
  kept.restore(p, welcome.anchor, content, generation, memory)
  if changed then kept.refresh(p) end
end

--- q:reconnect(path, options): the persistent process that listens there, as q sees the path; what it keeps is in p.kept, and what of that is
--- not the same any more in p:lost(). The host before, if it still is connected, loses it. options: patience = seconds for it to answer
--- (default 10), interrupt = true: then a call in which it blocks is interrupted; reach = a function that gives a process that reaches it, when the connection
--- breaks; limit = seconds for which calls then wait (default 60).
---@param path string  or a name in the user's directory
---@param options? { patience?: number, interrupt?: boolean, reach?: fun(): afar.Process, limit?: number }
---@return afar.Process
function reconnect.through(q, path, options)
  options = options or {}
  local whole = persistent.path(q, path)
  local id = session.new_id()
  local connection = session.connect(q, whole, id, 0, options)
  local p = object_of(q, whole, id, connection, options)
  local ok, err = pcall(take_up, p, q, connection)
  if not ok then
    session.leave(p)
    error(err, 0)
  end
  session.watch(p)
  return p
end

process.define("reconnect", reconnect.through)

--- p:resume(q): another way to a persistent process whose connection has broken. What was not performed is, in order, and each call once. Returns p;
--- raises when another host has taken it over, or it has ended.
---@param q afar.Process
---@return afar.Process
process.define("resume", function(self, q)
  local mine = rawget(self, "session")
  if not mine then error(errors.new(self, "resume", {}, "it is not persistent"), 0) end
  session.offer(self, q)
  if not self:is_alive() then error(errors.lost(self, "resume", {}, mine.taken_by and "lost" or "eof"), 0) end
  return self
end)

--- afar.reconnect(path, options): the same, from this machine.
function reconnect.here(path, options) return reconnect.through(here.root(), path, options) end

return reconnect
