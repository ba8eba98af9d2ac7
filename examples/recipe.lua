-- A recipe: brings machines to a state, side by side. It changes only what differs, checks that, and takes it back where the check fails.
--
--   afar examples/recipe.lua [HOST...]     without hosts: two roots on this machine

local afar = require "afar"

--- The file holds that text from now on. Returns nil if it did already, else a function that makes it what it was.
local function put(p, path, text, options)
  local old, err = afar.try(p.read_file, p, path)
  if old == text then return nil end
  if not old and not afar.is_error(err, "ENOENT") then error(err, 0) end
  p:write_file(path, text, options)
  return function()
    if not old then return p:unlink(path) end
    p:write_file(path, old)
  end
end

-- What one would run for a web server is { "nginx", "-t" }.
local function check(p, path) p:run { "grep", "-Eq", "^port=[0-9]{1,4}$", path } end

--- What is done on one machine, whose root is `p`.
local function configure(p, name, port)
  local path = ("/tmp/afar-recipe-%s/app.conf"):format(name)
  p:mkdir_p(path:match "^(.*)/")
  local undo = put(p, path, ("name=%s\nport=%d\n"):format(name, port), { mode = "0640" })
  if not undo then return "as it should be" end
  local ok, err = afar.try(check, p, path)
  if not ok then
    undo()
    error(err, 0)
  end
  return "changed" -- here the service would be told: p:run { "systemctl", "reload", "nginx" }
end

local hosts = { ... }
for i, name in ipairs(#hosts == 0 and { "one", "two" } or {}) do
  hosts[i] = { name = name, open = function() return afar.here:bootstrap { "sh", name = name } end }
end

for _, port in ipairs { 8080, 8080, 80800 } do
  print("port " .. port)
  print(afar.map(hosts, function(p, name) return configure(p, name, port) end, { progress = false }))
end

print "What is there is what passed the check:"
afar.map(hosts, function(p, name)
  local dir = "/tmp/afar-recipe-" .. name
  print((p:read_file(dir .. "/app.conf"):gsub("\n", " ")))
  p:remove_tree(dir)
end)
