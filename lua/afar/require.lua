--- `require` and `dofile` in Lua, with the semantics of LuaJIT's: its own are written in C, through which nothing can wait,
--- and a module may make remote calls while it is being loaded.

local replacement = {}

local LOADING = newproxy(false) -- stands in package.loaded while a module is being loaded, and after it failed
local loading = {} -- module name -> { routine = who loads it, waiters... }
local waits_for = {} -- routine -> module name

local function current()
  local sched = package.loaded["afar.sched"]
  return type(sched) == "table" and sched.current() or nil
end

--- Whether `routine` would wait for itself.
local function is_circle(routine, name)
  while name do
    local owner = loading[name] and loading[name].routine
    if owner == routine then return true end
    name = owner and waits_for[owner]
  end
  return false
end

--- Another routine is loading the module: wait until it has done so.
local function wait_for(routine, name)
  local sched, loop = require "afar.sched", require "afar.loop"
  local id = loop.id()
  table.insert(loading[name], id)
  waits_for[routine] = name
  local ok, err = pcall(sched.wait, id, function() return true end)
  waits_for[routine] = nil
  if not ok then error(err, 0) end
end

local function settle(name, ok, ...)
  local entry = loading[name]
  loading[name] = nil
  for _, id in ipairs(entry) do
    require("afar.loop").complete(id)
  end
  if not ok then error((...), 0) end
  return ...
end

local function find_loader(name)
  local tried = { ("module '%s' not found:"):format(name) }
  if type(package.loaders) ~= "table" then error("'package.loaders' must be a table", 3) end
  for _, searcher in ipairs(package.loaders) do
    local ok, found = pcall(searcher, name) -- so that no position of ours gets into its message
    if not ok then error(found, 0) end
    if type(found) == "function" then return found end
    if type(found) == "string" then tried[#tried + 1] = found end
  end
  error(table.concat(tried), 3)
end

local function run_loader(name, routine)
  local loader = find_loader(name)
  package.loaded[name] = LOADING
  local value
  if routine then
    loading[name] = { routine = routine }
    value = settle(name, pcall(loader, name))
  else
    value = loader(name)
  end
  if value ~= nil then package.loaded[name] = value end
  if package.loaded[name] == LOADING then package.loaded[name] = true end
  return package.loaded[name]
end

function replacement.require(name)
  if type(name) == "number" then name = tostring(name) end
  if type(name) ~= "string" then
    error(("bad argument #1 to 'require' (string expected, got %s)"):format(name == nil and "no value" or type(name)), 2)
  end
  local routine = current()
  while package.loaded[name] == LOADING and routine and loading[name] and not is_circle(routine, name) do
    wait_for(routine, name)
  end
  local value = package.loaded[name]
  if value == LOADING then error(("loop or previous error loading module '%s'"):format(name), 2) end
  if value then return value end
  return run_loader(name, routine)
end

function replacement.dofile(path)
  local chunk, err = loadfile(path)
  if not chunk then error(err, 0) end
  return chunk()
end

--- Puts them in place of the globals.
function replacement.install()
  _G.require, _G.dofile = replacement.require, replacement.dofile
end

return replacement
