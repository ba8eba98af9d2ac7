--- Another host beside the one that runs the specs: a program of its own, which may be stopped and killed.

local afar = require "afar"

local other = {}

local PROGRAM = os.getenv "AFAR" or "build/afar"

--- Runs `code`, in which `...` are the arguments, to its end; what it prints.
---@param code string
---@return string
function other.run(code, ...)
  local command = { PROGRAM, "-", ... }
  command.stdin = code
  local result = afar.here:run(command)
  return (result.stdout:gsub("\n$", ""))
end

--- Starts it, and waits until it has printed a line.
---@return afar.Child child
---@return string line
---@return afar.Fd reader  of what it prints
function other.start(code, ...)
  local from, to = afar.here:pipe2()
  local input, feed = afar.here:pipe2()
  local p = afar.here:fork()
  local child = p:exec { PROGRAM, "-", stdin = p:inherit(input), stdout = p:inherit(to), ... }
  to:close()
  input:close()
  feed:write("io.stdout:setvbuf 'line' " .. code)
  feed:close()
  local line = ""
  while not line:find "\n" do
    local part = from:read(1) -- what comes behind it is the caller's
    if part == "" then break end
    line = line .. part
  end
  return child, (line:gsub("\n.*", "")), from
end

--- Kills it at once, and waits for its end.
function other.kill(child)
  child:kill "SIGKILL"
  return child:wait()
end

return other
