--- The prompt. Lines are read through the loop, so that what runs in the background goes on.

local ffi = require "ffi"
local interrupt = require "afar.interrupt"
local nursery = require "afar.nursery"
local report = require "afar.report"
local sched = require "afar.sched"

ffi.cdef "intptr_t read(int fd, void *buffer, size_t length);"

local repl = {}

local SIZE = 4096
local buffer = ffi.new("char[?]", SIZE)
local unread = "" -- what was read behind the last line

--- What comes next on standard input; nil at its end.
local function read_some()
  sched.wait_fd(0, "r")
  local count = tonumber(ffi.C.read(0, buffer, SIZE))
  if count < 0 then return ffi.errno() == 4 and "" or nil end -- EINTR
  return count > 0 and ffi.string(buffer, count) or nil
end

local function write(text)
  io.stdout:write(text)
  io.stdout:flush()
end

--- One line without its newline; nil at the end of input.
local function read_line(prompt)
  write(prompt)
  while true do
    local line, rest = unread:match "^([^\n]*)\n(.*)"
    if line then
      unread = rest
      return line
    end
    local more = read_some()
    if not more then
      line, unread = unread, ""
      return line ~= "" and line or nil
    end
    unread = unread .. more
  end
end

local function load_line(text)
  local chunk = loadstring("return " .. text, "=stdin")
  if chunk then return chunk end
  return loadstring(text, "=stdin")
end

local function is_incomplete(message) return message:find("'<eof>'", 1, true) ~= nil end

--- Reads until it is a whole statement or expression. Returns nil at the end of input.
local function read_chunk()
  local text = read_line "> "
  while text do
    local expression = text:gsub("^%s*=", "return ", 1)
    local chunk, message = load_line(expression)
    if chunk or not is_incomplete(message) then return chunk or message end
    local more = read_line ">> "
    if not more then return message end
    text = text .. "\n" .. more
  end
end

local function show(ok, ...)
  if not ok then return end
  if select("#", ...) > 0 then print(...) end
end

local function fail(err)
  if not nursery.is_cancelled(err) then report.show(err, debug.traceback("", 2)) end
  return err
end

local function run_chunk(chunk)
  if type(chunk) == "string" then return io.stderr:write(chunk, "\n") end
  local results = { n = 0 }
  local function collect(ok, ...)
    results = { n = select("#", ...), ... }
    if not ok then error((...), 0) end
  end
  collect(xpcall(chunk, fail))
  show(true, unpack(results, 1, results.n))
end

--- One prompt and what was typed there. Returns false at the end of input.
local function turn()
  local chunk = read_chunk()
  if chunk == nil then return false end
  run_chunk(chunk)
  return true
end

--- Reads, runs and prints until the input ends. Ctrl-C ends what is typed or run, the other signals end the program.
function repl.run()
  if _G.afar == nil then
    local ok, afar = pcall(require, "afar")
    if ok then _G.afar = afar end
  end
  while true do
    local ok, err = pcall(turn)
    if ok and not err then break end
    if not ok and nursery.is_cancelled(err) and err.signal and err.signal ~= 2 then error(err, 0) end
    if not ok and nursery.is_cancelled(err) then
      unread = ""
      write "\n"
    end
    interrupt.reset()
  end
  write "\n"
end

return repl
