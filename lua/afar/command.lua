--- What is to be executed: { "program", "argument", ..., env = {...}, stdin = ..., cwd = ... }; and its arrays in memory.

local ffi = require "ffi"
local errors = require "afar.error"
local nearest = require "afar.nearest"
local passing = require "afar.passing"
local variables = require "afar.variables"

local command = {}

local DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local OPTIONS = {
  env = true, clean_env = true, stdin = true, stdout = true, stderr = true, cwd = true, argv0 = true, check = true, timeout = true,
  ignore = true, keep = true, umask = true, listen_fds = true, fd = true, at = true, tree = true,
}

local function check_env(env, bad)
  if env == nil then return end
  if type(env) ~= "table" then bad(('env is a table, { NAME = "value" }, not %s'):format(type(env))) end
  for name, value in pairs(env) do
    local t = type(value)
    if type(name) ~= "string" or name == "" or name:find "[=%z]" then
      bad(('env: %s is no name of a variable; { NAME = "value" }'):format(type(name) == "string" and ("%q"):format(name) or tostring(name)))
    end
    if t ~= "string" and t ~= "number" and value ~= false then bad(("env: %s is a %s, not a string, or false"):format(name, t)) end
    if t == "string" and value:find "%z" then bad(("env: %s has a NUL byte in it"):format(name)) end
  end
end

--- Checks what the script gave, so that a mistake is told before anything was done.
---@param p afar.Process
---@param call string
---@param spec table  its arguments may be fds: passing.resolve puts their numbers in
function command.check(p, call, spec)
  local function bad(message) error(errors.new(p, call, nil, message), 0) end
  if type(spec) == "string" then bad(('a table was expected: %s{ "%s" }'):format(call, spec)) end
  if type(spec) ~= "table" then bad(("a table was expected, not %s"):format(type(spec))) end
  if #spec == 0 then bad "the program's name is missing" end
  for i = 1, table.maxn(spec) do
    local t = type(spec[i])
    if t == "number" then
      spec[i] = ("%.14g"):format(spec[i])
    elseif t ~= "string" and not (i > 1 and passing.is_fd(spec[i])) then
      bad(("argument %d is %s, not a string"):format(i, t == "nil" and t or "a " .. t))
    elseif t == "string" and spec[i]:find("\0", 1, true) then
      bad(("argument %d has a NUL byte in it"):format(i))
    end
  end
  for key in pairs(spec) do
    if type(key) == "string" and not OPTIONS[key] then
      local near = nearest(key, OPTIONS)
      bad(("there is no option %q%s"):format(key, near and (" (did you mean %q?)"):format(near) or ""))
    end
  end
  check_env(spec.env, bad)
end

--- The environment of what is executed: the process's own, changed by spec.env (false takes a variable away); or only spec.env's.
local function environ(p, spec)
  local all, list = {}, {}
  if not spec.clean_env then
    for name, value in pairs(variables.of(p)) do all[name] = value end
  end
  for name, value in pairs(spec.env or {}) do all[name] = value end
  for name, value in pairs(all) do
    if value then list[#list + 1] = name .. "=" .. tostring(value) end
  end
  table.sort(list)
  return list
end

--- A NULL-terminated array of strings at `address`, as bytes: the pointers, then the strings.
local function array(address, strings)
  local pointers = ffi.new("uint64_t[?]", #strings + 1)
  local at = address + 8 * (#strings + 1)
  for i, text in ipairs(strings) do
    pointers[i - 1] = at
    at = at + #text + 1
  end
  return ffi.string(pointers, 8 * (#strings + 1)) .. table.concat(strings, "\0") .. (#strings > 0 and "\0" or "")
end

local function array_size(strings)
  local size = 8 * (#strings + 1)
  for _, text in ipairs(strings) do size = size + #text + 1 end
  return size
end

--- Puts a NULL-terminated array of strings into the chain's memory; returns its address.
function command.store_array(r, strings)
  local address = r:scratch(array_size(strings))
  r:store(address, array(address, strings))
  return address
end

--- It is in memory: the next one finds it there.
local function keep_environ(entry)
  local space = entry.space
  local old = space.environ
  if old == entry or space.machine.plain_clone or old and variables.same(old.variables, entry.variables) then return end
  space.environ = entry
  if old and old.users == 0 then space:free(old.address, old.size) end
end

--- The environment's array. It is the same for nearly all that a process executes: kept in its memory from one to the next, unless
--- this program has one of its own.
function command.store_environ(r, p, spec)
  if spec.env or spec.clean_env then return command.store_array(r, environ(p, spec)) end
  local entry = p.space.environ
  if not entry or not variables.same(entry.variables, variables.of(p)) then
    local list = environ(p, spec)
    entry = { variables = variables.share(p), size = array_size(list), space = p.space, users = 0 }
    entry.address = p.space:alloc(p, entry.size)
    r:store(entry.address, array(entry.address, list))
    if p.space:in_place(entry.address, entry.size) then keep_environ(entry) end
  end
  entry.users = entry.users + 1
  r.environ = entry
  return entry.address
end

--- The exec is over, or it will not be tried: its environment's array is kept for the next one if it surely is in memory by now; who executes at
--- the same time could not know. `stored`: the requests that put it there were answered.
function command.settle_environ(r, stored)
  local entry = r.environ
  if not entry then return end
  r.environ = nil
  entry.users = entry.users - 1
  local space = entry.space
  if stored or r.requests and r.requests:result(1) then keep_environ(entry) end
  if entry.users == 0 and space.environ ~= entry then space:free(entry.address, entry.size) end
end

--- Where a program's name is looked for.
function command.search_path(p, spec) return spec.env and spec.env.PATH or variables.of(p).PATH or DEFAULT_PATH end

--- The paths at which a program's name may be found, in order; see execvp(3).
function command.candidates(p, spec)
  local name = spec[1]
  if name:find("/", 1, true) then return { name } end
  local path = command.search_path(p, spec)
  local list = {}
  for dir in (path .. ":"):gmatch "([^:]*):" do
    list[#list + 1] = (dir == "" and "." or dir) .. "/" .. name
  end
  return list
end

return command
