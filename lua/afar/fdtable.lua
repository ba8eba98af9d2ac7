--- A table of fds, as the kernel has them: which processes share it, and which numbers the script holds in it.

local errors = require "afar.error"

---@class afar.FdTable
---@field handles table<integer, afar.Fd>    number -> the handle that owns it
---@field processes table<afar.Process, true> that share it, alive or not
---@field internal table<integer, true>      numbers of carriers, and in a root of channels
---@field carrier? integer                   the first one of these, as long as there is no other
---@field holds table<integer, table>       number -> the chains that wait for it
---@field origin? afar.FdTable               of which it is a copy
---@field inherited table<integer, table>    what the handles at these numbers were when it was copied: their states
local FdTable = { __name = "fd table" }

local fdtable = {}
local count = 0

-- Most tables never have anything of most kinds.
local WEAK_KEYS, WEAK_VALUES, STRONG = { __mode = "k" }, { __mode = "v" }, {}
local PARTS = {
  handles = WEAK_VALUES, processes = WEAK_KEYS, internal = STRONG, holds = STRONG, inherited = STRONG, given = WEAK_VALUES,
}

function FdTable.__index(self, name)
  local mode = PARTS[name]
  if not mode then return FdTable[name] end
  local part = mode == STRONG and {} or setmetatable({}, mode)
  if name == "internal" and rawget(self, "carrier") then part[self.carrier] = true end
  rawset(self, name, part)
  return part
end

function fdtable.new(name)
  count = count + 1
  return setmetatable({ name = name, id = count }, FdTable)
end

--- The table of a process that was just cloned from one with `origin`.
function fdtable.copy(origin)
  count = count + 1
  local self = setmetatable({ id = count, origin = origin }, FdTable)
  for number, handle in pairs(rawget(origin, "handles") or {}) do
    self.inherited[number] = handle.state
  end
  for number, state in pairs(rawget(origin, "inherited") or {}) do
    self.inherited[number] = self.inherited[number] or state
  end
  return self
end

--- The same of a process that will only execute a program: no handle will be in it.
function fdtable.brief() return setmetatable({ name = "of a program", id = 0 }, FdTable) end

function FdTable:__tostring()
  return ("fd table %d (%s)"):format(self.id, rawget(self, "name") or "a copy of " .. tostring(self.origin))
end

--- Whoever waits for the fd gets an error: for before it is closed, as poll(2) would not tell.
---@param number integer
function FdTable:end_holds(number)
  for waiter in pairs(self.holds[number] or {}) do waiter:end_hold() end
end

--- Some process of the table that can still make calls, or nil.
function FdTable:alive()
  for process in pairs(self.processes) do
    if process:is_alive() then return process end
  end
end

--- The handle for what was copied into this table along with `fd`, a handle of the table that it was copied from. The two are
--- closed independently of each other.
---@param process afar.Process  of this table
---@param fd afar.Fd
---@return afar.Fd
function FdTable:inherit(process, fd)
  local fds = require "afar.fd"
  if getmetatable(fd) ~= fds.Fd then error(("inherit: an fd was expected, not %s"):format(type(fd)), 0) end
  if fd.table == self then return fd end
  if fd.state.borrowed then return fds.borrow(process, fd.number) end
  local given = self.given[fd.state]
  if given and not given.state.closed then return given end
  if self.inherited[fd.number] ~= fd.state then
    error(errors.new(process, "inherit", { fd }, "it was not open in the table that this one was copied from, when that was done"), 0)
  end
  local copy = fds.new(process, fd.number, fd.kind)
  copy.state.foreign = fd.state.foreign
  self.given[fd.state] = copy
  self.inherited[fd.number] = nil
  return copy
end

return fdtable
