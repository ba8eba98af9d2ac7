--- Unsigned numbers in bytes that came from a process: little-endian, as all machines are that afar drives.

local bytes = {}

--- The 2 bytes at a position (default: the first) as a number.
---@param text string
---@param at? integer
---@return integer
function bytes.u16(text, at)
  local a, b = text:byte(at or 1, (at or 1) + 1)
  return a + b * 256
end

--- The 4 bytes at a position (default: the first) as a number.
---@param text string
---@param at? integer
---@return integer
function bytes.u32(text, at)
  local a, b, c, d = text:byte(at or 1, (at or 1) + 3)
  return a + b * 256 + c * 65536 + d * 16777216
end

return bytes
