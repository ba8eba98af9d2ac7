--- The host's own terminal: made raw, and put back in all cases.

local ffi = require "ffi"
local exit = require "afar.exit"
local loop = require "afar.loop"
local sched = require "afar.sched"
local spawn = require "afar.spawn"

local SIGWINCH = 28
local TIOCGWINSZ = 0x5413
local TCSADRAIN = 1
local ICANON, ECHO, IEXTEN = 0x2, 0x8, 0x8000 -- of c_lflag
local C_CC, VTIME, VMIN = 17, 5, 6 -- the control characters in struct termios

ffi.cdef [[
  struct afar_host_termios { uint8_t bytes[256]; };
  struct afar_host_winsize { uint16_t rows, cols, x, y; };
  int afar_tcgetattr(int fd, struct afar_host_termios *to) __asm__("tcgetattr");
  int afar_tcsetattr(int fd, int action, const struct afar_host_termios *from) __asm__("tcsetattr");
  void afar_cfmakeraw(struct afar_host_termios *of) __asm__("cfmakeraw");
  int afar_ioctl(int fd, unsigned long request, void *argument) __asm__("ioctl");
]]

local terminal = {}

---@class afar.HostTerminal
local Host = {}
Host.__index = Host

--- The terminal that the host's stdin is. Raises where it is none.
---@return afar.HostTerminal
function terminal.open()
  local before = ffi.new "struct afar_host_termios"
  if ffi.C.afar_tcgetattr(0, before) ~= 0 then error("attach: the host's stdin is no terminal", 0) end
  return setmetatable({ before = before }, Host)
end

function Host:set(attributes)
  self.hook = function() self:restore() end
  exit.add(self.hook) -- os.exit ends no nursery
  ffi.C.afar_tcsetattr(0, TCSADRAIN, attributes)
end

--- Keys come as they are pressed, Ctrl-C too.
function Host:raw()
  local raw = ffi.new("struct afar_host_termios", self.before)
  ffi.C.afar_cfmakeraw(raw)
  self:set(raw)
end

--- Keys come as they are pressed and are not echoed; Ctrl-C and Ctrl-Z stay signals, and what is written is still told apart in lines.
function Host:keys()
  local keys = ffi.new("struct afar_host_termios", self.before)
  local flags = ffi.cast("uint32_t *", keys)
  flags[3] = bit.band(flags[3], bit.bnot(ICANON + ECHO + IEXTEN)) -- c_lflag
  keys.bytes[C_CC + VMIN], keys.bytes[C_CC + VTIME] = 1, 0
  self:set(keys)
end

--- As it was. May be called again.
function Host:restore()
  if not self.hook then return end
  exit.remove(self.hook)
  self.hook = nil
  if self.resized then sched.on(self.resized, nil) end
  ffi.C.afar_tcsetattr(0, TCSADRAIN, self.before)
end

---@return integer rows, integer cols
function Host:size()
  local size = ffi.new "struct afar_host_winsize"
  if ffi.C.afar_ioctl(0, TIOCGWINSZ, size) ~= 0 or size.rows == 0 or size.cols == 0 then return 24, 80 end
  return size.rows, size.cols
end

--- Calls `f` from the loop whenever the size has changed.
function Host:on_resize(f)
  terminal.signal = terminal.signal or loop.signal(SIGWINCH)
  self.resized = terminal.signal
  sched.on(self.resized, f)
end

--- Waits for keys; "" at the end.
function Host:read()
  sched.wait_fd(0, "r")
  return spawn.read(0, 4096) or ""
end

function Host:write(data)
  io.stdout:flush()
  spawn.write(1, data)
end

return terminal
