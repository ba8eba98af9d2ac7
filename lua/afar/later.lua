--- Methods whose modules are loaded once somebody asks for one of them: what a script doesn't use neither takes time at its start nor is
--- looked through in each of the collector's rounds. Such a module gives methods to processes and fds only: nobody would find others.

local later = {}

local modules = {} -- name of a method, of processes or fds -> the module that defines it

--- Names of methods that `module` will define.
---@param names string  with blanks between
function later.define(module, names)
  for name in names:gmatch "%S+" do modules[name] = module end
end

--- What is still to be loaded.
---@return table<string, string> modules  by the names of their methods
function later.all()
  local all = {}
  for name, module in pairs(modules) do all[name] = module end
  return all
end

--- Loads the module that defines methods of that name; whether there was one that wasn't loaded yet.
---@return boolean
function later.load(name)
  local module = modules[name]
  if not module then return false end
  modules[name] = nil
  require(module)
  return true
end

--- Loads all of them: for who wants to know all methods.
function later.load_all()
  for name in pairs(later.all()) do later.load(name) end
end

return later
