--- afar attach PATH: a prompt on a persistent process.

local attach = { usage = "afar attach [HOST:]PATH", least = 1, most = 1 }

function attach.run(text)
  local p = require("afar.cli.target").reconnect(text)
  _G.afar, _G.p = require "afar", p
  print(("%s is p"):format(tostring(p)))
  require("afar.repl").run()
end

return attach
