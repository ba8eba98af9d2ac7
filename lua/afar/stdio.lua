--- The standard fds of what runs far away: its stdout and stderr end in the host's, line by line, with the machine's name before
--- each when there are several; its stdin is /dev/null (the stub sees to that).

local requests = require "afar.requests"
local exit = require "afar.exit"
local hello = require "afar.hello"
local nursery = require "afar.nursery"
local pump = require "afar.pump"
local sched = require "afar.sched"
local spawn = require "afar.spawn"

local stdio = {}

local LINE_MOST = 64 * 1024 -- bytes of a line that are waited for
local QUIET = 0.1 -- seconds without output after which there is none under way any more

local far = {} -- machine -> { routines }
local count = 0

--- In the root, not waited for: fd `target` becomes a pipe whose other end is a channel.
local function record(r, machine, target)
  local C = machine.sys.C
  local at = r:scratch(8)
  local channel = machine.stream:channel(hello.WINDOW, hello.WINDOW)
  local made = r:call("pipe2", { always = true }, at, C.O_CLOEXEC)
  r:call("fcntl", nil, requests.load32(at, made), C.F_SETFL, C.O_NONBLOCK)
  r:attach(channel:number(), requests.load32(at, made), hello.ATTACH_READ, hello.WINDOW, hello.WINDOW)
  r:call("dup3", nil, requests.load32(at + 4, made), target, 0)
  r:call("close", { always = true, if_ok = made }, requests.load32(at + 4, made))
  return channel
end

--- What may be shown of `text`: with a prefix before each line, whole lines only.
local function lines(name, text)
  if count < 2 then return text, "" end
  local whole, rest = text:match "^(.*\n)([^\n]*)$"
  if not whole and #text > LINE_MOST then whole, rest = text .. "\n", "" end
  if not whole then return "", text end
  return (whole:gsub("[^\n]*\n", function(line) return name .. ": " .. line end)), rest
end

local function show(machine, channel, fd)
  local rest = ""
  while true do
    local data = pump.read(channel)
    if data == "" then break end
    local shown
    shown, rest = lines(machine.name, rest .. data)
    if shown ~= "" then
      sched.wait_fd(fd, "w")
      io.stdout:flush() -- what the script printed before comes before
      spawn.write(fd, shown)
    end
  end
  if rest ~= "" then spawn.write(fd, machine.name .. ": " .. rest .. "\n") end
  channel:close()
end

--- Gives up the root's own ends, so that the channels end when all that writes to them has ended, and waits a moment for that.
local function drain(machine, routines)
  if machine.root:is_alive() then
    local C = machine.sys.C
    local r = requests.record(machine.root)
    local null = r:call("openat", nil, C.AT_FDCWD, r:string "/dev/null", C.O_RDWR + C.O_CLOEXEC, 0)
    r:call("dup3", nil, null, 1, 0)
    r:call("dup3", nil, null, 2, 0)
    r:call("close", nil, null)
    r:submit()
    r:wait()
  end
  local heard
  repeat -- as long as something comes: what still runs there may hold its own ends open
    heard = machine.stream:received()
    local ended = pcall(nursery.timeout, QUIET, function()
      for _, routine in ipairs(routines) do sched.join(routine) end
    end)
  until ended or machine.stream:received() == heard
end

--- Brings what is still under way from one machine; nothing of it is shown after that.
function stdio.drain(machine)
  local routines = far[machine]
  if not routines then return end
  far[machine] = nil
  drain(machine, routines)
  count = count - 1
end

local function drain_all()
  for machine in pairs(far) do stdio.drain(machine) end
end

--- Once nothing can come any more, as its connection has ended by itself, the machine is not held by this.
local function forget_later(machine, routines)
  for _, routine in ipairs(routines) do sched.join(routine) end
  machine:rest()
  if far[machine] ~= routines then return end
  far[machine] = nil
  count = count - 1
end

--- Lays the standard fds of a far machine, before anything else is done there.
function stdio.lay(machine)
  local r = requests.record(machine.root)
  local out, err = record(r, machine, 1), record(r, machine, 2)
  r:submit()
  sched.start(function() r:wait() end)
  local routines = {
    sched.start(show, machine, out, 1),
    sched.start(show, machine, err, 2),
  }
  far[machine] = routines
  count = count + 1
  sched.start(forget_later, machine, routines)
  if not stdio.hooked then
    stdio.hooked = true
    exit.add(drain_all)
  end
end

return stdio
