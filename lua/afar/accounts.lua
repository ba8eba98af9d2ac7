--- Users and groups by name, as the process's machine has them: getpwnam(3), getgrnam(3).

local errors = require "afar.error"
local nursery = require "afar.nursery"
local process = require "afar.process"

local function fields_of(line)
  local fields = {}
  for field in (line .. ":"):gmatch "([^:]*):" do fields[#fields + 1] = field end
  return fields
end

local function line_of(text, name)
  for line in text:gmatch "[^\n]+" do
    if line:sub(1, #name + 1) == name .. ":" then return line end
  end
end

--- The entry's fields: from the file; and, where it isn't there, from what else the machine asks (LDAP, say), by getent(1).
local function find(p, call, database, name)
  if type(name) ~= "string" or name == "" or name:find "[:%c]" then
    error(("%s: a name was expected, not %s"):format(call, type(name) == "string" and ("%q"):format(name) or type(name)), 0)
  end
  local line = line_of(nursery.try(p.read_file, p, "/etc/" .. database) or "", name)
  if not line then
    local asked = nursery.try(p.run, p, { "getent", database, "--", name, check = false })
    line = asked and asked.status.ok and line_of(asked.stdout, name)
  end
  if line then return fields_of(line) end
  error(errors.new(p, call, { name }, "there is no such name on " .. p.machine.name, { name = "ENOENT", errno = 2 }), 0)
end

--- p:getpwnam(name): the user of that name; see getpwnam(3).
---@param name string
---@return { pw_name: string, pw_uid: integer, pw_gid: integer, pw_gecos: string, pw_dir: string, pw_shell: string }
process.define("getpwnam", function(self, name)
  local f = find(self, "getpwnam", "passwd", name)
  return { pw_name = f[1], pw_uid = tonumber(f[3]), pw_gid = tonumber(f[4]), pw_gecos = f[5], pw_dir = f[6], pw_shell = f[7] }
end)

--- p:getgrnam(name): the group of that name, gr_mem being the list of its members; see getgrnam(3).
---@param name string
---@return { gr_name: string, gr_gid: integer, gr_mem: string[] }
process.define("getgrnam", function(self, name)
  local f = find(self, "getgrnam", "group", name)
  local members = {}
  for member in (f[4] or ""):gmatch "[^,]+" do members[#members + 1] = member end
  return { gr_name = f[1], gr_gid = tonumber(f[3]), gr_mem = members }
end)
