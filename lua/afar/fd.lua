--- A handle to an open file: a number together with the fd table that it is valid in.

local chain = require "afar.chain"
local errors = require "afar.error"
local nearest = require "afar.nearest"
local tasks = require "afar.task"

---@class afar.Fd
---@field number integer
---@field table afar.FdTable
local Fd = { __name = "fd" }

local fd = { Fd = Fd }

local plain, recorded = {}, {}
fd.recorded = recorded

--- Closes what nobody holds any more: sent along with the next requests, nobody waits for it.
local function close_later(table_, number, machine)
  if table_.handles[number] then return end
  local process = table_:alive()
  if not process then return end
  local c = tasks.chain()
  c:add(0, machine.sys.nr.close, 0, 0, 0, 0, 0, number)
  process.task:submit(c, true)
end

local function guard(self)
  local table_, number, machine = self.table, self.number, self.process.machine
  local sentinel = newproxy(true)
  getmetatable(sentinel).__gc = function()
    if not self.state.closed then close_later(table_, number, machine) end
  end
  return sentinel
end

--- The handle that owns an fd of a process's table. Dropped without close() it is closed some time after.
---@param process afar.Process  by which it came
---@param number integer
---@param kind? "socket"|"pipe"|"file"  where it is known: decides how it is read without blocking
---@return afar.Fd
function fd.new(process, number, kind)
  local state = {}
  local table_ = process.table
  local self = setmetatable({ number = number, table = table_, process = process, kind = kind, state = state }, Fd)
  local old = table_.handles[number]
  if old then rawget(old, "state").closed = true end
  table_.handles[number] = self
  rawset(self, "guard", guard { table = table_, number = number, process = process, state = state })
  return self
end

--- A handle that never closes its fd: the standard ones.
function fd.borrow(process, number)
  local self = setmetatable({ number = number, table = process.table, process = process, state = { borrowed = true } }, Fd)
  return self
end

function Fd:__tostring()
  return ("fd %d of %s"):format(self.number, tostring(self.process))
end

--- Marks it closed without a call: it was closed, or moved, by one that was recorded.
function fd.forget(self)
  self.state.closed = true
  if self.table.handles[self.number] == self then self.table.handles[self.number] = nil end
end

--- The number of `value` in `process`: an Fd of its table, a placeholder of a chain, or a plain number.
function fd.near(value, process, call)
  if type(value) == "number" then
    if value < 0 or value % 1 ~= 0 then error(("%s: %s is no fd"):format(call or "fd", value), 0) end
    return value
  end
  local ref = chain.ref_of(value)
  if ref then return ref end
  if getmetatable(value) ~= Fd then
    error(("%s: an fd was expected, not %s"):format(call or "call", type(value)), 0)
  end
  if value.state.closed then error(errors.new(value.process, call or "fd", nil, ("fd %d was closed before"):format(value.number)), 0) end
  if value.table ~= process.table then
    error(
      errors.new(process, call or "fd", { value }, ("it belongs to %s, the process to %s"):format(
        tostring(value.table),
        tostring(process.table)
      ), { hint = "use process:inherit(fd) for what a fork copied" }),
      0
    )
  end
  return value.number
end

Fd.near = function(value, process) return fd.near(value, process) end

local function lookup(self, name)
  local method = plain[name]
  if method then return method end
  local near = nearest(name, plain)
  error(("an fd has no method %q%s"):format(tostring(name), near and (" (did you mean %q?)"):format(near) or ""), 3)
end

local fields = { kind = true, closed = true, nonblock = true, path = true, type = true }

function Fd:__index(name)
  if fields[name] then return nil end
  return lookup(self, name)
end

--- The process in which a call on the fd is made: the one by which it came, or another of its table.
function fd.process_of(self)
  local process = self.process
  if process:is_alive() then return process end
  return self.table:alive() or process
end

--- Defines fd:name(...): `f(recorder, fd, ...)` as in process.define_recorded. `fd` is a handle, or a placeholder.
function fd.define_recorded(name, f)
  recorded[name] = f
  plain[name] = function(self, ...)
    local process = fd.process_of(self)
    local r = chain.record(process)
    r.args = { n = select("#", ...) + 1, self, ... }
    r:pin(self)
    local finish = f(r, self, ...)
    r:run()
    return finish(r)
  end
end

function fd.define(name, f) plain[name] = f end

return fd
