--- A child, as its parent sees it: by a pidfd in the parent's table, through which it is awaited and killed. A root, whose table is copied for
--- each of its children, has a child's pidfd only once that is needed: until we await the child its pid is no other's.

local ffi = require "ffi"

local blocks = require "afar.block"
local requests = require "afar.requests"
local errors = require "afar.error"
local loop = require "afar.loop"
local process = require "afar.process"
local sched = require "afar.sched"
local watch = require "afar.watch"

local POLLIN = 1
local P_PID, P_PIDFD, WEXITED = 1, 3, 4
local WAIT_SLOTS = 4 -- that a wait takes which has its own pidfd
local CLD_EXITED, CLD_DUMPED, CLD_STOPPED, CLD_CONTINUED = 1, 3, 5, 6

-- ---- how a process ended ----

---@class afar.Status
---@field code? integer    exit code, 0..255; nil when a signal ended it
---@field signal? string   "SIGKILL" ..., when a signal ended it
---@field core? boolean    whether it left a core file
---@field ok boolean       whether its exit code was 0
local Status = { __name = "status" }
Status.__index = Status

function Status:__tostring()
  if self.stopped then return ("stopped by %s"):format(self.stopped) end
  if self.continued then return "continued" end
  if self.code then return ("exit code %d"):format(self.code) end
  return ("killed by %s%s"):format(self.signal, self.core and " (core dumped)" or "")
end

local function signal_name(numbers, signal)
  for name, number in pairs(numbers.C) do
    if number == signal and name:find "^SIG[A-Z]+%d?$" then return name end
  end
  return ("signal %d"):format(signal)
end

local function status_of(machine, siginfo)
  local info = ffi.new(machine.sys.ctype.siginfo)
  ffi.copy(info, siginfo, math.min(#siginfo, ffi.sizeof(info)))
  local code, value = info.si_code, info.si_status
  if code == CLD_STOPPED then return setmetatable({ stopped = signal_name(machine.sys, value), ok = false }, Status) end
  if code == CLD_CONTINUED then return setmetatable({ continued = true, ok = false }, Status) end
  if code == CLD_EXITED then return setmetatable({ code = value, ok = value == 0 }, Status) end
  return setmetatable({ signal = signal_name(machine.sys, value), core = code == CLD_DUMPED, ok = false }, Status)
end

--- The same from a number as wait(2) has it.
local function status_of_number(machine, number)
  local signal = number % 128
  if signal == 0 then
    local code = math.floor(number / 256) % 256
    return setmetatable({ code = code, ok = code == 0 }, Status)
  end
  return setmetatable({ signal = signal_name(machine.sys, signal), core = number % 256 >= 128, ok = false }, Status)
end

-- ---- children ----

---@class afar.Child
---@field pid integer       as the parent sees it
---@field pidfd? integer    in the parent's table; may be opened by asking for it; nil: it was awaited, and had none
---@field status? afar.Status once it was awaited
---@field argv? string[]    what it execed
---@field private? boolean  nobody but who waits for it can kill it
---@field inert? afar.Process  its process, until it has ended or execed
local Child = { __name = "child" }

local children = { Child = Child, Status = Status, status_of = status_of, status_of_number = status_of_number }

function Child:__index(name)
  if name == "pidfd" then return children.pidfd(self) end
  if name == "parent" or name == "pid" then return self.state[name] end
  return Child[name]
end

--- For the prompt: see members.lua.
function Child.__members()
  local names = { "parent", "pid", "pidfd", "status", "argv" }
  for name in pairs(Child) do
    if not name:find "^_" then names[#names + 1] = name end
  end
  return names
end

function Child:__tostring()
  local what = self.argv and (" (%s)"):format(table.concat(self.argv, " "):sub(1, 60)) or ""
  return ("child %d%s of %s"):format(self.pid, what, tostring(self.parent))
end

--- Its block of memory is nobody's, once the child has ended or execed.
local function release(state)
  if state.block then
    blocks.free(state.space, state.block, state.block_size)
    state.block = nil
  end
end

local function carrier_ended(_, fate, state)
  state.call = nil
  if fate == "eof" or state.reaped then release(state) end
end

--- The end of its carrier says so, also when its parent has ended first and so nobody can await the child.
local function release_at_end(state, task)
  local id = task:wait_end()
  if id then return sched.once(id, carrier_ended, state) end
  if task:state() == "eof" then release(state) end
end

--- Once the end is known here, and not before: who kills it until then must not meet another process under its pidfd's number. What else waits
--- on the pidfd, among many, hears of its end first.
local function close_pidfd(parent, pidfd)
  parent.table:end_holds(pidfd)
  local r = requests.record(parent)
  r:call("close", { may_fail = true }, pidfd)
  requests.submit_unwatched(r, function()
    parent.table.internal[pidfd] = nil
    r:release()
  end)
end

--- Not cut short: the number would be lost.
local function open_now(state)
  local r = requests.record(state.parent)
  r.args = { n = 2, state.pid, 0 }
  local opened = r:call("pidfd_open", nil, state.pid, 0)
  r:submit()
  r:wait()
  r:check()
  state.pidfd = r:release(r:result(opened))
  state.parent.table.internal[state.pidfd] = true
end

--- The pidfd of a child that has none, for as long as it lives; by one for all who need it. Whoever waits for the child meanwhile has to know.
local function open(state)
  local opening = state.opening or sched.start(open_now, state)
  state.opening = opening
  sched.join(opening)
  if state.opening == opening then state.opening = nil end
  if not opening.ok then error(opening.values[1], 0) end
end

local function await_unheld(state)
  local parent = state.parent
  if not parent:is_alive() then return end
  if not state.pidfd then
    sched.start(function()
      open(state)
      await_unheld(state)
    end)
    return
  end
  local function record(r) r:call("waitid", nil, P_PIDFD, state.pidfd, 0, WEXITED, 0) end
  watch.after(parent, state.pidfd, POLLIN, record, function()
    if parent:is_alive() then close_pidfd(parent, state.pidfd) end
    release(state)
  end)
end

--- A child that nobody holds any more, once it ends, is awaited all the same: no zombie stays.
local guards = newproxy(true)
debug.setfenv(guards, { kept = true })
getmetatable(guards).__gc = function(sentinel)
  local state = debug.getfenv(sentinel)
  if state.reaped or state.kept then return end
  sched.collected(function() await_unheld(state) end)
end

local function guard(state)
  local sentinel = newproxy(guards) -- with the same metatable
  debug.setfenv(sentinel, state)
  return sentinel
end

local WEAK = { __mode = "v" }

local function add_kid(parent, child)
  local kids = rawget(parent, "kids")
  if not kids then
    kids = setmetatable({}, WEAK)
    rawset(parent, "kids", kids)
  end
  kids[child.pid] = child
end

--- The child that `parent` just cloned. Without a pidfd (an emulator) one is opened: now, unless `late`.
---@param parent afar.Process
---@param inert afar.Process   the process object of the child itself
---@param block? number        address of its block; nil: that is not the child's to give back
---@param pid integer
---@param pidfd? integer
---@param late? boolean
---@return afar.Child
function children.new(parent, inert, block, pid, pidfd, late)
  if not late then
    pidfd = pidfd or parent:syscall("pidfd_open", pid, 0)
    parent.table.internal[pidfd] = true
  end
  local state = { -- with as many fields as fit beside those of who waits: see release_at_end
    parent = parent, pid = pid, pidfd = pidfd, space = parent.space, block = block, block_size = parent.machine:block_size(),
    call = nil, wait_id = nil,
  }
  local self = setmetatable({ state = state, inert = inert, guard = guard(state) }, Child)
  add_kid(parent, self)
  if inert.task then release_at_end(state, inert.task) end
  return self
end

--- A child that `parent` had before this host came: what of it is left besides the pidfd is not known.
---@return afar.Child
function children.adopt(parent, pid, pidfd, argv)
  parent.table.internal[pidfd] = true
  local state = { parent = parent, pid = pid, pidfd = pidfd, space = parent.space }
  local self = setmetatable({ state = state, argv = argv, guard = guard(state) }, Child)
  add_kid(parent, self)
  return self
end

--- Whether its end can be awaited by a pidfd that the root has for just so long. Not while others need it, nor in a root that is becoming
--- persistent: its next host would not know of that one. With many who wait it has to be known which it is: see watch.lua.
local function needs_no_pidfd(state)
  local parent = state.parent
  if state.pidfd or state.wanted or state.opening then return false end
  return parent.is_root and not rawget(parent, "gate_waiting") and requests.room(parent) >= WAIT_SLOTS
end

--- Records the wait; returns the hold, and what brings the end.
local function record_wait(r, self, pidfd)
  local plain = self.parent.machine.plain_clone
  local info = r:scratch(128)
  local opened = not pidfd and r:call("pidfd_open", { as = "wait", quiet = true }, self.pid, 0)
  local number = pidfd or opened
  local hold = r:hold(number, POLLIN, { as = "wait" })
  r:call("waitid", nil, plain and P_PID or P_PIDFD, plain and self.pid or number, info, WEXITED, 0)
  local got = r:fetch(info, 128)
  if opened then
    r:call("close", { may_fail = true, always = true }, opened)
    r.takes_room = true
  elseif self.private then
    r:call("close", { may_fail = true }, pidfd)
  end
  return hold, got
end

local function reap(self)
  local parent, state = self.parent, self.state
  if not state.pidfd and not needs_no_pidfd(state) then open(state) end
  local pidfd = state.pidfd
  local r = requests.record(parent)
  r.args = { n = 1, self.pid }
  local hold, got = record_wait(r, self, pidfd)
  r:submit()
  self.waits_without = not pidfd and r or nil
  local fate = r:wait()
  self.waits_without = nil
  if fate == nil and r:result(hold) == -parent.machine.sys.C.ECANCELED then return false end
  r:check()
  state.reaped = true
  self.status = status_of(parent.machine, r:release(r:data(got))) -- first: the close ends what else waits on the pidfd, and that looks here
  if self.private then
    parent.table.internal[pidfd] = nil
  elseif pidfd then
    close_pidfd(parent, pidfd)
  end
  if not state.call then release(state) end -- else its carrier is still looked at, for some turns
  if self.inert then require("afar.tables").ended(self.inert) end
  self.inert = nil
  return true
end

--- Others wait for the one that asks the kernel.
local function wait_for_other(self)
  local id = loop.id()
  self.others = self.others or {}
  self.others[#self.others + 1] = id
  sched.wait(id, function() return true end)
end

local function wake_others(self)
  self.waited = false
  for _, id in ipairs(self.others or {}) do
    loop.complete(id)
  end
  self.others = nil
end

--- Its pidfd, for what can't be done without. Whoever waits for the child without one begins again.
---@return integer?  nil: it was awaited
function children.pidfd(self)
  local state = self.state
  while not state.pidfd and not self.status do
    state.wanted = true
    if self.waits_without then
      self.waits_without:end_hold()
      wait_for_other(self)
    else
      open(state)
    end
  end
  return state.pidfd
end

--- Opens the pidfds of all children of a root that will be one no more.
---@param parent afar.Process
function children.open_all(parent)
  local list = {}
  for _, child in pairs(rawget(parent, "kids") or {}) do list[#list + 1] = child end
  for _, child in ipairs(list) do children.pidfd(child) end
end

--- Waits until it has ended; see waitid(2). May be called again, and by several at once. With stopped = true also until it is stopped, with
--- continued = true until it is continued: the status then has .stopped = the signal's name, or .continued = true.
---@param what? { stopped?: boolean, continued?: boolean }
---@return afar.Status
function Child:wait(what)
  if what then return children.wait_change(self, what) end
  while not self.status do
    sched.check()
    if self.waited then
      wait_for_other(self)
    else
      self.waited = true
      local ok, err = pcall(reap, self)
      wake_others(self)
      if not ok then error(err, 0) end
    end
  end
  return self.status
end

--- Waits, and raises when it ended by anything but exit code 0.
---@return afar.Status
function Child:check()
  local status = self:wait()
  if not status.ok then
    error(errors.new(self.parent, "check", { self }, tostring(status), { name = "status", status = status }), 0)
  end
  return status
end

--- Sends it a signal; see pidfd_send_signal(2). One that has ended already gets none: that is no error.
---@param signal? string|integer  default SIGTERM
function Child:kill(signal)
  if self.status then return end
  local parent = self.parent
  local number = parent.machine.sys:const(signal or "SIGTERM", "SIG", "kill")
  local pidfd = self.state.pidfd or self.waited and children.pidfd(self)
  if self.status then return end
  local r = requests.record(parent)
  r.args = { n = 2, self.pid, signal or "SIGTERM" }
  local sent
  if pidfd then
    sent = r:call("pidfd_send_signal", { may_fail = true }, pidfd, number, 0, 0)
  else
    sent = r:call("kill", { may_fail = true }, self.pid, number) -- its pid is its own till it is awaited
  end
  r:run()
  local result = r:result(sent)
  if result < 0 and result ~= -parent.machine.sys.C.ESRCH then
    error(errors.errno(parent, "pidfd_send_signal", r.args, -result), 0)
  end
end

--- Whether it was awaited.
function Child:has_ended() return self.status ~= nil end

local function of(self, call)
  local child = self.child
  if not child then
    local why = rawget(self, "session") and "it is no child of what this script has" or "it is a root: it ends with its connection"
    error(errors.new(self, call, {}, why), 0)
  end
  return child
end

process.define("wait", function(self, what) return of(self, "wait"):wait(what) end)

--- p:exit(code): ends the process; returns its status once it is gone. A root ends with its connection.
---@param code? integer 0..255
process.define("exit", function(self, code)
  if code ~= nil and (type(code) ~= "number" or code % 1 ~= 0 or code < 0 or code > 255) then
    error(errors.new(self, "exit", { code }, "an exit code is a whole number from 0 to 255"), 0)
  end
  if rawget(self, "session") then return require("afar.persistent").exit(self, code) end
  local child = of(self, "exit")
  local r = requests.record(self)
  r.args = { n = 1, code or 0 }
  r:call("exit_group", { flush = true }, code or 0)
  r:start()
  local ok, status = pcall(child.wait, child) -- asked at once: the parent waits while the child ends
  r:wait()
  r:release()
  process.gone(self)
  if not ok then error(status, 0) end
  return status
end)

return children
