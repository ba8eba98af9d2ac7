--- The ids of a new user namespace: /proc/PID/uid_map, gid_map and setgroups; see user_namespaces(7).

local errors = require "afar.error"
local nearest = require "afar.nearest"

local userns = {}

local OPTIONS = { uid_map = true, gid_map = true, cgroup = true }

local function bad(p, call, message) error(errors.new(p, call, nil, message), 0) end

local function check_map(p, call, name, map)
  local t = type(map)
  if t == "nil" or t == "boolean" or t == "string" then return end
  if t == "number" and map >= 0 and map % 1 == 0 then return end
  if t ~= "table" or #map == 0 then bad(p, call, name .. ": an id, a list of { inside, outside, count }, or false was expected") end
  for i, range in ipairs(map) do
    for j = 1, 3 do
      if type(range) ~= "table" or type(range[j]) ~= "number" then
        bad(p, call, ("%s: range %d is no { inside, outside, count }"):format(name, i))
      end
    end
  end
end

--- Raises what is wrong with the options of clone and unshare.
function userns.check(p, call, options)
  if options == nil then return {} end
  if type(options) ~= "table" then bad(p, call, ("a table of options was expected, not %s"):format(type(options))) end
  for key in pairs(options) do
    local near = not OPTIONS[key] and nearest(tostring(key), OPTIONS)
    if near or not OPTIONS[key] then
      bad(p, call, ("there is no option %q%s"):format(tostring(key), near and (" (did you mean %q?)"):format(near) or ""))
    end
  end
  check_map(p, call, "uid_map", options.uid_map)
  check_map(p, call, "gid_map", options.gid_map)
  return options
end

--- The lines of a map; and whether it is the one id of its own, which needs no privilege.
local function lines(map, own)
  if type(map) == "string" then return map, false end
  if type(map) ~= "table" then return ("%d %d 1\n"):format(map == true and 0 or map or 0, own), true end
  local list = {}
  for i, range in ipairs(map) do list[i] = ("%d %d %d\n"):format(range[1], range[2], range[3]) end
  return table.concat(list), #map == 1 and map[1][2] == own and map[1][3] == 1
end

local function write(p, path, text)
  p:chain(function(c)
    local fd = c:open(path, "O_WRONLY")
    fd:write(text)
    fd:close()
  end)
end

--- The space's memory belongs to nobody but root since one of its processes changed ids without exec: then these files can't be
--- opened. For the moment of writing it is made dumpable.
local function write_dumpable(p, path, text)
  local ok, err = pcall(write, p, path, text)
  if ok then return end
  if not errors.is(err, "EACCES") or p:prctl("PR_GET_DUMPABLE") == 1 then error(err, 0) end
  p:prctl("PR_SET_DUMPABLE", 1)
  ok, err = pcall(write, p, path, text)
  p:prctl("PR_SET_DUMPABLE", 0)
  if not ok then error(err, 0) end
end

local function with_tool(parent, tool, pid, text)
  local command = { tool, pid }
  for number in text:gmatch "%d+" do command[#command + 1] = number end
  parent:run(command)
end

--- Ranges are written by the parent, with its privilege; or by the set-user-id tools, which allow what /etc/subuid does.
local function write_ranges(p, name, text)
  local parent, pid = p.parent, p.child and p.child.pid
  if not pid then bad(p, "unshare", "ranges of ids are written by a process's parent, and a root has none here") end
  local ok, err = pcall(write, parent, ("/proc/%d/%s"):format(pid, name), text)
  if ok then return end
  if not errors.is(err, "EPERM") and not errors.is(err, "EACCES") then error(err, 0) end
  local tool = "new" .. name:gsub("_", "")
  local ran, why = pcall(with_tool, parent, tool, pid, text)
  if ran then return end
  err.hint = ("the parent may not write it, and %s refused: %s"):format(tool, tostring(why))
  error(err, 0)
end

local function write_one(p, name, map, own)
  local text, own_id = lines(map, own)
  if own_id then return write_dumpable(p, "/proc/self/" .. name, text) end
  write_ranges(p, name, text)
end

--- Writes the maps of the user namespace that `p` is the first process of.
---@param p afar.Process
---@param options { uid_map?: any, gid_map?: any }
---@param uid integer  its effective ids as they were outside
---@param gid integer
function userns.map(p, options, uid, gid)
  if options.gid_map ~= false then
    local _, own = lines(options.gid_map, gid)
    if own then write_dumpable(p, "/proc/self/setgroups", "deny") end
    write_one(p, "gid_map", options.gid_map, gid)
  end
  if options.uid_map ~= false then write_one(p, "uid_map", options.uid_map, uid) end
end

return userns
