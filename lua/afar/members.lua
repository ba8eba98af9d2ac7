--- What can be written behind a value's "." or ":": for the prompt's help and completion.

local members = {}

local function add_keys(names, from)
  for key in pairs(from) do
    if type(key) == "string" and key:find "^%a[%w_]*$" then names[key] = true end
  end
end

--- Names of fields and methods: what the value's metatable lists (__members), or all keys that are there. Not all that may be written: any system
--- call is a method of a process, too.
---@param value any
---@return string[] names  sorted
function members.of(value)
  local mt, names = getmetatable(value), {}
  local listed = type(mt) == "table" and mt.__members
  if listed then
    for _, name in ipairs(listed()) do names[name] = true end
  elseif type(value) == "table" then
    add_keys(names, value)
  end
  if type(mt) == "table" and type(mt.__index) == "table" then add_keys(names, mt.__index) end
  local sorted = {}
  for name in pairs(names) do sorted[#sorted + 1] = name end
  table.sort(sorted)
  return sorted
end

--- Names in columns, as ls(1) lists them.
---@param names string[]
---@param width integer of the screen
---@return string
function members.columns(names, width)
  local widest = 0
  for _, name in ipairs(names) do widest = math.max(widest, #name) end
  local columns = math.max(1, math.floor((width + 2) / (widest + 2)))
  local rows, lines = math.ceil(#names / columns), {}
  for row = 1, rows do
    local cells = {}
    for i = row, #names, rows do cells[#cells + 1] = ("%-" .. widest .. "s"):format(names[i]) end
    lines[row] = table.concat(cells, "  "):gsub(" +$", "")
  end
  return table.concat(lines, "\n")
end

return members
