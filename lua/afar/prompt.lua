--- A line from the user of the prompt: edited at a terminal, with a history and completion; plain where standard input is none.

local ffi = require "ffi"
local history = require "afar.history"
local lineedit = require "afar.lineedit"
local members = require "afar.members"
local sched = require "afar.sched"
local spawn = require "afar.spawn"
local terminal = require "afar.terminal"

ffi.cdef "int isatty(int fd);"

local prompt = {}

local unread = "" -- what came behind the last line
local pasting = false

-- ---- completion ----

--- What stands before the last "." or ":": a path from a global name, whose steps are only looked up.
local function value_of(path)
  local value = _G
  for name in path:gmatch "[%a_][%w_]*" do
    local ok, inner = pcall(function() return value[name] end)
    if not ok or inner == nil then return nil end
    value = inner
  end
  return value
end

--- The names that go on where `before` ends.
local function complete(before)
  local word = before:match "[%w_]*$"
  local path = before:match "([%a_][%w_%.]*)[%.:][%w_]*$" or ""
  local value, found = value_of(path), {}
  if value == nil or word .. path == "" then return 0, found end
  for _, name in ipairs(members.of(value)) do
    if name:sub(1, #word) == word then found[#found + 1] = name end
  end
  return #word, found
end

-- ---- at a terminal ----

local function new_line(host, text)
  return lineedit.new {
    prompt = text, history = history.lines(), complete = complete, columns = members.columns, pasting = pasting,
    width = function() return (select(2, host:size())) end,
  }
end

--- Until the line is done. Returns its text, or nil at the end of input.
local function edit(host, line)
  local done, rest = line:feed(unread)
  unread = ""
  while not done do
    host:write(line:output())
    local typed = host:read()
    if typed == "" then break end
    done, rest = line:feed(typed)
  end
  unread, pasting = rest or "", line.pasting
  return done == "line" and line:text() or nil
end

local function read_edited(text)
  local host = terminal.open()
  host:keys()
  local line = new_line(host, text)
  local ok, result = pcall(edit, host, line)
  if not ok then
    line:abandon()
    unread, pasting = "", false
  end
  host:write(line:output())
  host:restore()
  if not ok then error(result, 0) end
  if result then history.add(result) end
  return result
end

-- ---- elsewhere ----

local function read_plain(text)
  io.stdout:write(text)
  io.stdout:flush()
  while true do
    local line, rest = unread:match "^([^\n]*)\n(.*)"
    if line then
      unread = rest
      return line
    end
    sched.wait_fd(0, "r")
    local more = spawn.read(0, 4096) or ""
    if more == "" then
      line, unread = unread, ""
      return line ~= "" and line or nil
    end
    unread = unread .. more
  end
end

local function can_edit()
  local term = os.getenv "TERM" or "dumb"
  return term ~= "dumb" and term ~= "" and ffi.C.isatty(0) ~= 0 and ffi.C.isatty(1) ~= 0
end

--- One line without its newline; nil at the end of input. Ctrl-C raises its cancellation.
---@param text string  the prompt
---@return string?
function prompt.read(text)
  return (can_edit() and read_edited or read_plain)(text)
end

--- Forgets what was typed ahead.
function prompt.flush() unread, pasting = "", false end

return prompt
