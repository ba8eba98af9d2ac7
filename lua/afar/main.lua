--- The command: options as `lua` has them. LUA_INIT is not read.

local exit = require "afar.exit"
local ffi = require "ffi"
local interrupt = require "afar.interrupt"
local report = require "afar.report"
local sched = require "afar.sched"

ffi.cdef "int isatty(int fd);"

local usage = [=[
usage: afar [options] [FILE.lua [args]]
       afar ps [HOST] | attach [HOST:]PATH | stop [HOST:]PATH | upgrade [HOST:]PATH   persistent processes
  -e CODE  run CODE
  -l MOD   require MOD, as a global of that name
  -i       then read from the terminal
  -v       show the version
  -        run standard input
  --       no more options
without options or a file: a prompt, where standard input is a terminal
]=]

-- ---- the command line ----

---@class afar.Options
---@field steps table[]   what -e and -l ask for, in order
---@field script? string  "-" is standard input
---@field index integer   of the script in argv; behind its end when there is none

local function takes_value(kind)
  return function(options, argv, i, attached)
    local value = attached ~= "" and attached or argv[i + 1]
    if not value then return nil, ("option '-%s' needs a value"):format(kind) end
    table.insert(options.steps, { kind = kind, value = value })
    return attached ~= "" and i or i + 1
  end
end

local function flag(...)
  local names = { ... }
  return function(options, _, i, attached)
    if attached ~= "" then return nil end
    for _, name in ipairs(names) do
      options[name] = true
    end
    return i
  end
end

local handlers = { e = takes_value "e", l = takes_value "l", i = flag("interactive", "version"), v = flag "version" }
local long = { ["--version"] = "version", ["--help"] = "help" }

local function parse_option(options, argv, i)
  local word = argv[i]
  if long[word] then
    options[long[word]] = true
    return i
  end
  local handler = handlers[word:sub(2, 2)]
  local last, message
  if handler then
    last, message = handler(options, argv, i, word:sub(3))
  end
  return last, message or ("unrecognized option '%s'"):format(word)
end

---@return afar.Options? options
---@return string? message  what is wrong with the command line
local function parse(argv)
  local options = { steps = {} }
  local i = 1
  while argv[i] and argv[i]:sub(1, 1) == "-" and argv[i] ~= "-" do
    if argv[i] == "--" then
      i = i + 1
      break
    end
    local last, message = parse_option(options, argv, i)
    if not last then return nil, message end
    i = last + 1
  end
  options.script, options.index = argv[i], i
  return options
end

-- ---- what it asks for ----

local function version()
  local stubs = {}
  for architecture in pairs(require "afar.stubs") do
    if not architecture:find "%.gz$" then stubs[#stubs + 1] = architecture end
  end
  table.sort(stubs, function(a, b) return a > b end)
  return ("afar %s (%s, stub %s)"):format(require "afar.version", jit.version, table.concat(stubs, ", "))
end

local function must_load(chunk, message)
  if not chunk then error(message, 0) end
  return chunk
end

local function run_step(step)
  if step.kind == "e" then
    must_load(loadstring(step.value, "=(command line)"))()
  else
    _G[step.value] = require(step.value)
  end
end

--- `arg` as in `lua`: the script is 0, what stands before it has negative indices.
local function make_arg(argv, index)
  local arg = {}
  local zero = argv[index] and index or 0
  for i = 0, #argv do
    arg[i - zero] = argv[i]
  end
  return arg
end

local function run_script(path)
  must_load(loadfile(path ~= "-" and path or nil))(unpack(_G.arg))
end

local function show_error(err)
  if not interrupt.signal_of(err) then report.show("afar: ", err, debug.traceback("", 2)) end
  return err
end

--- With -i the prompt comes even if the script fails.
local function run_script_before_prompt(path)
  local ok, err = xpcall(run_script, show_error, path)
  if not ok and interrupt.signal_of(err) then error(err, 0) end
end

local function run(options, argv)
  local subcommand = require("afar.cli").find(argv)
  if subcommand then return subcommand() end
  _G.arg = make_arg(argv, options.index)
  for _, step in ipairs(options.steps) do
    run_step(step)
  end
  local script, prompt = options.script, options.interactive
  if not script and not options.version and #options.steps == 0 then
    prompt = ffi.C.isatty(0) ~= 0
    script = not prompt and "-"
  end
  if script then (prompt and run_script_before_prompt or run_script)(script) end
  if not prompt then return end
  if not options.version then print(version() .. ": type help for help") end
  require("afar.repl").run()
end

--- Runs `f(...)` as the routine that signals cancel.
local function run_watched(f, ...)
  local function watched(...)
    interrupt.watch(sched.current())
    return f(...)
  end
  return sched.main(watched, ...)
end

--- The exit status, once what went wrong was shown.
local function conclude(ok, err, traceback)
  if ok then return 0 end
  local signum = interrupt.signal_of(err)
  report.show("afar: ", err, not signum and traceback or nil)
  signum = signum or interrupt.signal() -- a cleanup failed after the signal
  return signum and 128 + signum or 1
end

--- The program: `argv[0]` is its own name. Returns its exit status.
---@param argv string[]
---@return integer
return function(argv)
  local options, message = parse(argv)
  if not options then
    io.stderr:write("afar: ", message, "\n", usage)
    return 1
  end
  if options.help then
    io.stdout:write(usage)
    return 0
  end
  if options.version then print(version()) end
  sched.install()
  exit.install()
  interrupt.install()
  _G.print = require "afar.print"
  local status = conclude(run_watched(run, options, argv))
  local exit_status = conclude(run_watched(exit.run))
  interrupt.stop()
  return status ~= 0 and status or exit_status
end
