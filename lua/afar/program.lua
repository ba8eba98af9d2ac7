--- Programs: children that only execute something. What such a child does lies in memory, as a script (doc/protocol.md, "Clone"): it has no carrier.
--- One chain of its parent's clones it, waits for its end, and brings how it ended and what its script has answered.

local ffi = require "ffi"

local children = require "afar.child"
local cloneflags = require "afar.cloneflags"
local command = require "afar.command"
local errors = require "afar.error"
local exec = require "afar.exec"
local fdtable = require "afar.fdtable"
local hello = require "afar.hello"
local process = require "afar.process"
local requests = require "afar.requests"
local running = require "afar.running"
local sched = require "afar.sched"
local u32 = require("afar.bytes").u32
local variables = require "afar.variables"

local programs = {}

local POLLIN = 1
local P_PID, P_PIDFD, WEXITED, SIGINFO_SIZE = 1, 3, 4, 128
local SLOTS, SLOTS_HERE = 5, 3 -- of the stub's, that a wait takes: where memory is not shared it is fetched
local DYING = 1 -- seconds: who has lost its parent has surely been killed by then

---@class afar.Program
---@field parent afar.Process
---@field process afar.Process    for errors: the child, which can't be asked for anything
---@field script afar.Recorder    what it does
---@field recorder afar.Recorder  the parent's chain that clones it
---@field waiting? afar.Recorder  the one that waits for its end, which may be the same; nil: there was no room for that
---@field status? afar.Status     once it was awaited
---@field child? afar.Child       where it is awaited as any child is: it was cut short, or there are many
local Program = { __name = "program" }
Program.__index = Program

local has = cloneflags.has
local OF_PROGRAMS = fdtable.brief()

local U32 = ffi.typeof "uint32_t *"

--- Its pidfd's number in the parent's table; nil: it isn't known.
local function pidfd_of(self)
  local here = self.parent.space:in_place(self.block + hello.FD, 4)
  if here then return ffi.cast(U32, here)[0] end
  local data = self.recorder:data(self.pidfd)
  return data and u32(data) or nil
end

--- For running.lua, while it is awaited by its parent's chain: its pid, and the number of its pidfd; nil: it was not cloned, as far as is known.
function Program:numbers()
  local pid = self.recorder:result(self.birth)
  if pid and pid > 0 then return pid, pidfd_of(self) end
end

--- For running.lua: what it has of its parent's table is internal to that.
function Program:note()
  local _, pidfd = self:numbers()
  self.noted = pidfd
  if pidfd then self.parent.table.internal[pidfd] = true end
  self.ends.adopt(self.recorder)
end

-- ---- its memory ----

--- Puts the block, its stack and the script in order; returns the stack's address.
local function prepare(self, r)
  local parent, script = self.parent, self.script
  local facts = parent.machine.hello
  local code, room = script.requests:script(), script.count * hello.REPLY_SIZE
  local length = hello.SCRIPT_SIZE + room
  self.size = facts.block_size + math.max(hello.RING_SIZE, length + SIGINFO_SIZE) -- mostly as any child's
  self.block = parent.space:alloc(parent, self.size)
  self.at, self.room = self.block + facts.block_size, room
  self.info_at = self.at + length
  local ppid = rawget(parent, "pids_for_children") and 0 or parent.pid
  r:store(self.block, hello.start(hello.START_SCRIPT, ppid, -1, self.at))
  local stack = self.at - hello.STACK_SIZE
  r:store(stack, hello.stack(facts.entry, self.block))
  r:store(self.at, hello.script(script:bytes(code), #code, room))
  return stack
end

--- It has ended, or never was. stored: what was to be in memory was there.
local function give_back(self, stored)
  if self.over then return end
  self.over = true
  local parent, script = self.parent, self.script
  process.gone(self.process)
  command.settle_environ(script, stored)
  script:drop()
  if self.block then parent.space:free(self.block, self.size) end
end

--- The parent has gone, and by that it is killed, which nobody tells: its memory is its own for some time.
local function give_back_later(self)
  if not self.parent.machine.root:is_alive() then return give_back(self) end
  sched.after(DYING, function() give_back(self) end)
end

-- ---- beginning ----

--- Whether a process can run something so: what is told its own pid can't.
---@param parent afar.Process
function programs.possible(parent, spec)
  local machine = parent.machine
  return has(machine.hello.features, hello.F_SCRIPT) and not machine.plain_clone and not spec.listen_fds
end

local function slots_in(parent) return parent.space.arena and SLOTS_HERE or SLOTS end

--- Whether one more can be waited for in the chain that clones it.
---@param parent afar.Process
function programs.has_room(parent) return requests.room(parent) >= slots_in(parent) end

local function record_birth(self, r, later)
  local C = r.sys.C
  local stack = prepare(self, r)
  r.args = { n = 1, "0" }
  self.birth = r:call("clone", { later = later }, C.SIGCHLD + C.CLONE_VM + C.CLONE_PIDFD, stack, self.block + hello.FD, 0, 0)
  self.pidfd = r:fetch(self.block + hello.FD, 4, { if_ok = self.birth, aside = true, later = later })
end

--- Takes `slots` of the stub's.
local function record_wait(self, r, slots)
  local pidfd = requests.load32(self.block + hello.FD)
  local pid = r == self.recorder and self.birth or nil
  self.waiting = r
  self.hold = r:hold(pidfd, POLLIN, { as = "wait", if_ok = pid })
  local waited = r:call("waitid", nil, pid and P_PID or P_PIDFD, pid or pidfd, self.info_at, WEXITED, 0)
  self.info = r:fetch(self.info_at, SIGINFO_SIZE)
  local length = requests.load32(self.at + hello.SCRIPT_ANSWERED)
  self.answers = r:fetch(self.at + hello.SCRIPT_SIZE, length, { if_ok = waited, aside = true }, self.room)
  r:call("close", { if_ok = self.hold, may_fail = true }, pidfd)
  r.slots = slots
  local process_ = self.parent
  rawset(process_, "held_slots", (rawget(process_, "held_slots") or 0) + slots)
end

--- Records and sends all that can be sent at once.
local function send(self, r)
  local parent, ends, slots = self.parent, self.ends, slots_in(self.parent)
  local has_room = programs.has_room(parent)
  local is_one = has_room and not ends.awaited
  record_birth(self, r, is_one)
  ends.record(r)
  if is_one then
    record_wait(self, r, slots)
  else
    r:value(0, { always = true }) -- with which all comes that may come later
  end
  if self.script.stores and parent.task then parent.task:submit(self.script.stores, true) end
  r:submit()
  running.add(parent, self)
  if has_room and not is_one then
    record_wait(self, requests.record(parent), slots)
    self.waiting:submit()
  end
  parent.task:hurry() -- before anything is sent on channels that are attached here
end

--- Clones a child that executes `spec` (as exec.begin takes it), behind what `r`, of its parent, has recorded already. ends.record(r) records what the
--- parent does once it was cloned; ends.adopt(r) takes what is known of that by then. Where ends.awaited is true, or the wait is not in the same
--- chain, born() is to be called.
---@param r afar.Recorder
---@return afar.Program? program  nil: it can't be done so, and nothing was recorded
function programs.begin(r, spec, ends)
  local parent = r.process
  local child = process.new {
    machine = parent.machine, parent = parent, space = parent.space, table = OF_PROGRAMS, shared_environ = variables.share(parent),
  }
  local script = exec.script(child, spec)
  local self = setmetatable({ parent = parent, process = child, argv = spec, script = script, recorder = r, ends = ends }, Program)
  if script.in_parts then return give_back(self) end
  local ok, err = pcall(send, self, r)
  if ok then return self end
  give_back(self)
  error(err, 0)
end

-- ---- its end ----

--- From now on it is awaited as any child is.
local function become_child(self)
  local child = children.new(self.parent, self.process, nil, self.process.pid, pidfd_of(self))
  child.argv, child.private = self.argv, true
  self.child = child
end

--- Once its parent has answered whether it was cloned.
local function check_birth(self)
  local r = self.recorder
  local pid = r:result(self.birth)
  if not pid or pid <= 0 then
    if not r.fate then give_back(self) end
    r:check()
  end
  self.process.pid = pid
  self.parent.machine.can_share = true
end

--- Takes what its script has answered: raises why nothing was executed.
local function take_answers(self, answers)
  local script = self.script
  local ok, err = script.requests:take_replies(answers), nil
  script:take_results()
  if not ok then
    err = errors.new(self.parent, "exec", { n = 1, table.concat(self.argv, " ") }, "what its child has left can't be understood")
  elseif not exec.executed(script) then
    ok, err = pcall(exec.failed, self.process, script, self.parent)
  end
  give_back(self, true)
  if not ok then error(err, 0) end
end

--- The chain that waits for it was answered.
local function conclude(self)
  local w = self.waiting
  self.concluded = true
  running.remove(self.parent, self)
  if w.fate then
    give_back_later(self)
    w:check()
  end
  check_birth(self)
  if w:result(self.hold) == -w.sys.C.ECANCELED then return become_child(self) end
  local ok, err = pcall(w.check, w)
  if not ok then
    give_back(self, true)
    error(err, 0)
  end
  self.status = children.status_of(self.parent.machine, w:data(self.info))
  take_answers(self, w:release(w:data(self.answers)))
end

--- What is in memory of the answers, after its end.
local function answers_of(self)
  local parent = self.parent
  local here = parent.space:in_place(self.at, self.size - (self.at - self.block))
  if here then
    local count = ffi.cast(U32, here + hello.SCRIPT_ANSWERED)[0]
    return ffi.string(here + hello.SCRIPT_SIZE, math.min(count, self.room))
  end
  local r = requests.record(parent)
  local answers = r:fetch(self.at + hello.SCRIPT_SIZE, requests.load32(self.at + hello.SCRIPT_ANSWERED), nil, self.room)
  r:run()
  return r:release(r:data(answers))
end

--- Waits until it was cloned.
function Program:born()
  local r = self.recorder
  if r:wait() == nil then self.ends.adopt(r) end
  check_birth(self)
  r:check()
  if self.waiting then return end
  running.remove(self.parent, self)
  become_child(self)
end

--- Waits until it has ended; raises when it could not be executed.
---@return afar.Status
function Program:wait()
  if self.waiting and not self.concluded then
    self.waiting:wait()
    conclude(self)
  end
  if self.child and not self.status then
    self.status = self.child:wait()
    take_answers(self, answers_of(self))
  end
  return self.status
end

--- It is to end now: kill(child) sees to that, if it has not ended already.
function Program:cut_short(kill)
  if self.waiting and not self.concluded then
    self.waiting:end_hold()
    self.waiting:wait()
    pcall(conclude, self)
  end
  local child = self.child
  if not child or self.status then return end
  local ok, err = pcall(kill, child)
  self.status = child.status
  if not self.status then
    give_back_later(self)
  else
    give_back(self, true)
  end
  if not ok then error(err, 0) end
end

return programs
