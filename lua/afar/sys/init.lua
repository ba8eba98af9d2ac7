--- The kernel's numbers: system calls, constants, errors, structures. They belong to an architecture, and so to a process:
--- `process.machine.sys` is that of the process's machine.
local errno = require "afar.sys.errno"
local machine = require "afar.sys.machine"

---@class afar.sys
---@field signature table<string, string[]>  the parameters of each system call
local sys = { signature = require "afar.sys.signature" }

local by_elf = { [62] = "x86_64", [183] = "aarch64" }
local machines = {}

--- The tables of an architecture, by its name or by the number that ELF gives it (EM_X86_64, EM_AARCH64).
---@param name_or_number "x86_64"|"aarch64"|integer
---@return afar.Machine?
---@return string? message  where we do not know it
function sys.machine(name_or_number)
  local name = by_elf[name_or_number] or name_or_number
  if not machines[name] then
    if name ~= "x86_64" and name ~= "aarch64" then
      return nil, ("unknown architecture %s (x86_64 and aarch64 are known)"):format(tostring(name_or_number))
    end
    local compiles = jit.status()
    jit.off() -- what runs once is not worth compiling
    machines[name] = machine(name)
    if compiles then jit.on() end
  end
  return machines[name]
end

--- What strerror(3) says, by the name of an error: "ENOENT" is "No such file or directory". nil if there is none of that name.
---@param name string
---@return string?
function sys.strerror(name)
  local entry = errno.errors[errno.aliases[name] or name]
  return entry and entry[2]
end

return sys
