--- How long afar takes to start and end, without its root, which starts at first use.

local measure = require "measure"

local COUNT = measure.size(2, 100, 300)

local function program(command)
  return function() return measure.program(("build/bench/spawn %d 1 %s"):format(COUNT, command)) / 1000 end
end

local function find(name)
  local pipe = assert(io.popen("command -v " .. name))
  local path = pipe:read "*l"
  pipe:close()
  return assert(path, name .. " is not there")
end

return function()
  local base = program(find "luajit" .. " -e ''")
  measure.row { id = "start", name = "start: afar -e ''", unit = "ms", goal = 2, ours = program "build/afar -e ''", base = base }
  measure.row { id = "start-require", name = "start: afar -e 'require \"afar\"'", unit = "ms", ours = program [[build/afar -e 'require "afar"']], base = base }
end
