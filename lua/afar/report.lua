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

--- The traceback without the lines at its end that are not the script's; "" when none is.
---@param traceback string
function report.trim(traceback)
  local lines = {}
  for line in traceback:gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  while #lines > 0 and is_internal(lines[#lines]) do
    lines[#lines] = nil
  end
  return #lines > 1 and table.concat(lines, "\n") or "" -- one is the heading alone
end

--- The error as one text.
---@param err any
function report.message(err)
  local mt = getmetatable(err)
  if type(err) == "string" or type(err) == "number" then return tostring(err) end
  if type(mt) == "table" and mt.__tostring then return tostring(err) end
  return ("(error object is a %s value)"):format(type(err))
end

--- Writes both to stderr.
---@param prefix string
---@param err any
---@param traceback? string
function report.show(prefix, err, traceback)
  io.stdout:flush()
  io.stderr:write(prefix, report.message(err), "\n")
  local trimmed = traceback and report.trim(traceback) or ""
  if trimmed ~= "" then io.stderr:write(trimmed, "\n") end
end

return report
