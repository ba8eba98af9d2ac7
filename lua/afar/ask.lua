--- Asks who sits at the host's terminal, without showing what is typed: passwords and one-time codes.

local ffi = require "ffi"
local loop = require "afar.loop"
local sched = require "afar.sched"
local spawn = require "afar.spawn"
local visible = require "afar.visible"

ffi.cdef [[
  struct afar_tty { unsigned c_iflag, c_oflag, c_cflag, c_lflag; unsigned char rest[112]; };
  int open(const char *path, int flags, ...);
  int tcgetattr(int fd, struct afar_tty *to);
  int tcsetattr(int fd, int when, const struct afar_tty *from);
]]

local O_RDWR, O_NOCTTY, O_CLOEXEC = 2, 256, 524288
local ECHO, TCSAFLUSH = 8, 2

local waiting = {} -- ids of those who want to ask, while one does
local busy = false

--- One question at a time: several connections may want to know something.
local function enter()
  if busy then
    local id = loop.id()
    waiting[#waiting + 1] = id
    sched.wait(id)
  end
  busy = true
end

local function leave()
  busy = #waiting > 0
  if busy then loop.complete(table.remove(waiting, 1)) end
end

local function hide(fd)
  local before, hidden = ffi.new "struct afar_tty", ffi.new "struct afar_tty"
  if ffi.C.tcgetattr(fd, before) ~= 0 then return nil end
  ffi.copy(hidden, before, ffi.sizeof(before))
  hidden.c_lflag = before.c_lflag - before.c_lflag % (2 * ECHO) + before.c_lflag % ECHO
  ffi.C.tcsetattr(fd, TCSAFLUSH, hidden)
  return before
end

local function read_line(fd)
  local line = ""
  repeat
    sched.wait_fd(fd, "r")
    local data = spawn.read(fd, 1024)
    line = line .. (data or "")
  until not data or data == "" or line:find("\n", 1, true)
  return line:match "^([^\r\n]*)\r?\n"
end

local function converse(fd, question)
  local before = hide(fd)
  spawn.write(fd, visible(question))
  local ok, line = pcall(read_line, fd)
  if before then ffi.C.tcsetattr(fd, TCSAFLUSH, before) end
  spawn.write(fd, "\n")
  if not ok then error(line, 0) end
  return line
end

--- The line that is typed as the answer. Raises when there is no terminal, or its end is typed.
---@param question string
---@return string
local function ask(question)
  local fd = ffi.C.open("/dev/tty", O_RDWR + O_NOCTTY + O_CLOEXEC)
  if fd < 0 then error(("nobody can be asked for %q: there is no terminal"):format((question:gsub(":? *$", ""))), 0) end
  enter()
  local ok, line = pcall(converse, fd, question)
  leave()
  spawn.close(fd)
  if not ok then error(line, 0) end
  return line or error(("%q was not answered"):format((question:gsub(":? *$", ""))), 0)
end

return ask
