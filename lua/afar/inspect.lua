--- How the prompt shows a value: tables with what is in them, text as it is. What says itself how it is shown (__tostring) is shown so; with
--- __prompt(value) it says more at the prompt than elsewhere.

local WIDTH, DEPTH, MOST = 100, 5, 300 -- columns of a line, tables in tables, entries of one
local SHORT = 30 -- entries up to this stand side by side

local escapes = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

local function quoted(text)
  return '"' .. text:gsub('[%c"\\\127]', function(c) return escapes[c] or ("\\%d"):format(c:byte()) end) .. '"'
end

local function key_text(key, show)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then return key end
  return "[" .. show(key) .. "]"
end

--- Numbers before text, each in order.
local function before(a, b)
  local number_a, number_b = type(a) == "number", type(b) == "number"
  if number_a and number_b then return a < b end
  if number_a ~= number_b then return number_a end
  return tostring(a) < tostring(b)
end

--- The entries as texts, those of the list without their keys.
local function entries(value, show)
  local list, keys, shown = 0, {}, {}
  while value[list + 1] ~= nil do
    list = list + 1
    if list <= MOST then shown[list] = show(value[list]) end
  end
  for key in pairs(value) do
    if not (type(key) == "number" and key % 1 == 0 and key >= 1 and key <= list) then keys[#keys + 1] = key end
  end
  table.sort(keys, before)
  for _, key in ipairs(keys) do
    if #shown == MOST then break end
    shown[#shown + 1] = key_text(key, show) .. " = " .. show(value[key])
  end
  if list + #keys > #shown then shown[#shown + 1] = ("... %d more"):format(list + #keys - #shown) end
  return shown
end

--- Several entries a line.
local function fill(shown, indent)
  local lines, line = {}, ""
  for _, text in ipairs(shown) do
    if #indent + #line + #text > WIDTH then
      lines[#lines + 1] = line:sub(1, -2)
      line = ""
    end
    line = line .. text .. ", "
  end
  lines[#lines + 1] = line:sub(1, -2)
  return table.concat(lines, "\n" .. indent)
end

local function are_short(shown)
  for _, text in ipairs(shown) do
    if #text > SHORT or text:find "\n" then return false end
  end
  return true
end

local function braces(shown, indent)
  if #shown == 0 then return "{}" end
  local line = "{ " .. table.concat(shown, ", ") .. " }"
  if #indent + #line <= WIDTH and not line:find "\n" then return line end
  local inner = indent .. "  "
  if are_short(shown) then return "{\n" .. inner .. fill(shown, inner) .. "\n" .. indent .. "}" end
  return "{\n" .. inner .. table.concat(shown, ",\n" .. inner) .. ",\n" .. indent .. "}"
end

local function show_table(value, depth, indent, above)
  if above[value] then return "{ itself }" end
  if depth > DEPTH then return "{ ... }" end
  above[value] = true
  local function show(inner)
    if type(inner) == "string" then return quoted(inner) end
    local mt = getmetatable(inner)
    if type(inner) ~= "table" or mt and mt.__tostring then return tostring(inner) end
    return show_table(inner, depth + 1, indent .. "  ", above)
  end
  local text = braces(entries(value, show), indent)
  above[value] = nil
  return text
end

---@param value any
---@return string
return function(value)
  local mt = getmetatable(value)
  if type(mt) == "table" and mt.__prompt then return mt.__prompt(value) end
  if type(value) ~= "table" or type(mt) == "table" and mt.__tostring then return tostring(value) end
  return show_table(value, 1, "", {})
end
