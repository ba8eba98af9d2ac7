--- p:glob: the paths that fit a pattern.

local directory = require "afar.directory"
local errors = require "afar.error"
local paths = require "afar.path"
local process = require "afar.process"
local together = require "afar.together"

local glob = {}

local LISTED = 128 -- directories that are listed at once

--- A class, "[a-z]" or "[!a-z]", from `at` on, as a Lua pattern; and where it ends. nil: it isn't closed, and stands for itself.
local function class(part, at)
  local first = part:match("^%[[!^]?()%]", at) or at + 1 -- "]" as the first is one of the characters
  local stop = part:find("]", first + 1, true) or part:match("^%[[!^]?[^]]()%]", at)
  if not stop then return nil end
  local negated, inner = part:sub(at + 1, stop - 1):match "^([!^]?)(.*)$"
  return "[" .. (negated ~= "" and "^" or "") .. inner:gsub("[%%%]%[%^]", "%%%0") .. "]", stop
end

--- One part of a pattern, between slashes, as a Lua pattern; nil when it has nothing special in it.
function glob.pattern(part)
  local made, at, special = { "^" }, 1, false
  while at <= #part do
    local c = part:sub(at, at)
    local piece = c:gsub("%W", "%%%0")
    if c == "*" then
      piece, special = ".*", true
    elseif c == "?" then
      piece, special = ".", true
    elseif c == "\\" and at < #part then
      at = at + 1
      piece = part:sub(at, at):gsub("%W", "%%%0")
    elseif c == "[" then
      local made_class, stop = class(part, at)
      if made_class then piece, at, special = made_class, stop, true end
    end
    made[#made + 1] = piece
    at = at + 1
  end
  if not special then return nil end
  return table.concat(made) .. "$"
end

--- Whether a name fits; those that begin with a dot do only where the pattern has one.
local function fits(name, part, pattern)
  if name:sub(1, 1) == "." and part:sub(1, 1) ~= "." then return false end
  return name:find(pattern) ~= nil
end

local function plain(part) return (part:gsub("\\(.)", "%1")) end

--- A directory's entries; none where it can't be listed, as glob(3) has it.
local function entries(p, dir)
  local ok, list = pcall(directory.list, p, dir == "" and "." or dir, "glob")
  if ok then return list end
  if errors.is(list) and list.errno then return {} end
  error(list, 0)
end

local function join(dir, name) return dir == "" and name or paths.join(dir, name) end

--- The entries of many directories.
local function entries_of(p, dirs)
  local lists = {}
  together(dirs, LISTED, function(dir, i) lists[i] = entries(p, dir) end)
  return lists
end

--- All directories from `dirs` down, these too.
local function beneath(p, dirs)
  local found, level = {}, dirs
  while #level > 0 do
    local below = {}
    for i, list in ipairs(entries_of(p, level)) do
      found[#found + 1] = level[i]
      for _, entry in ipairs(list) do
        if entry.type == "directory" and entry.name:sub(1, 1) ~= "." then below[#below + 1] = join(level[i], entry.name) end
      end
    end
    level = below
  end
  return found
end

--- What of the directories `dirs` fits the part of a pattern; `more`: parts follow, so only what may be a directory counts.
local function expand(p, dirs, part, more)
  if part == "**" then return beneath(p, dirs) end
  local found, pattern = {}, glob.pattern(part)
  if not pattern then
    for i, dir in ipairs(dirs) do found[i] = join(dir, plain(part)) end
    return found
  end
  for i, list in ipairs(entries_of(p, dirs)) do
    for _, entry in ipairs(list) do
      local may_be = not more or entry.type == "directory" or entry.type == "symlink" or entry.type == "unknown"
      if may_be and fits(entry.name, part, pattern) then found[#found + 1] = join(dirs[i], entry.name) end
    end
  end
  return found
end

--- Those that are there: a part without anything special was taken as it is.
local function existing(p, found, flags)
  local stats, kept = p:stat_many(found, flags), {}
  for i, path in ipairs(found) do
    if stats[i] then kept[#kept + 1] = path end
  end
  return kept
end

--- p:glob(pattern): the paths that fit, sorted; see glob(7): "*", "?", "[a-z]", "[!a-z]", a backslash before what is meant as it is; and "**" as a whole
--- part: directories of any depth. Names that begin with a dot are found only by patterns that do. What can't be read has nothing in it. {} when nothing fits.
---@param pattern string
---@return string[]
process.define("glob", function(self, pattern)
  if type(pattern) ~= "string" or pattern == "" then error("glob: the pattern must be a string", 2) end
  local parts = {}
  for part in pattern:gmatch "[^/]+" do parts[#parts + 1] = part end
  local found, literal = { pattern:sub(1, 1) == "/" and "/" or "" }, false
  for i, part in ipairs(parts) do
    if part == "**" and i == #parts then part = "*" end
    found = expand(self, found, part, i < #parts)
    literal = part ~= "**" and not glob.pattern(part)
  end
  if literal or #parts == 0 then found = existing(self, found, "AT_SYMLINK_NOFOLLOW") end
  if pattern:sub(-1) == "/" and #parts > 0 then
    for i, path in ipairs(found) do found[i] = path .. "/" end
    found = existing(self, found)
  end
  table.sort(found)
  return found
end)

return glob
