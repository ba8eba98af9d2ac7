--- A table of fds, as the kernel has them: which processes share it, and which numbers the script holds in it.

---@class afar.FdTable
---@field handles table<integer, table>   number -> the Fd that owns it
---@field processes table<table, true>    that share it, alive or not
---@field internal table<integer, true>   numbers of carriers
local FdTable = {}
FdTable.__index = FdTable
FdTable.__name = "fd table"

local fdtable = {}
local count = 0

function fdtable.new(name)
  count = count + 1
  return setmetatable({
    handles = setmetatable({}, { __mode = "v" }),
    processes = setmetatable({}, { __mode = "k" }),
    internal = {},
    inherited = {},
    name = name,
    id = count,
  }, FdTable)
end

function FdTable:__tostring() return ("fd table %d of %s"):format(self.id, self.name) end

--- Some process of the table that can still make calls, or nil.
function FdTable:alive()
  for process in pairs(self.processes) do
    if process:is_alive() then return process end
  end
end

return fdtable
