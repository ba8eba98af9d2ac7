-- Changes what a persistent process keeps, at random, until it is killed. Says before each change what it will be, and after it that it is done.

local afar = require "afar"

local path, seed, config = ...
math.randomseed(tonumber(seed))
io.stdout:setvbuf "line"

local way = config and afar.here:ssh("afar1", { config = config }) or afar.here
local p = way:reconnect(path)
local names = { "a", "b", "c", "d", "e", "f" }

local makers = {
  function(name)
    local value = ("%d:%s"):format(math.random(1e9), ("x"):rep(math.random(0, 20000)))
    io.stdout:write("try ", name, " data ", value, "\n")
    p.kept[name] = value
  end,
  function(name)
    local child = p:fork():exec { "sleep", "1000" }
    io.stdout:write("try ", name, " child ", child.pid, "\n")
    p.kept[name] = child
  end,
  function(name)
    local fd = p:open("/etc/hosts")
    io.stdout:write("try ", name, " fd ", fd.number, "\n")
    p.kept[name] = fd
  end,
  function(name)
    local old = p.kept[name]
    io.stdout:write("try ", name, " nothing -\n")
    p.kept[name] = nil
    if type(old) == "table" and getmetatable(old).__name == "child" then
      old:kill "SIGKILL"
      old:wait()
    end
  end,
}

print "ready"
while true do
  local name = names[math.random(#names)]
  makers[math.random(#makers)](name)
  io.stdout:write("done ", name, "\n")
end
