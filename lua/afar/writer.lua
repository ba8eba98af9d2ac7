--- Writing through a buffer: many small pieces go out as few large ones.

local fds = require "afar.fd"

local SIZE = 64 * 1024

---@class afar.Writer
---@field fd afar.Fd
---@field parts string[]  not written yet
---@field count integer   bytes in them
---@field size integer    how many bytes are gathered before they are written
local Writer = { __name = "writer" }
Writer.__index = Writer

--- Takes strings and numbers; writes when enough has come together. What it raises may be due to what was taken before.
---@return afar.Writer itself
function Writer:write(...)
  for i = 1, select("#", ...) do
    local piece = select(i, ...)
    if type(piece) == "number" then piece = tostring(piece) end
    if type(piece) ~= "string" then error(("write: a string was expected, not %s"):format(type(piece)), 2) end
    self.parts[#self.parts + 1] = piece
    self.count = self.count + #piece
  end
  if self.count >= self.size then self:flush() end
  return self
end

--- Writes all that was taken; returns when the kernel has it.
function Writer:flush()
  if self.count == 0 then return self end
  local data = table.concat(self.parts)
  self.parts, self.count = {}, 0
  self.fd:write(data)
  return self
end

--- Writes what is left, and closes the fd, also when that fails. A writer that is dropped without it loses what it holds.
function Writer:close()
  local ok, err = pcall(self.flush, self)
  self.fd:close()
  if not ok then error(err, 0) end
end

function Writer:__tostring() return ("writer to %s, %d bytes waiting"):format(tostring(self.fd), self.count) end

--- fd:writer(options): writer:write(...), :flush(), :close(). options: size = bytes that are gathered before they are written (default 64 KiB).
---@param options? { size: integer }
---@return afar.Writer
fds.define("writer", function(self, options)
  return setmetatable({ fd = self, parts = {}, count = 0, size = options and options.size or SIZE }, Writer)
end)
