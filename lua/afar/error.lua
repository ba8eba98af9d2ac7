--- The errors that system calls and carriers raise.

local sys = require "afar.sys"
local visible = require "afar.visible"

---@class afar.Error
---@field name string      errno name ("ENOENT"), or "unsent", "eof", "lost" for a carrier that ended
---@field errno? integer   positive
---@field call string      the system call as the manpage names it, or what else was asked
---@field args? table      its arguments as the script gave them
---@field process? table   of which process
---@field sent? boolean    for a carrier's end: false when the call was surely not performed
---@field hint? string     what to try
local Error = {}
Error.__index = Error
Error.__name = "error"

local error_object = { Error = Error }

--- An argument, briefly: an fd of the error's own process is its number alone.
local function show(value, process)
  if type(value) == "string" then
    local text = #value > 60 and value:sub(1, 57) .. "..." or value
    return ("%q"):format(text):gsub("\n", "n")
  end
  local mt = getmetatable(value)
  if type(value) == "table" and not (mt and mt.__tostring) then return "{...}" end
  if type(value) == "table" and mt.__name == "fd" and process and value.table == process.table then return ("fd %d"):format(value.number) end
  return (tostring(value))
end

local function show_args(args, process)
  if not args then return "" end
  local shown = {}
  local count = args.n or #args
  while count > 0 and args[count] == nil do
    count = count - 1
  end
  for i = 1, count do
    shown[i] = show(args[i], process)
  end
  return table.concat(shown, ", ")
end

local fates = {
  unsent = "its process or connection had ended before; it was surely not performed",
  eof = "the process ended or execed meanwhile; it may have been performed",
  lost = "the connection broke meanwhile; it may have been performed",
}

function Error:__tostring()
  local call = ("%s(%s)"):format(self.call, show_args(self.args, self.process))
  local where = self.process and " in " .. tostring(self.process) or ""
  local why = self.message
    or fates[self.name]
    or ("%s (%s)"):format(sys.strerror(self.name) or "unknown error", self.name)
  return visible(("%s%s: %s%s"):format(call, where, why, self.hint and "; " .. self.hint or ""))
end

local hints = {
  EMFILE = "close some fds, or raise RLIMIT_NOFILE",
}

local hints_of = {} -- call -> errno's name -> hint

--- What an errno means when a certain call says it, where that isn't plain.
---@param call string
---@param meanings table<string, string>  errno's name -> hint
function error_object.explain(call, meanings) hints_of[call] = meanings end

--- The error of a system call that the kernel refused.
---@param process table
---@param call string
---@param args table|nil
---@param errno integer positive
function error_object.errno(process, call, args, errno)
  local name = process.machine.sys.errno[errno] or ("errno %d"):format(errno)
  local hint = hints_of[call] and hints_of[call][name] or hints[name]
  return setmetatable({ name = name, errno = errno, call = call, args = args, process = process, hint = hint }, Error)
end

--- Why no call to a process can be made any more, where more is known than that its carrier ended.
--- How a process had ended before it was asked for something, as far as that is known; and what to do instead.
local function ending(process)
  local child = rawget(process, "child")
  local argv, status = child and rawget(child, "argv"), child and rawget(child, "status")
  if argv then return ("the process had become another program (%s)"):format(tostring(argv[1])), "what runs is its child, p.child; fork first" end
  if status then return ("the process had ended before (%s)"):format(tostring(status)) end
  local root = rawget(process.machine, "root")
  if root and root.task and root.task:state() ~= "open" then return ("the connection to %s had ended before"):format(process.machine.name) end
end

local function why_lost(process)
  local session, task = rawget(process, "session"), rawget(process, "task")
  if session and session.taken_by then return session.taken_by .. " has taken the process over" end
  if session and session.left then return "this host has let go of the process" end
  local state, fault = "open", nil
  if task then state, fault = task:state() end
  return state == "lost" and fault and ("what came from it can't be understood (%s), and its connection was ended"):format(fault) or nil
end

--- The error of a call whose carrier ended.
---@param fate "unsent"|"eof"|"lost"
function error_object.lost(process, call, args, fate)
  local why = process and why_lost(process)
  local hint
  if process and not why and fate == "unsent" then
    why, hint = ending(process)
  end
  local message = why and ("%s; it %s"):format(why, fate == "unsent" and "was surely not performed" or "may have been performed")
  return setmetatable({ message = message or nil, name = fate, sent = fate ~= "unsent", call = call, args = args, process = process, hint = hint }, Error)
end

--- Any other error about a process: `message` says what is wrong.
function error_object.new(process, call, args, message, fields)
  local err = setmetatable({ name = "error", call = call, args = args, process = process, message = message }, Error)
  for key, value in pairs(fields or {}) do
    err[key] = value
  end
  return err
end

--- Whether `err` is the errno `name` ("ENOENT"), or any error object of ours when `name` is nil.
function error_object.is(err, name) return getmetatable(err) == Error and (name == nil or err.name == name) end

return error_object
