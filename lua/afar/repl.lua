--- The prompt. Lines are read through the loop, so that what runs in the background goes on.

local inspect = require "afar.inspect"
local interrupt = require "afar.interrupt"
local prompt = require "afar.prompt"
local report = require "afar.report"

local repl = {}

--- What was typed is not compiled by LuaJIT: so Ctrl-C ends its loops, whatever they do.
local function compile(text)
  local chunk, message = loadstring("return " .. text:gsub("^%s*=", ""), "=stdin")
  if not chunk then
    chunk, message = loadstring(text, "=stdin")
  end
  if chunk then jit.off(chunk, true) end
  return chunk, message
end

local function is_incomplete(message) return message:find("'<eof>'", 1, true) ~= nil end

--- Reads until it is a whole statement or expression. Returns its function, or nil and what is wrong with it; nil alone
--- at the end of input.
local function read_chunk()
  local text = prompt.read "> "
  while text do
    local chunk, message = compile(text)
    if chunk or not is_incomplete(message) then return chunk, message end
    local more = prompt.read ">> "
    if not more then return nil, message end
    text = text .. "\n" .. more
  end
end

local function fail(err)
  if not interrupt.signal_of(err) then report.show("", err, debug.traceback("", 2)) end
  return err
end

local function show(...)
  local shown = {}
  for i = 1, select("#", ...) do
    shown[i] = inspect((select(i, ...)))
  end
  print(unpack(shown))
end

local function finish(ok, ...)
  if ok and select("#", ...) > 0 then show(...) end
  if not ok and interrupt.signal_of((...)) then error((...), 0) end
end

--- One prompt and what was typed there. Returns false at the end of input.
local function turn()
  local chunk, message = read_chunk()
  if chunk then
    finish(xpcall(chunk, fail))
  elseif message then
    io.stderr:write(message, "\n")
  end
  return chunk ~= nil or message ~= nil
end

local function write(text)
  io.stdout:write(text)
  io.stdout:flush()
end

local function after_interrupt(err)
  if interrupt.signal_of(err) ~= 2 then error(err, 0) end
  prompt.flush()
  write "\n"
end

--- The library is there as `afar`, so that exploring is short; a prompt without it is better than none.
local function preload()
  if _G.help == nil then _G.help = require "afar.help" end
  if _G.afar ~= nil then return end
  local ok, afar = pcall(require, "afar")
  if ok then
    _G.afar = afar
  else
    report.show("", afar)
  end
end

--- Reads, runs and prints until the input ends. Ctrl-C ends what is typed or run, the other signals end the program.
function repl.run()
  preload()
  repeat
    local ok, more = pcall(turn)
    if not ok then after_interrupt(more) end
    interrupt.reset()
  until ok and not more
  write "\n"
end

return repl
