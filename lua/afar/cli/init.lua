--- Subcommands of the command: `afar ps`, `afar attach`, `afar stop`.

local cli = {}

local modules = { ps = "afar.cli.ps", attach = "afar.cli.attach", stop = "afar.cli.stop" }

--- What runs the subcommand that the arguments name, or nil: they name none. A file of that name comes first.
---@param argv string[]
---@return fun()?
function cli.find(argv)
  local module = modules[argv[1] or ""]
  if not module then return nil end
  local file = io.open(argv[1], "rb")
  if file then
    file:close()
    return nil
  end
  return function() require(module).run(unpack(argv, 2)) end
end

return cli
