--- A process: one task under our control, with all that is needed to use it. Its methods are system calls, by the names of
--- their manpages, and helpers; both are defined in the modules that lua/afar/init.lua lists.

local chain = require "afar.chain"
local colon = require "afar.colon"
local later = require "afar.later"
local requests = require "afar.requests"
local nearest = require "afar.nearest"
local variables = require "afar.variables"

---@class afar.Process
---@field machine afar.Machine
---@field task userdata        its requests (bindings/task.h)
---@field pid integer          as it sees itself; where that is also its parent's number for it, its child has it
---@field space afar.Space
---@field table afar.FdTable
---@field parent? afar.Process
---@field child? afar.Child    its kernel side, as the parent sees it: wait, kill
---@field environ table<string, string>
local Process = { __name = "process" }

local process = { Process = Process }

local plain = {} -- methods that do several chains, or none: they are given the process
local recorded = {} -- methods that record one chain's requests, so that p:chain can have them

--- `f` as a method, which is told apart from a function that was called with a dot.
local function method(name, f)
  return function(self, ...)
    if getmetatable(self) ~= Process then colon("a process", "p", name, self) end
    return f(self, ...)
  end
end

--- Defines `p:name(...)` as a plain function of the process.
function process.define(name, f) plain[name] = method(name, f) end

--- Defines a call: `f(recorder, process, ...)` records its requests, and returns a function that is given the recorder once it
--- was answered, and the following, and returns the call's value; and the argument (a Ref, a Load) that stands for that value within a chain. A call of two
--- values returns two such pairs.
function process.define_recorded(name, f)
  recorded[name] = f
  plain[name] = method(name, function(self, ...)
    local r = requests.record(self)
    r.name, r.args = name, { n = select("#", ...), ... }
    return process.finish(r, r:by(f, self, ...))
  end)
end

--- The names of all methods that are defined, sorted; beside them each system call is one.
---@return string[]
function process.methods()
  later.load_all()
  local names = {}
  for name in pairs(plain) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Sends what was recorded, waits, and gives the call's values.
function process.finish(r, first, ref, second, second_ref)
  r:run()
  if second then return r:release(first(r, ref), second(r, second_ref)) end
  return r:release(first(r, ref))
end

--- The method that is exactly the system call `name`, or nil: set by syscall.lua, which keeps it with the architecture.
---@type fun(self: afar.Process, name: string): function?
process.raw = nil

--- The recording form of the system call `name`: set by syscall.lua.
---@type fun(name: string): function
process.record_raw = nil

--- A method for `name`: defined, or any system call of that name; else an error with the nearest, which points at the script's line: `level`
--- calls up (tail calls leave no trace).
local function lookup(self, name, level)
  if type(name) ~= "string" then return nil end
  local found = plain[name]
  if found then return found end
  local raw = process.raw(self, name)
  if raw then return raw end
  later.load_all()
  local near = nearest(name, plain) or nearest(name, self.machine.sys.nr)
  error(("a process has no method %q%s"):format(name, near and (" (did you mean %q?)"):format(near) or ""), level)
end

local fields = {
  pid = true, task = true, parent = true, child = true, ended = true, stream = true, carrier = true, channel = true,
  is_root = true, name = true, exec_error = true, saved_mask = true, front = true,
}

function Process:__index(name)
  local found = plain[name] or rawget(self, "machine").sys.methods[name] or later.load(name) and plain[name]
  if found then return found end
  if name == "pid" then
    local child = rawget(self, "child")
    return child and child.pid
  end
  if fields[name] then return nil end
  if name == "environ" then return variables.own(self) end
  return lookup(self, name, 2)
end

local FIELDS = { "pid", "parent", "child", "environ", "machine" } -- those that scripts are told of

--- For the prompt: see members.lua.
function Process.__members()
  local names = process.methods()
  for _, name in ipairs(FIELDS) do names[#names + 1] = name end
  return names
end

function Process:__tostring()
  return ("process %s on %s"):format(self.pid or "?", rawget(self, "machine").name)
end

local recorded_raw = {} -- name -> the recording form of a plain system call

--- For p:chain: the recording form of a method.
local function chain_lookup(name, self)
  later.load(name)
  local found = recorded[name]
  if found then return found end
  if plain[name] then
    error(("%s can't be part of a chain: it takes several by itself"):format(name), 4)
  end
  if not process.raw(self, name) then return lookup(self, name, 4) end
  if not recorded_raw[name] then recorded_raw[name] = process.record_raw(name) end
  return recorded_raw[name]
end

function process.install_chains(fd_methods) chain.define(chain_lookup, fd_methods) end

process.define("chain", function(self, f) return chain.run(self, f) end)

--- Whether calls can be made: it has neither ended, nor execed, nor lost its connection.
process.define("is_alive", function(self) return self.task ~= nil and self.task:state() == "open" end)

--- Makes a process object; `fields_` has machine, task, pid, space, table, environ.
function process.new(fields_)
  local self = setmetatable(fields_, Process)
  self.table.processes[self] = true
  return self
end

--- Forgets the table and space of a process that has ended or execed.
function process.gone(self) self.table.processes[self] = nil end

return process
