--- Run first: makes `require` find what is embedded, and puts the Lua versions of require and dofile in place.
--- AFAR_LUA=DIR: the library is taken from DIR/afar instead, for those who work on it.

local embedded = require "afar.embedded"
local directory = os.getenv "AFAR_LUA"
if directory == "" then directory = nil end

local function is_ours(name) return name == "afar" or name:sub(1, 5) == "afar." end

local function load_from(path, chunk_name)
  local file = io.open(path, "rb")
  if not file then return nil end
  local source = file:read "*a"
  file:close()
  return assert(loadstring(source, chunk_name))
end

local function from_directory(name)
  local path = name:gsub("%.", "/")
  for _, file in ipairs { path .. ".lua", path .. "/init.lua" } do
    local chunk = load_from(directory .. "/" .. file, "@" .. file)
    if chunk then return chunk end
  end
end

if directory and not load_from(directory .. "/afar/main.lua") then
  error(("AFAR_LUA: there is no afar/main.lua in %s"):format(directory), 0)
end

local find = directory and from_directory or embedded.load

-- Right behind package.preload, so that no file of the same name gets in between.
table.insert(package.loaders, 2, function(name)
  if not is_ours(name) then return nil end
  return find(name) or ("\n\tno module '%s' in %s"):format(name, directory or "this program")
end)

require("afar.require").install()
