--- A terminal for programs that take a password from nothing else (ssh, doas): one is made for them, and what they ask there is answered
--- by a function.

local attach = require "afar.attach"
local pump = require "afar.pump"
local sched = require "afar.sched"
local u32 = require("afar.bytes").u32

local TIOCSPTLCK, TIOCGPTN = 0x40045431, 0x80045430

--- A new pseudoterminal of `p`: its own side, and the path of the other.
local function open_pair(p)
  local master = p:open("/dev/ptmx", "O_RDWR|O_NOCTTY|O_CLOEXEC")
  local number = p:malloc(4)
  number:write "\0\0\0\0"
  p:syscall("ioctl", master.number, TIOCSPTLCK, number)
  p:syscall("ioctl", master.number, TIOCGPTN, number)
  return master, ("/dev/pts/%d"):format(u32(number:read()))
end

local Terminal = {}
Terminal.__index = Terminal

--- Whether what was said last wants an answer: a line without an end, which stops behind a colon or a question mark.
local function question_of(said)
  local last = said:match "[^\r\n]*$"
  return last:find "[:?]%s*%]?%s*$" and last or nil
end

local function serve(self, answer)
  local said = ""
  while true do
    local data = pump.read(self.channel)
    if data == "" then return end
    said = said .. data
    local question = question_of(said)
    if question then
      said = ""
      local ok, word = pcall(answer, question)
      if not ok then return self.fail(word) end
      pump.write(self.channel, word .. "\n")
    end
  end
end

--- Makes `child`, a fork of `p`, the leader of a session with a terminal of its own.
---@param p afar.Process
---@param answer fun(question: string): string  raises to give up
---@param fail fun(why: any)                    is told why it gave up
local function new(p, answer, fail)
  local master, path = open_pair(p)
  local self = setmetatable({ path = path, fail = fail }, Terminal)
  self.slave = p:open(path, "O_RDWR|O_NOCTTY|O_CLOEXEC") -- held, so that the terminal isn't hung up before it is used
  master.kind = "pipe" -- it is read and written as one
  self.channel = attach.channel(p, master, "rw")
  sched.start(serve, self, answer)
  return self
end

--- In the child: from now on /dev/tty is this terminal.
function Terminal:enter(child)
  child:setsid()
  child:open(self.path, "O_RDWR"):close()
end

function Terminal:close()
  self.channel:close()
  if self.slave.process:is_alive() then self.slave:close() end
end

return { new = new }
