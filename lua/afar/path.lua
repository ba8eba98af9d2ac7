--- Paths as strings: nothing here asks a kernel.

local path = {}

--- The directory that a path's last part is in; see dirname(3).
function path.dirname(name)
  local dir = name:gsub("/+$", ""):match "^(.*)/[^/]*$"
  if dir == nil then return name:match "^/" and "/" or "." end
  return dir == "" and "/" or dir
end

--- Its last part; see basename(3).
function path.basename(name) return name:gsub("/+$", ""):match "[^/]*$" end

--- `name` as seen from `dir`: absolute ones stay.
function path.join(dir, name)
  if name:sub(1, 1) == "/" then return name end
  if dir == "" or dir == "." then return name end
  return dir:sub(-1) == "/" and dir .. name or dir .. "/" .. name
end

return path
