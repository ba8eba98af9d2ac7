--- Where a subcommand's argument says that a persistent process is: PATH, NAME, or HOST:PATH, as ssh understands HOST.

local afar = require "afar"

local target = {}

--- A process on that machine, and the path there.
---@param text string
---@return afar.Process root, string path
function target.of(text)
  local host, path = text:match "^([^/:]+):(.+)$"
  if not host then return afar.here, text end
  return afar.here:ssh(host), path
end

--- The persistent process that is meant.
---@param text string
---@return afar.Process
function target.reconnect(text)
  local root, path = target.of(text)
  return root:reconnect(path)
end

return target
