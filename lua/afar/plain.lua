--- Plain Lua data as bytes and back: nil, booleans, numbers, strings, and tables of these without cycles. What is read is never executed.

local plain = {}

local DEPTH_MOST = 100

local encode

local function encode_table(value, parts, depth, seen)
  if seen[value] then error("a table is in it twice, or in itself", 0) end
  if depth > DEPTH_MOST then error(("its tables are nested more than %d deep"):format(DEPTH_MOST), 0) end
  if getmetatable(value) ~= nil then
    error(("%s is no plain data"):format(tostring(value)), 0)
  end
  seen[value] = true
  parts[#parts + 1] = "{"
  for key, one in pairs(value) do
    if type(key) ~= "string" and type(key) ~= "number" and type(key) ~= "boolean" then error(("a %s can't be a key"):format(type(key)), 0) end
    encode(key, parts, depth, seen)
    encode(one, parts, depth, seen)
  end
  parts[#parts + 1] = "}"
end

function encode(value, parts, depth, seen)
  local kind = type(value)
  if kind == "nil" then
    parts[#parts + 1] = "n"
  elseif kind == "boolean" then
    parts[#parts + 1] = value and "t" or "f"
  elseif kind == "number" then
    parts[#parts + 1] = ("d%.17g;"):format(value)
  elseif kind == "string" then
    parts[#parts + 1] = ("s%d:"):format(#value)
    parts[#parts + 1] = value
  elseif kind == "table" then
    encode_table(value, parts, depth + 1, seen)
  else
    error(("a %s is no plain data"):format(kind), 0)
  end
end

--- Raises for what is no plain data.
---@param value any
---@return string
function plain.encode(value)
  local parts = {}
  encode(value, parts, 0, {})
  return table.concat(parts)
end

local decode

local function decode_table(text, at, depth)
  local value = {}
  while text:sub(at, at) ~= "}" do
    local key, one
    key, at = decode(text, at, depth)
    one, at = decode(text, at, depth)
    if key == nil or key ~= key then error("not understood", 0) end
    value[key] = one
  end
  return value, at + 1
end

local NUMBERS = { inf = math.huge, ["-inf"] = -math.huge, nan = 0 / 0, ["-nan"] = 0 / 0 }

local function decode_number(text, at)
  local digits, after = text:match("^d([^;]*);()", at)
  local number = digits and (tonumber(digits) or NUMBERS[digits])
  if not number then error("not understood", 0) end
  return number, after
end

local function decode_string(text, at)
  local length, after = text:match("^s(%d+):()", at)
  length = tonumber(length)
  if not length or after + length - 1 > #text then error("not understood", 0) end
  return text:sub(after, after + length - 1), after + length
end

function decode(text, at, depth)
  local kind = text:sub(at, at)
  if kind == "n" then return nil, at + 1 end
  if kind == "t" or kind == "f" then return kind == "t", at + 1 end
  if kind == "d" then return decode_number(text, at) end
  if kind == "s" then return decode_string(text, at) end
  if kind == "{" and depth < DEPTH_MOST then return decode_table(text, at + 1, depth + 1) end
  error("not understood", 0)
end

--- Raises when the bytes are not what encode() gives.
---@param text string
function plain.decode(text)
  local value, at = decode(text, 1, 0)
  if at ~= #text + 1 then error("not understood", 0) end
  return value
end

return plain
