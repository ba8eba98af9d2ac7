--- Commands under a terminal of their own, which the script drives, or which is attached to ours. See pty(7), ioctl_tty(2).

local ffi = require "ffi"
local command = require "afar.command"
local errors = require "afar.error"
local fds = require "afar.fd"
local nursery = require "afar.nursery"
local process = require "afar.process"
local terminal = require "afar.terminal"

local PART = 16 * 1024
local SEEN_MOST = 2000 -- bytes of what was seen that an error shows
local DEFAULT_TIMEOUT = 30 -- seconds
local GRACE = 2 -- seconds that a command has to end after its terminal was hung up

---@class afar.Terminal
---@field fd afar.Fd         the terminal's master side
---@field child afar.Child   the command
---@field process afar.Process that started it
local Terminal = { __name = "terminal" }
Terminal.__index = Terminal

function Terminal:__tostring() return ("terminal of %s"):format(tostring(self.child)) end

-- ---- making one ----

local function winsize(p, rows, cols)
  for _, value in ipairs { rows, cols } do
    if type(value) ~= "number" or value < 1 or value > 65535 or value % 1 ~= 0 then
      error(("pty: rows and cols are numbers from 1 to 65535, not %s"):format(tostring(value)), 0)
    end
  end
  local raw = ffi.new(p.machine.sys.ctype.winsize, { ws_row = rows, ws_col = cols })
  return ffi.string(raw, ffi.sizeof(raw))
end

--- The side that the command gets: from the master itself; before Linux 4.13, or where that is refused, by its name.
local function open_peer(p, master)
  local C = p.machine.sys.C
  local flags = C.O_RDWR + C.O_NOCTTY + C.O_CLOEXEC
  local ok, number = pcall(p.syscall, p, "ioctl", master, C.TIOCGPTPEER, flags)
  if ok then return fds.new(p, number, "device") end
  if not (errors.is(number) and number.errno) then error(number, 0) end
  local index = p:malloc "uint32_t"
  p:syscall("ioctl", master, C.TIOCGPTN, index)
  return p:open(("/dev/pts/%d"):format(tonumber(index:read())), "O_RDWR|O_NOCTTY")
end

--- Both sides of a new terminal.
local function open_pair(p, size)
  local C = p.machine.sys.C
  local master = p:open("/dev/ptmx", "O_RDWR|O_NOCTTY|O_NONBLOCK")
  local ok, peer = pcall(function()
    p:syscall("ioctl", master, C.TIOCSPTLCK, p:ptr "\0\0\0\0")
    p:syscall("ioctl", master, C.TIOCSWINSZ, p:ptr(size))
    return open_peer(p, master)
  end)
  if ok then return master, peer end
  master:close()
  error(peer, 0)
end

local SIGNALS = { "SIGHUP", "SIGINT", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCHLD", "SIGCONT", "SIGWINCH" }

--- Who starts a root may have it ignore what a terminal sends; under a terminal of its own a program expects the defaults. (A stub blocks these.)
local function reset_signals(inert)
  local default, C = inert:ptr(("\0"):rep(32)), inert.machine.sys.C
  inert:chain(function(c)
    for _, name in ipairs(SIGNALS) do c:rt_sigaction(C[name], default, 0, 8) end
  end)
end

--- In the child: a session whose terminal this is, and the command.
local function start(p, peer, spec)
  local inert = p:fork()
  local ok, child = pcall(function()
    local own = inert:inherit(peer)
    inert:syscall "setsid"
    inert:syscall("ioctl", own, inert.machine.sys.C.TIOCSCTTY, 0)
    reset_signals(inert)
    spec.stdin, spec.stdout, spec.stderr = own, own, own
    return inert:exec(spec)
  end)
  if ok then return child end
  if inert:is_alive() then nursery.shielded(inert.exit, inert, 127) end
  error(child, 0)
end

local OWN = { rows = true, cols = true }
local STREAMS = { stdin = true, stdout = true, stderr = true }

--- What exec gets of what the script gave.
local function command_of(spec)
  local own = {}
  for key, value in pairs(spec) do
    if STREAMS[key] then error(("pty: %s is the terminal"):format(key), 0) end
    if not OWN[key] then own[key] = value end
  end
  own.env = { TERM = "xterm" }
  for key, value in pairs(spec.env or {}) do own.env[key] = value end
  return own
end

--- p:pty{ "program", "argument", ..., rows = 24, cols = 80 }: starts a program in a fork of the process, under a terminal of its own, in a session of its own.
--- Other options as of p:exec, but for stdin, stdout and stderr, which are the terminal. TERM is "xterm" unless env says otherwise.
---@param spec table
---@return afar.Terminal
process.define("pty", function(self, spec)
  if type(spec) ~= "table" then error(("pty: a table was expected, not %s"):format(type(spec)), 2) end
  local size = winsize(self, spec.rows or 24, spec.cols or 80)
  local own = command_of(spec)
  command.check(self, "pty", own)
  local master, peer = open_pair(self, size)
  local ok, child = pcall(start, self, peer, own)
  peer:close()
  if not ok then
    master:close()
    error(child, 0)
  end
  return setmetatable({ fd = master, child = child, process = self, buffer = "", seen = "" }, Terminal)
end)

-- ---- reading and writing ----

--- More of what the program wrote; "" once nobody has the terminal open any more.
local function read_more(self)
  if self.ended then return "" end
  local ok, data = pcall(self.fd.read, self.fd, PART)
  if not ok and errors.is(data, "EIO") then data = "" end -- so the kernel says that the other side is closed
  if not ok and data ~= "" then error(data, 0) end
  self.ended = data == ""
  self.seen = (self.seen .. data):sub(-SEEN_MOST)
  return data
end

--- What the program has written since it was asked last; waits until there is something. "" once it has ended. Lines end in "\r\n", as a
--- terminal has them.
---@return string
function Terminal:read()
  local data = self.buffer
  self.buffer = ""
  if data ~= "" then return data end
  return read_more(self)
end

--- Types so much, as if at the keyboard: "ls\n", or "\3" for Ctrl-C. Waits (without blocking the process) while the program doesn't read.
---@param text string
function Terminal:send(text) self.fd:write(text) end

local function failure(self, patterns, why, fields)
  local shown = {}
  for i, pattern in ipairs(patterns) do shown[i] = pattern end
  shown.n = #patterns
  local seen = self.seen == "" and "nothing was seen" or ("seen so far: %q"):format(self.seen):gsub("\\\n", "\\n")
  return errors.new(self.process, "expect", shown, why .. "; " .. seen, fields)
end

--- Takes the first match off the buffer: its index among the patterns, and its captures.
local function match(self, patterns)
  local best, at
  for i, pattern in ipairs(patterns) do
    local found = { self.buffer:find(pattern) }
    if found[1] and (not at or found[1] < at) then best, at = { i, found }, found[1] end
  end
  if not best then return nil end
  local found = best[2]
  local whole = self.buffer:sub(found[1], found[2])
  self.before = self.buffer:sub(1, found[1] - 1)
  self.buffer = self.buffer:sub(found[2] + 1)
  if #found == 2 then found[3] = whole end
  return best[1], found
end

local function wait_for(self, patterns)
  while true do
    local index, found = match(self, patterns)
    if index then return index, found end
    local data = read_more(self)
    if data == "" then error(failure(self, patterns, "the program closed its terminal before", { name = "EOF", seen = self.seen }), 0) end
    self.buffer = self.buffer .. data
  end
end

local function balanced(pattern)
  local depth = 0
  for c in pattern:gsub("%%.", ""):gsub("%[%^?%]?[^%]]*%]", ""):gmatch "[()]" do
    depth = depth + (c == "(" and 1 or -1)
    if depth < 0 then return false end
  end
  return depth == 0
end

local function check_patterns(patterns)
  if type(patterns) == "string" then patterns = { patterns } end
  if type(patterns) ~= "table" or #patterns == 0 then error("expect: a Lua pattern, or a list of them, was expected", 0) end
  for _, pattern in ipairs(patterns) do
    if type(pattern) ~= "string" or not balanced(pattern) then
      error(("expect: malformed pattern %q"):format(tostring(pattern)), 0) -- Lua would tell only once something fits its beginning
    end
  end
  return patterns
end

--- t:expect(pattern, timeout): waits until what the program writes fits a Lua pattern, and returns its captures (without any: what fitted). What
--- was written up to there counts as read; what was before it is in t.before. With a list of patterns: the index of the one that came first,
--- then its captures. Raises after `timeout` seconds (default 30; name "timeout"), and when the program closes its terminal (name "EOF"):
--- the error tells what was seen so far.
---@param pattern string|string[]
---@param timeout? number seconds
---@return string ...
function Terminal:expect(pattern, timeout)
  local patterns = check_patterns(pattern)
  local ok, index, found = pcall(nursery.timeout, timeout or DEFAULT_TIMEOUT, wait_for, self, patterns)
  if not ok then
    if type(index) == "table" and rawget(index, "timeout") then
      local why = ("nothing fitted within %g s"):format(timeout or DEFAULT_TIMEOUT)
      index = failure(self, patterns, why, { name = "timeout", seen = self.seen })
    end
    error(index, 0)
  end
  if type(pattern) == "table" then return index, unpack(found, 3) end
  return unpack(found, 3)
end

-- ---- size and end ----

--- Makes it so large; the program gets SIGWINCH.
function Terminal:resize(rows, cols)
  local p = fds.process_of(self.fd)
  p:syscall("ioctl", self.fd, p.machine.sys.C.TIOCSWINSZ, p:ptr(winsize(p, rows, cols)))
end

--- Waits until the command has ended. (It may wait for somebody to read what it writes.)
---@return afar.Status
function Terminal:wait() return self.child:wait() end

--- Hangs up: the program gets SIGHUP; if that doesn't end it within 2 seconds, SIGKILL.
---@return afar.Status
function Terminal:close()
  self.fd:close()
  self.ended = true
  local ok, status = pcall(nursery.timeout, GRACE, self.child.wait, self.child)
  if ok then return status end
  if not (type(status) == "table" and rawget(status, "timeout")) then error(status, 0) end
  self.child:kill "SIGKILL"
  return self.child:wait()
end

-- ---- ours ----

local function show_all(self, host)
  while true do
    local data = self:read()
    if data == "" then return end
    host:write(data)
  end
end

local function type_all(self, host)
  while true do
    local data = host:read()
    if data == "" then return end
    local ok, err = pcall(self.send, self, data)
    if not ok and not errors.is(err, "EIO") then error(err, 0) end
  end
end

--- t:attach(): the host's own terminal becomes that of the program, keys, size and all, until the program closes it; returns how it ended.
--- Ours is put back as it was, whatever happens meanwhile.
---@return afar.Status
function Terminal:attach()
  local host = terminal.open()
  nursery.nursery(function(n)
    n:defer(host.restore, host)
    host:raw()
    local function follow() self:resize(host:size()) end
    follow()
    host:on_resize(function() n:spawn(pcall, follow) end)
    n:spawn(type_all, self, host)
    show_all(self, host)
    n:cancel()
  end)
  return self.child:wait()
end
