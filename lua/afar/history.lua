--- The lines that were typed at the prompt: kept in a file from one to the next.

local ffi = require "ffi"

ffi.cdef [[
  int mkdir(const char *path, unsigned mode);
  unsigned umask(unsigned mask);
]]

local history = {}

local MOST = 1000 -- lines that are read; a file of twice as many is shortened
local lines, path

--- $AFAR_HISTORY ("": none), or in the folder in which persistent processes have their sockets, too.
local function path_of()
  local own = os.getenv "AFAR_HISTORY"
  if own then return own ~= "" and own or nil end
  local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
  if not state or state:sub(1, 1) ~= "/" then
    if not home or home == "" then return nil end
    for _, part in ipairs { "/.local", "/.local/state" } do ffi.C.mkdir(home .. part, 448) end
    state = home .. "/.local/state"
  end
  ffi.C.mkdir(state .. "/afar", 448) -- 0700
  return state .. "/afar/history"
end

--- Opened so that nobody else may read what is new; nil where that can't be done: then there is only what was typed in this session.
local function open(mode)
  if not path then return nil end
  local before = ffi.C.umask(63) -- 0077
  local file = io.open(path, mode)
  ffi.C.umask(before)
  return file
end

local function shorten()
  local file = open "w"
  if not file then return end
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
end

--- All lines, the oldest first.
---@return string[]
function history.lines()
  if lines then return lines end
  lines, path = {}, path_of()
  local file = open "r"
  if not file then return lines end
  local all = {}
  for line in file:lines() do all[#all + 1] = line end
  file:close()
  for i = math.max(1, #all - MOST + 1), #all do lines[#lines + 1] = all[i] end
  if #all > 2 * MOST then shorten() end
  return lines
end

--- Keeps a line, unless there is nothing in it, or it is the same as the last.
---@param line string
function history.add(line)
  local all = history.lines()
  if not line:find "%S" or line == all[#all] then return end
  all[#all + 1] = line
  local file = open "a"
  if not file then return end
  file:write(line, "\n")
  file:close()
end

return history
