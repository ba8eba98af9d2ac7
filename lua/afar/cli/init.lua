--- Subcommands of the command: `afar ps`, `afar attach`, `afar stop`, `afar upgrade`. Each is a module with `usage` (a line), `least` and
--- `most` (how many arguments it takes), and `run(...)`, which gets them.

local cli = {}

local modules = { ps = "afar.cli.ps", attach = "afar.cli.attach", stop = "afar.cli.stop", upgrade = "afar.cli.upgrade" }

local function run(name, words)
  local command = require(modules[name])
  for _, word in ipairs(words) do
    if word == "--help" or word == "-h" then return print("usage: " .. command.usage) end
    if word:sub(1, 1) == "-" then error(("%s: unrecognized option '%s'\nusage: %s"):format(name, word, command.usage), 0) end
  end
  if #words < command.least or #words > command.most then error("usage: " .. command.usage, 0) end
  command.run(unpack(words))
end

--- What runs the subcommand that the arguments name, or nil: they name none. A file of that name comes first.
---@param argv string[]
---@return fun()?
function cli.find(argv)
  local name = argv[1]
  if not modules[name or ""] then return nil end
  local file = io.open(name, "rb")
  if file then
    file:close()
    return nil
  end
  return function() run(name, { unpack(argv, 2) }) end
end

return cli
