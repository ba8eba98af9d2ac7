--- afar stop PATH: ends a persistent process, and its children with it.

local stop = { usage = "afar stop [HOST:]PATH", least = 1, most = 1 }

function stop.run(text)
  local p = require("afar.cli.target").reconnect(text)
  p:exit(0)
  print(("%s has ended"):format(tostring(p)))
end

return stop
