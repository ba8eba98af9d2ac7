--- A root that has become persistent: another process, cloned from it, goes on as the root of its machine's stream (its *front*), with all
--- channels. The root itself keeps its pid, children and fds.

local children = require "afar.child"
local errors = require "afar.error"
local fdtable = require "afar.fdtable"
local gate = require "afar.gate"
local hello = require "afar.hello"
local links = require "afar.links"
local process = require "afar.process"
local requests = require "afar.requests"
local running = require "afar.running"
local sched = require "afar.sched"
local spawn = require "afar.spawn"
local tables = require "afar.tables"
local tasks = require "afar.task"

local handover = {}

local PATIENCE = 1 -- seconds

local function fail(p, path, message, hint) error(errors.new(p, "persistent", { path }, message, { hint = hint }), 0) end

--- Calls that may block, and are under way, are waited for.
local function end_siblings(p, path)
  local siblings = rawget(p, "siblings") or {}
  rawset(p, "siblings", nil)
  local waited = 0
  for i, sibling in ipairs(siblings) do
    while sibling:is_alive() and sibling.task:in_flight() > 0 do
      if waited > PATIENCE then
        rawset(p, "siblings", { unpack(siblings, i) })
        fail(p, path, "a call that blocks is under way in it")
      end
      sched.sleep(0.01)
      waited = waited + 0.01
    end
    if sibling:is_alive() then sibling:exit(0) end
  end
end

--- What a root must be free of before: its siblings end; nobody else may use its table of fds; and nothing begins that needs its channels, until
--- gate.open().
---@param p afar.Process
function handover.prepare(p, path)
  gate.close(p)
  running.settle(p)
  end_siblings(p, path)
  if tables.is_shared(p) then fail(p, path, "another process uses its table of fds (CLONE_FILES)", "end that one before") end
  children.open_all(p)
end

--- The front's numbers, in its copy of the table: what it has below the zone it closes itself.
local function close_copies(front, p, watched)
  local r = requests.record(front)
  local numbers = { watched }
  for number in pairs(p.table.handles) do numbers[#numbers + 1] = number end
  for _, child in pairs(rawget(p, "kids") or {}) do numbers[#numbers + 1] = child.state.pidfd end
  for _, pidfd in pairs(running.known(p)) do numbers[#numbers + 1] = pidfd end
  for _, number in ipairs(numbers) do
    if number >= hello.ZONE then r:call("close", { always = true, may_fail = true, aside = true }, number) end
  end
  if r.count > 0 then r:run() end
end

--- In the root: what only the front needs, and the stub knows nothing of.
local function close_ready(p, machine)
  local r = requests.record(p)
  for _, number in ipairs(links.numbers(machine)) do r:call("close", { always = true, may_fail = true }, number) end
  return r.count > 0 and r:submit() or nil
end

local function front_of(p, machine)
  p.task:leave_stream()
  local front = process.new {
    machine = machine,
    is_root = true,
    task = tasks.root(machine.stream, machine.hello.hold_slots, machine.hello.read_max),
    pid = 0,
    space = p.space,
    table = fdtable.new("the root of " .. machine.name),
    environ = p.environ,
  }
  machine.root = front
  front.pid = front:syscall "getpid"
  return front
end

--- Once PERSIST was answered: the front, as the machine's root. What is queued for `p` waits for its new carrier.
---@param p afar.Process
---@return afar.Process front
---@return afar.Recorder? closing  a chain of p's, under way
function handover.finish(p)
  local machine = p.machine
  local watched = rawget(p, "watch") and p.watch.epoll
  local closing = close_ready(p, machine)
  local front = front_of(p, machine)
  close_copies(front, p, watched)
  for number in pairs(p.table.internal) do
    if number >= hello.ZONE and number ~= watched then front.table.internal[number] = true end
  end
  for _, child in pairs(rawget(p, "kids") or {}) do front.table.internal[child.state.pidfd or -1] = nil end
  for _, pidfd in pairs(running.known(p)) do front.table.internal[pidfd] = nil end
  for number in pairs(front.table.internal) do p.table.internal[number] = nil end
  machine.outlived = p
  rawset(p, "is_root", nil)
  rawset(p, "front", front)
  if machine.local_ then require("afar.here").leave(front) end
  return front, closing
end

--- Whether it is sure that ending the command by which the machine was reached would not end the process that stays there.
---@param made afar.Machine
---@param child afar.Child   the command
function handover.spares(made, child)
  local near, far = child.parent.machine.hello, made.hello
  if near.boot_id ~= far.boot_id then return true end
  return near.ns.pid == far.ns.pid and near.ns.pid ~= 0 and child.pid ~= far.pid
end

--- The connection by which it was a root ends.
function handover.close(p)
  local front = rawget(p, "front")
  if front then front.machine:close() end
end

--- Once it was told to end: it was this host's own child.
function handover.reap(p)
  local front = rawget(p, "front")
  if not front then return end
  local via, pid = front.machine.via, front.machine.host_pid
  if via and via.parent:is_alive() and not handover.spares(front.machine, via) then via:wait() end
  local waited = 0
  while pid and not spawn.reap(pid, false) and waited < PATIENCE do
    sched.sleep(0.002)
    waited = waited + 0.002
  end
end

return handover
