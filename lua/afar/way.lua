--- A way into a process: a program that passes on a shell command, by which a root comes up at its far end. What all ways have
--- in common; one small file each in lua/afar/ways/ says what is its own.

local ask = require "afar.ask"
local bootstrap = require "afar.bootstrap"
local errors = require "afar.error"
local nearest = require "afar.nearest"
local process = require "afar.process"

local way = {}

--- What becomes the root, where a program takes a command of several words.
way.SHELL = { "/bin/sh", "-c", bootstrap.SCRIPT }

local COMMON = { name = true, program = true, options = true, env = true, timeout = true }

-- ---- why it failed ----

local RULES = {
  {
    what = "no_shell",
    '"?/bin/sh"?.*[Nn]o such file',
    '"?/bin/sh"?.*not found',
    message = "there is no /bin/sh in it",
    hint = "a fork that goes there by itself needs none: p:fork() with its chroot(...) or setns(...)",
  },
  { what = "no_program", "command not found", message = "the program is not there" },
}

local function match(rules, said)
  for _, rule in ipairs(rules) do
    for _, pattern in ipairs(rule) do
      for line in said:gmatch "[^\r\n]+" do
        if line:find(pattern) then return rule, line:match "^%s*(.-)%s*$" end
      end
    end
  end
end

--- A function that says why the program failed, from what it said: the first rule of which a pattern is in one of its lines.
---@param rules table[] { what = "denied", "pattern", ..., message = "...", hint = "..." }
function way.explainer(rules)
  return function(_, stderr, noise)
    local said = stderr .. "\n" .. noise
    local rule, line = match(rules, said)
    if not rule then rule, line = match(RULES, said) end
    if rule then return rule.what, ("%s (%s)"):format(rule.message, line), rule.hint end
  end
end

-- ---- options ----

local function bad(p, call, message) error(errors.new(p, call, nil, message), 0) end

local function check_options(p, call, given, known)
  if given ~= nil and type(given) ~= "table" then bad(p, call, ("the options are a table, not %s"):format(type(given))) end
  for key in pairs(given or {}) do
    if type(key) == "string" and not known[key] and not COMMON[key] then
      local all = {}
      for _, set in ipairs { known, COMMON } do
        for name in pairs(set) do all[name] = true end
      end
      local near = nearest(key, all)
      bad(p, call, ("there is no option %q%s"):format(key, near and (" (did you mean %q?)"):format(near) or ""))
    end
  end
end

--- A word that a program must not take for an option.
function way.check_word(p, call, what, value)
  if type(value) == "number" then return ("%.14g"):format(value) end
  if type(value) ~= "string" or value == "" then bad(p, call, ("%s is a string, not %s"):format(what, type(value))) end
  if value:find "^%-" then bad(p, call, ("%s begins with a \"-\": %q"):format(what, value)) end
  if value:find "%z" then bad(p, call, ("%s has a NUL byte in it"):format(what)) end
  return value
end

--- Options of a program from a table, in the order of their names: { user = "x", all = true } gives --user=x --all. An underscore
--- stands for a dash; false is left out; a list gives the option several times.
function way.flags(given, names)
  local words = {}
  local keys = {}
  for key in pairs(given) do
    if names[key] then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local flag = "--" .. key:gsub("_", "-")
    local value = given[key]
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      if one == true then
        words[#words + 1] = flag
      elseif one then
        words[#words + 1] = flag .. "=" .. tostring(one)
      end
    end
  end
  return words
end

--- All the words of several lists.
function way.join(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, word in ipairs(type(list) == "table" and list or { list }) do all[#all + 1] = word end
  end
  return all
end

-- ---- passwords ----

local function ask_terminal(p, call, question)
  local ok, word = pcall(ask, question)
  if ok then return word end
  if type(word) == "string" then word = errors.new(p, call, nil, word, { name = "denied" }) end
  error(word, 0)
end

--- A function that answers: the script's own (given the question and how often it was asked before), or the terminal's.
---@param password? string|fun(question: string, before: integer): string?
---@return fun(question: string): string
function way.answerer(p, call, password)
  local before = 0
  local kind = type(password)
  if password ~= nil and kind ~= "function" and kind ~= "string" then
    bad(p, call, ("password is a function or a string, not %s"):format(kind))
  end
  return function(question)
    local word
    if password == nil then
      word = ask_terminal(p, call, question)
    elseif kind == "string" then
      word = before == 0 and password or nil
    else
      word = password(question, before)
    end
    before = before + 1
    if type(word) == "string" and not word:find "[\r\n%z]" then return word end
    local why = kind == "string" and "the password was not accepted" or "no password was given"
    error(errors.new(p, call, nil, why, { name = "denied" }), 0)
  end
end

-- ---- the ways ----

---@class afar.WayOptions
---@field name? string      how errors call what was reached
---@field program? string   its path or other name
---@field options? string[] further options of the program, as they are
---@field env? table        for the program, as of p:exec
---@field timeout? number|false  seconds within which the root must be up (120), without those in which somebody is asked

local function spec_of(p, name, what, target, o)
  local spec = way.join(o.program or what.program or name, o.options or {}, what.words(p, target, o))
  spec.env = o.env
  return spec
end

local function label_of(p, name, what, target, o)
  return o.name or what.label and what.label(p, target, o) or ("%s on %s"):format(target or name, p.machine.name)
end

--- The method p:NAME(target, options) of a way.
---@param name string
---@param what { options?: string[], target?: string, default?: string, words: function, label?: function, rules?: table, extra?: function, program?: string }
---   target: what the first argument is, for errors; without it there is only the table of options
---   words(p, target, o): the program's arguments, behind its name and o.options
---   label(p, target, o): the machine's name; extra(p, target, o, opts, spec): more options of bootstrap.start, put into opts; changes of the command
function way.method(name, what)
  local known, explain = {}, way.explainer(what.rules or {})
  for _, option in ipairs(what.options or {}) do known[option] = true end
  return function(self, target, o)
    if not what.target then
      target, o = nil, target
    elseif target == nil then
      target = what.default
    end
    check_options(self, name, o, known)
    o = o or {}
    if what.target then target = way.check_word(self, name, what.target, target) end
    local spec = spec_of(self, name, what, target, o)
    local opts = { explain = explain, name = label_of(self, name, what, target, o), timeout = o.timeout }
    if what.extra then what.extra(self, target, o, opts, spec) end
    return bootstrap.start(self, name, spec, opts)
  end
end

--- Defines that method.
function way.define(name, what) process.define(name, way.method(name, what)) end

return way
