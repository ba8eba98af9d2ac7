--- A handle to an open file: a number together with the fd table that it is valid in.

local colon = require "afar.colon"
local later = require "afar.later"
local requests = require "afar.requests"
local errors = require "afar.error"
local nearest = require "afar.nearest"
local process = require "afar.process"
local sched = require "afar.sched"
local tasks = require "afar.task"

---@class afar.Fd
---@field number integer
---@field table afar.FdTable
local Fd = { __name = "fd" }

local fd = { Fd = Fd }

local plain = {}
local recorded = setmetatable({}, {
  __index = function(self, name) return later.load(name) and rawget(self, name) or nil end,
})
fd.recorded = recorded

--- The names of all methods of fds that are defined, sorted; beside them each system call is one whose first argument is an fd.
---@return string[]
function fd.methods()
  later.load_all()
  local names = {}
  for name in pairs(plain) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Closes what nobody holds any more: sent along with the next requests, nobody waits for it.
local function close_later(table_, number, machine)
  if table_.handles[number] then return end
  local owner = table_:alive()
  if not owner then return end
  local c = tasks.chain()
  c:add(0, machine.sys.nr.close, 0, 0, 0, 0, 0, number)
  owner.task:submit(c, true)
end

local function guard(self)
  local table_, number, machine, state = self.table, self.number, self.process.machine, self.state
  local sentinel = newproxy(true)
  getmetatable(sentinel).__gc = function()
    if state.closed or state.kept then return end
    sched.collected(function()
      if not state.closed then close_later(table_, number, machine) end
    end)
  end
  return sentinel
end

--- The handle that owns an fd of a process's table. Dropped without close() it is closed some time after.
---@param owner afar.Process  by which it came
---@param number integer
---@param kind? "socket"|"pipe"|"file"  where it is known: decides how it is read without blocking
---@return afar.Fd
function fd.new(owner, number, kind)
  local state, table_ = {}, owner.table
  local self = setmetatable({ number = number, table = table_, process = owner, kind = kind, state = state }, Fd)
  local old = table_.handles[number]
  if old then old.state.closed = true end
  table_.handles[number] = self
  self.guard = guard(self)
  return self
end

--- A handle that never closes its fd: the standard ones.
function fd.borrow(owner, number)
  return setmetatable({ number = number, table = owner.table, process = owner, state = { borrowed = true } }, Fd)
end

--- For the prompt: see members.lua.
function Fd.__members()
  local names = fd.methods()
  names[#names + 1] = "number"
  return names
end

function Fd:__tostring()
  return ("fd %d of %s"):format(self.number, tostring(self.process))
end

--- Marks it closed without a call: it was closed, or moved, by one that was recorded.
function fd.forget(self)
  self.state.closed = true
  if self.table.handles[self.number] == self then self.table.handles[self.number] = nil end
end

--- Closes it, and waits for no answer.
function fd.drop(self)
  fd.forget(self)
  close_later(self.table, self.number, self.process.machine)
end

local function check_handle(value, owner, call)
  if value.state.closed then
    error(errors.new(owner, call, nil, ("fd %d was closed before"):format(value.number), { name = "EBADF" }), 0)
  end
  if value.table ~= owner.table then
    local message = ("the fd belongs to %s, the process to %s"):format(tostring(value.table), tostring(owner.table))
    error(errors.new(owner, call, { value }, message, { hint = "process:inherit(fd) gives a fork's copy" }), 0)
  end
end

--- The number of `value` in the process `owner`: that of an Fd of its table, a plain number, or
--- what stands for one within a chain.
function fd.near(value, owner, call)
  call = call or "fd"
  if type(value) == "number" then
    if value < 0 or value % 1 ~= 0 or value >= 2 ^ 31 then error(("%s: %s is no fd"):format(call, value), 0) end
    return value
  end
  local ref = requests.argument(value)
  if ref then return ref end
  if getmetatable(value) ~= Fd then error(("%s: an fd was expected, not %s"):format(call, type(value)), 0) end
  check_handle(value, owner, call)
  return value.number
end

Fd.near = function(value, owner) return fd.near(value, owner) end

--- The process in which a call on the fd is made: the one by which it came, or another of its table.
function fd.process_of(self)
  local process_ = self.process
  if process_:is_alive() and process_.table == self.table then return process_ end
  return self.table:alive() or process_
end

--- `f` as a method, which is told apart from a function that was called with a dot.
local function method(name, f)
  return function(self, ...)
    if getmetatable(self) ~= Fd then colon("an fd", "fd", name, self) end
    return f(self, ...)
  end
end

local function run_method(name, f, self, ...)
  local r = requests.record(fd.process_of(self))
  r.name, r.args = name, { n = select("#", ...) + 1, self, ... }
  r:pin(self)
  return process.finish(r, r:by(f, self, ...))
end

--- Any system call whose first argument is an fd is a method of fds too: exactly that call.
local function raw_method(self, name)
  local parameters = self.process.machine.sys.signature[name]
  local first = parameters and parameters[1]
  if first ~= "fd" and first ~= "fildes" and first ~= "dfd" then return nil end
  return method(name, function(self_, ...) return fd.process_of(self_):syscall(name, self_, ...) end)
end

local fields = { kind = true, path = true, type = true }

function Fd:__index(name)
  if fields[name] then return nil end
  if name == "near" then return Fd.near end
  local found = plain[name] or later.load(name) and plain[name] or type(name) == "string" and raw_method(self, name)
  if found then return found end
  later.load_all()
  local near = nearest(tostring(name), plain)
  error(("an fd has no method %q%s"):format(tostring(name), near and (" (did you mean %q?)"):format(near) or ""), 2)
end

--- Defines fd:name(...), and p:name(fd, ...) which is the same: `f(recorder, fd, ...)` as in process.define_recorded. `fd` is a
--- handle, a number, or a placeholder.
function fd.define_recorded(name, f)
  recorded[name] = f
  plain[name] = method(name, function(self, ...) return run_method(name, f, self, ...) end)
  process.define_recorded(name, function(r, _, fd_, ...) return f(r, fd_, ...) end)
end

--- Defines fd:name(...) alone, as a plain function of the handle; within chains `recorded_form`.
function fd.define_method(name, f, recorded_form)
  plain[name] = method(name, f)
  recorded[name] = recorded_form
end

--- Defines fd:name(...) and p:name(fd, ...) as a plain function of the handle; within chains `recorded_form`.
function fd.define(name, f, recorded_form)
  fd.define_method(name, f, recorded_form)
  if recorded_form then
    process.define_recorded(name, function(r, _, fd_, ...) return recorded_form(r, fd_, ...) end)
  end
  process.define(name, function(self, fd_, ...)
    if type(fd_) == "number" then fd_ = fd.borrow(self, fd.near(fd_, self, name)) end
    if getmetatable(fd_) ~= Fd then error(("%s: an fd was expected, not %s"):format(name, type(fd_)), 2) end
    check_handle(fd_, self, name)
    return f(fd_, ...)
  end)
end

return fd
