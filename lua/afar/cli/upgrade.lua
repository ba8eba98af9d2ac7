--- afar upgrade PATH: a persistent process gets this program's stub, in place.

local upgrade = { usage = "afar upgrade [HOST:]PATH", least = 1, most = 1 }

function upgrade.run(text)
  local p = require("afar.cli.target").reconnect(text)
  local q = p:upgrade()
  print(("%s has this program's stub now"):format(tostring(q)))
  q:disconnect()
end

return upgrade
