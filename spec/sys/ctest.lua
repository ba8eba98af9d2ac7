--- Holds afar.sys against the C headers of this machine: a C program a module, which asserts each constant, the size of each
--- structure and the offset of each field. It only needs to compile.
local bit = require "bit"
local ffi = require "ffi"
local sys = require "afar.sys"

local ctest = {}

local function literal(value)
  if type(value) == "cdata" then return ("0x%sULL"):format(bit.tohex(value, 16)) end
  return ("%.0fLL"):format(value)
end

local function add(lines, ...) lines[#lines + 1] = string.format(...) end

local function assert_constants(lines, constants, guarded)
  for name, value in pairs(constants or {}) do
    if guarded then add(lines, "#ifdef %s", name) end
    add(lines, '_Static_assert((long)(%s) == (long)%s, "%s is not %s");', name, literal(value), name, literal(value))
    if guarded then add(lines, "#endif") end
  end
end

local function assert_offsets(lines, ctype, c_name, body)
  local fields = 0
  for field in body:gsub(" __attribute__%(%b()%)", ""):gmatch "([%w_]+)%[?%d*%]?;" do
    if not field:match "^__" then
      local offset = assert(ffi.offsetof(ctype, field), field)
      add(lines, '_Static_assert(offsetof(%s, %s) == %d, "%s.%s");', c_name, field, offset, c_name, field)
      fields = fields + 1
    end
  end
  assert(fields > 0, c_name .. " has no fields")
end

local function assert_structures(lines, m, data, text)
  for name, body in (text or ""):gmatch "struct @([%w_]+) (%b{})" do
    local c_name = data.cname and data.cname[name] or "struct " .. name
    if not (data.head and data.head[name]) then
      add(lines, '_Static_assert(sizeof(%s) == %d, "sizeof %s");', c_name, ffi.sizeof(m.ctype[name]), c_name)
    end
    assert_offsets(lines, m.ctype[name], c_name, body)
  end
end

local function include(lines, headers)
  for _, header in ipairs(headers or {}) do
    add(lines, "#include <%s>", header)
  end
end

--- The C program for a module's data.
---@param m afar.Machine
---@param data table  what the module afar.sys.NAME returns
---@return string
function ctest.program(m, data)
  local lines, own = { "#define _GNU_SOURCE", "#include <stddef.h>" }, data[m.name] or {}
  include(lines, data.headers)
  include(lines, own.headers)
  assert_constants(lines, data.constants)
  assert_constants(lines, own.constants)
  assert_constants(lines, data.newer, true)
  for name, entry in pairs(data.errors or {}) do
    assert_constants(lines, { [name] = entry[1] })
  end
  for alias, name in pairs(data.aliases or {}) do
    assert_constants(lines, { [alias] = m.C[name] })
  end
  assert_structures(lines, m, data, data.structs)
  assert_structures(lines, m, data, own.structs)
  return table.concat(lines, "\n") .. "\n"
end

--- The C program for the numbers of the system calls.
---@param m afar.Machine
---@return string
function ctest.calls(m)
  local lines = { "#include <asm/unistd.h>" }
  for name, number in pairs(m.nr) do
    assert_constants(lines, { ["__NR_" .. name] = number }, true)
  end
  return table.concat(lines, "\n") .. "\n"
end

--- Runs a compiler with `input`; what it wrote on stdout and stderr.
---@param command string
---@param input string
---@return string
function ctest.compile(command, input)
  local path = os.tmpname()
  local compiler = assert(io.popen(("%s -x c - >%s 2>&1"):format(command, path), "w"))
  compiler:write(input)
  compiler:close()
  local file = assert(io.open(path))
  local output = file:read "*a"
  file:close()
  os.remove(path)
  return output
end

ctest.compilers = { x86_64 = "gcc", aarch64 = "aarch64-linux-gnu-gcc" }

--- What the compiler of an architecture finds wrong in a program: "" if nothing.
---@param m afar.Machine
---@param program string
---@return string
function ctest.check(m, program) return ctest.compile(ctest.compilers[m.name] .. " -fsyntax-only -w", program) end

--- The names of all system calls that the headers of an architecture know.
---@param m afar.Machine
---@return string[]
function ctest.header_calls(m)
  local names = {}
  local macros = ctest.compile(ctest.compilers[m.name] .. " -E -dM", "#include <asm/unistd.h>\n")
  for name in macros:gmatch "#define __NR_([%w_]+) " do
    names[#names + 1] = name
  end
  return names
end

--- All modules' names, with what they return.
---@return fun(): string?, table
function ctest.modules()
  local list, i = require "afar.sys.modules", 0
  return function()
    i = i + 1
    if list[i] then return list[i], require("afar.sys." .. list[i]) end
  end
end

ctest.machines = { assert(sys.machine "x86_64"), assert(sys.machine "aarch64") }

return ctest
