--- afar stop PATH: ends a persistent process, and its children with it.

local stop = {}

function stop.run(text)
  local p = require("afar.cli.target").reconnect(text, "afar stop [HOST:]PATH")
  p:exit(0)
  print(("%s has ended"):format(tostring(p)))
end

return stop
