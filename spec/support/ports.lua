--- Ports of TCP for servers of specs: below those that the kernel gives to whoever connects somewhere.

local afar = require "afar"
local probe = require "spec.support.probe"

local ports = {}

local FIRST, LAST = 10000, 32000

math.randomseed(tonumber(require("afar.spawn").random(4), 16))

--- Whether nobody has it at this moment.
function ports.is_free(port)
  local socket = afar.here:socket "AF_INET"
  local free = afar.try(socket.bind, socket, "127.0.0.1:" .. port) ~= nil
  socket:close()
  return free
end

--- So many that nobody has at this moment, all different.
---@param count integer
---@return integer[]
function ports.free(count)
  local found, seen = {}, {}
  while #found < count do
    local port = math.random(FIRST, LAST)
    if not seen[port] and ports.is_free(port) then found[#found + 1] = port end
    seen[port] = true
  end
  return found
end

--- Whether somebody listens there soon.
function ports.listens(port)
  return probe.soon(function()
    local socket = afar.here:socket "AF_INET"
    local connected = afar.try(socket.connect, socket, "127.0.0.1:" .. port) ~= nil
    socket:close()
    return connected
  end)
end

return ports
