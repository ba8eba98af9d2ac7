--- Internet addresses as text and as bytes in network order; see inet_pton(3), inet_ntop(3).

local inet = {}

--- "127.0.0.1" as 4 bytes, or nil.
---@param text string
---@return string?
function inet.v4(text)
  local parts = { text:match "^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$" }
  if #parts ~= 4 then return nil end
  for i, part in ipairs(parts) do
    parts[i] = tonumber(part)
    if parts[i] > 255 or (#part > 1 and part:sub(1, 1) == "0") then return nil end
  end
  return string.char(unpack(parts))
end

--- 4 bytes as "127.0.0.1".
---@param bytes string
---@return string
function inet.v4_text(bytes) return ("%d.%d.%d.%d"):format((bytes .. "\0\0\0\0"):byte(1, 4)) end

--- The groups of one side of "::" as bytes; the address's last may be an IPv4 address.
local function groups(text, at_end)
  if text == "" then return "" end
  local bytes, rest = {}, text .. ":"
  for part, after in rest:gmatch "([^:]*):()" do
    local v4 = at_end and after > #rest and inet.v4(part)
    if v4 then
      bytes[#bytes + 1] = v4
    elseif part:find "^%x%x?%x?%x?$" then
      local number = tonumber(part, 16)
      bytes[#bytes + 1] = string.char((number - number % 256) / 256, number % 256)
    else
      return nil
    end
  end
  return table.concat(bytes)
end

--- "fe80::1" as 16 bytes, or nil.
---@param text string
---@return string?
function inet.v6(text)
  local before, after = text:match "^(.-)::(.*)$"
  if not before then
    local bytes = groups(text, true)
    return bytes and #bytes == 16 and bytes or nil
  end
  local head, tail = groups(before), groups(after, true)
  if not head or not tail or #head + #tail > 14 then return nil end
  return head .. ("\0"):rep(16 - #head - #tail) .. tail
end

--- The longest run of zeros among eight groups: its first and its length.
local function longest_zeros(list)
  local best, best_length, at = 0, 1, 1 -- a single zero isn't shortened
  while at <= 8 do
    local length = 0
    while at + length <= 8 and list[at + length] == 0 do length = length + 1 end
    if length > best_length then best, best_length = at, length end
    at = at + math.max(length, 1)
  end
  return best, best_length
end

--- 16 bytes as "fe80::1"; see RFC 5952.
---@param bytes string
---@return string
function inet.v6_text(bytes)
  bytes = bytes .. ("\0"):rep(16 - #bytes)
  if bytes:sub(1, 12) == ("\0"):rep(10) .. "\255\255" then return "::ffff:" .. inet.v4_text(bytes:sub(13)) end
  local list, shown = {}, {}
  for i = 1, 8 do
    list[i] = bytes:byte(2 * i - 1) * 256 + bytes:byte(2 * i)
    shown[i] = ("%x"):format(list[i])
  end
  local first, length = longest_zeros(list)
  if first == 0 then return table.concat(shown, ":") end
  return table.concat(shown, ":", 1, first - 1) .. "::" .. table.concat(shown, ":", first + length)
end

return inet
