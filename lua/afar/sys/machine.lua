--- Builds the tables of one architecture out of the modules' data.
local constants = require "afar.sys.constants"
local ffi = require "ffi"
local modules = require "afar.sys.modules"
local signature = require "afar.sys.signature"

---@class afar.Machine
---@field name "x86_64"|"aarch64"
---@field nr table<string, integer>           system call -> number
---@field nr_name table<integer, string>      number -> system call
---@field signature table<string, string[]>   system call -> its parameters
---@field C table<string, number|ffi.cdata*>  the constants; uint64_t where a number would not be exact
---@field methods table<string, function>     system call -> the method of processes that makes it; filled by syscall.lua
---@field errno table<integer, string>        number -> name of the error
---@field ctype table<string, ffi.ctype*>     the kernel's structures
local Machine = { __name = "afar.Machine", const = constants.const, names = constants.names }
Machine.__index = Machine

function Machine:__tostring() return ("afar.Machine(%s)"):format(self.name) end

local function copy(from, to)
  for key, value in pairs(from or {}) do
    to[key] = value
  end
end

local function add_calls(m)
  local number
  for word in require("afar.sys." .. m.name .. ".nr"):gmatch "%S+" do
    if tonumber(word) then
      number = tonumber(word)
    else
      m.nr[word], m.nr_name[number] = number, word
      number = number + 1
    end
  end
end

local function add_errors(m, data)
  for name, entry in pairs(data.errors) do
    m.C[name], m.errno[entry[1]] = entry[1], name
  end
  for alias, name in pairs(data.aliases) do
    m.C[alias] = m.C[name]
  end
end

-- In the modules a structure is `struct @name`: its C name says whose it is, as two architectures share one LuaJIT.
-- That LuaJIT may have them already, from before this module was loaded anew.
local function add_structures(m, text)
  if not text then return end
  local prefix = ("afar_%s_"):format(m.name)
  local names = {}
  for name in text:gmatch "struct @([%w_]+) {" do
    names[#names + 1] = name
  end
  if not pcall(ffi.typeof, "struct " .. prefix .. names[1]) then ffi.cdef((text:gsub("@", prefix))) end
  for _, name in ipairs(names) do
    m.ctype[name] = ffi.typeof("struct " .. prefix .. name)
  end
end

local function add_module(m, data)
  local own = data[m.name] or {}
  copy(data.constants, m.C)
  copy(data.newer, m.C)
  copy(data.unchecked, m.C)
  copy(own.constants, m.C)
  if data.errors then add_errors(m, data) end
  add_structures(m, own.structs)
  add_structures(m, data.structs)
  add_structures(m, data.newer_structs)
end

---@param name "x86_64"|"aarch64"
---@return afar.Machine
return function(name)
  local m = { name = name, nr = {}, nr_name = {}, methods = {}, C = {}, errno = {}, signature = setmetatable({}, { __index = signature }) }
  m.ctype = { sigset = ffi.typeof "uint64_t" }
  add_calls(m)
  for _, module in ipairs(modules) do
    add_module(m, require("afar.sys." .. module))
    if module ~= "errno" then package.loaded["afar.sys." .. module] = nil end -- all of it is in `m`: not twice for the collector
  end
  if name == "aarch64" then m.signature.clone = { "clone_flags", "newsp", "parent_tidptr", "tls", "child_tidptr" } end
  return setmetatable(m, Machine)
end
