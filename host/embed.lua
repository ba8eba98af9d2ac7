-- embed.lua OUT FILE...: writes a C file with Lua files as bytecode (line numbers kept, for tracebacks), and stubs as they are.

local out_path = arg[1]
local modules, stubs, arrays = {}, {}, {}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local data = file:read "*a"
  file:close()
  return data
end

local function array(data)
  local name = ("data_%d"):format(#arrays + 1)
  local bytes = {}
  for i = 1, #data do
    bytes[i] = data:byte(i) .. (i % 32 == 0 and ",\n" or ",")
  end
  arrays[#arrays + 1] = ("static const unsigned char %s[] = {\n%s};\n"):format(name, table.concat(bytes))
  return name
end

local function add(list, name, data)
  list[#list + 1] = ("  {%q, %s, %d},\n"):format(name, array(data), #data)
end

local function add_module(path)
  local file = path:gsub("^lua/", "")
  local chunk = assert(loadstring(read(path):gsub("^#[^\n]*", ""), "@" .. file))
  add(modules, (file:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")), string.dump(chunk))
end

for i = 2, #arg do
  local architecture = arg[i]:match "stub%-([%w_.]+)$" -- with ".gz" behind it: compressed
  if architecture then
    add(stubs, architecture, read(arg[i]))
  else
    add_module(arg[i])
  end
end

local out = assert(io.open(out_path, "w"))
out:write('/* Made by host/embed.lua. */\n#include "embedded.h"\n\n', table.concat(arrays), "\n")
out:write("const struct embedded embedded_lua[] = {\n", table.concat(modules), "  {0},\n};\n\n")
out:write("const struct embedded embedded_stubs[] = {\n", table.concat(stubs), "  {0},\n};\n")
out:close()
