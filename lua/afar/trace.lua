--- Looking on: each system call that a process makes for this host, once it has been answered, as strace(1) would show it.

local errors = require "afar.error"
local process = require "afar.process"
local requests = require "afar.requests"

local ECANCELED = 125

-- What a chain has besides system calls.
local NO_CALL = {
  ["memory write"] = true, ["memory read"] = true, value = true, attach = true, ping = true, persist = true, tally = true,
}

---@class afar.TracedCall
---@field process afar.Process
---@field call string      as the manpage names it; a wait for an fd is "poll"
---@field args? table      as the script gave them, where the call is the script's own and no part of a greater one
---@field result integer   the kernel's; negative: it has failed
---@field error? string    the errno's name then
local TracedCall = { __name = "call" }
TracedCall.__index = TracedCall

--- One line: openat("/etc/hosts") in process 12 on web1 = 3.
function TracedCall:__tostring()
  local outcome = self.error and ("-1 %s"):format(self.error) or ("%.0f"):format(self.result)
  return (tostring(errors.new(self.process, self.call, self.args, "")):gsub(": $", "")) .. " = " .. outcome
end

local function print_call(call) io.stderr:write(tostring(call), "\n") end

local tracers, telling = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })

--- Tells who looks on; what that one calls itself is not told.
local function tell(p, name, args, result)
  local f = tracers[p]
  if not f or telling[p] then return end
  local failed = result < 0 and result >= -4095
  local errno = failed and (p.machine.sys.errno[-result] or ("errno %d"):format(-result)) or nil
  telling[p] = true
  local ok, err = pcall(f, setmetatable({ process = p, call = name, args = args, result = result, error = errno }, TracedCall))
  telling[p] = nil
  if not ok then error(err, 0) end
end

--- The system calls of a chain that was answered. Those that were not performed, since others had failed, are left out.
local function tell_chain(r)
  local p = r.process
  if not tracers[p] then return end
  local calls = {}
  for i = 1, r.count do
    local result = r:result_of(i)
    if result and result ~= -ECANCELED and not NO_CALL[r.names[i]] then calls[#calls + 1] = { name = r.names[i], result = result } end
  end
  for i, call in ipairs(calls) do
    local is_whole = #calls == 1 or (i == 1 and call.name == r.name)
    tell(p, call.name, is_whole and r.args or nil, call.result)
  end
end

local HOOK = { call = tell, chain = tell_chain }

--- p:trace(f): from now on f(call) is called for each system call that the process makes for this host, once it has been answered; call is
--- { process =, call =, args =, result =, error = }, and tostring(call) a line as that of strace(1). Without f the lines go to stderr. p:trace(false) ends
--- it. Calls of one chain come together. What f raises is raised where the call was made.
---@param f? fun(call: afar.TracedCall)|false
process.define("trace", function(self, f)
  if f == nil then f = print_call end
  if f ~= false and type(f) ~= "function" then error(("trace: a function was expected, not %s"):format(type(f)), 2) end
  tracers[self] = f or nil
  requests.hook = next(tracers) and HOOK or nil
end)
