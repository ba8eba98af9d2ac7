--- How an error that nobody caught is shown.

local report = {}

-- What runs a script stands below it in every traceback, and says nothing about it.
local internal = {
  "^\tafar/sched%.lua:",
  "^\tafar/main%.lua:",
  "^\tafar/repl%.lua:",
  "^\t%[C%]: in function 'x?pcall'",
  "^\t%[C%]: in function 'error'",
  "^\t%[builtin#",
}

local function is_internal(line)
  for _, pattern in ipairs(internal) do
    if line:find(pattern) then return true end
  end
  return false
end

local function is_library(line) return line:find "^\tafar/" ~= nil or is_internal(line) end

local function drop_at(lines, index, is)
  while lines[index or #lines] and is(lines[index or #lines]) do
    table.remove(lines, index)
  end
end

--- The traceback without the lines at its end that are not the script's; "" when none is. With `calls`: nor those at its
--- beginning, of the library's own functions that the script called.
---@param traceback string
---@param calls? boolean
function report.trim(traceback, calls)
  local heading, rest = traceback:match "^\n*([^\n]*)\n?(.*)$"
  local lines = {}
  for line in rest:gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  drop_at(lines, nil, is_internal)
  if calls then drop_at(lines, 1, is_library) end
  return #lines > 0 and heading .. "\n" .. table.concat(lines, "\n") or ""
end

--- The error as one text.
---@param err any
function report.message(err)
  local mt = getmetatable(err)
  if type(err) == "string" or type(err) == "number" then return tostring(err) end
  if type(mt) == "table" and mt.__tostring then return tostring(err) end
  return ("(error object is a %s value)"):format(type(err))
end

--- Writes both to stderr. An error in the library's own code is shown with all of its traceback.
---@param prefix string
---@param err any
---@param traceback? string
function report.show(prefix, err, traceback)
  local message = report.message(err)
  local trimmed = traceback and report.trim(traceback, not message:find "^afar/") or ""
  io.stdout:flush()
  io.stderr:write(prefix, message, "\n")
  if trimmed ~= "" then io.stderr:write(trimmed, "\n") end
end

return report
