--- afar attach PATH: a prompt on a persistent process.

local attach = {}

function attach.run(text)
  local p = require("afar.cli.target").reconnect(text, "afar attach [HOST:]PATH")
  _G.afar, _G.p = require "afar", p
  print(("%s is p"):format(tostring(p)))
  require("afar.repl").run()
end

return attach
