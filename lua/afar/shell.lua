--- Commands as values: what p:exec and p:run take, built up step by step, and printed as a line that a shell would take.

local fds = require "afar.fd"

local shell = {}

---@class afar.Command
local Command = { __name = "command" }
Command.__index = Command

--- A word as a POSIX shell takes it.
---@param word string
function shell.quote(word)
  if word:find "^[%w@%%_+=:,./-]+$" then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local with_env

--- The field env is the variables, as p:exec takes them; called as a method it gives a new command.
local Environment = { __call = function(_, command, variables) return with_env(command, variables) end }

local function copy(command)
  local own = {}
  for key, value in pairs(command) do own[key] = value end
  local variables = {}
  for name, value in pairs(own.env or {}) do variables[name] = value end
  own.env = setmetatable(variables, Environment)
  return setmetatable(own, Command)
end

--- afar.command{ "program", "argument", ..., env = ... }: a command that p:exec and p:run take; all options of theirs. Its methods give a new one.
---@param spec table|string  a string: the program alone
---@return afar.Command
function shell.command(spec)
  if type(spec) == "string" then spec = { spec } end
  if type(spec) ~= "table" then error(("command: a table was expected, not %s"):format(type(spec)), 2) end
  return copy(spec)
end

--- With more arguments.
---@return afar.Command
function Command:arg(...)
  local own = copy(self)
  for i = 1, select("#", ...) do
    local word = select(i, ...)
    local t = type(word)
    if t ~= "string" and t ~= "number" and getmetatable(word) ~= fds.Fd then
      error(("arg: argument %d is a %s, not a string"):format(i, t), 2)
    end
    own[#own + 1] = word
  end
  return own
end

--- command:env{ NAME = "value" }: with more variables of the environment; false takes one away.
---@param variables table<string, string|number|false>
---@return afar.Command
function with_env(self, variables)
  local own = copy(self)
  for name, value in pairs(variables) do
    if type(name) ~= "string" or name == "" or name:find "[=%z]" then
      error(("env: %q is no variable's name"):format(tostring(name)), 3)
    end
    own.env[name] = value
  end
  return own
end

--- With other options: command:with{ cwd = "/tmp", stdout = fd }.
---@return afar.Command
function Command:with(options)
  local own = copy(self)
  for key, value in pairs(options) do
    if type(key) ~= "string" then error("with: options have names; arguments are given by arg", 2) end
    own[key] = value
  end
  return copy(own)
end

local function assignments(self)
  local set, unset = {}, {}
  for name, value in pairs(rawget(self, "env") or {}) do
    if value then
      set[#set + 1] = name .. "=" .. shell.quote(tostring(value))
    else
      unset[#unset + 1] = "-u " .. shell.quote(name)
    end
  end
  table.sort(set)
  table.sort(unset)
  local clean = rawget(self, "clean_env") and { "-i" } or {}
  if #clean + #unset == 0 then return set end
  local words = { "env" }
  for _, list in ipairs { clean, unset, set } do
    for _, word in ipairs(list) do words[#words + 1] = word end
  end
  return words
end

--- The line that a shell would take.
function Command:__tostring()
  local words = assignments(self)
  for _, word in ipairs(self) do
    words[#words + 1] = shell.quote(type(word) == "table" and tostring(word.number) or tostring(word))
  end
  local line = table.concat(words, " ")
  local cwd = rawget(self, "cwd")
  return cwd and ("cd %s && %s"):format(shell.quote(cwd), line) or line
end

return shell
