--- Ctrl-C, SIGTERM and SIGHUP: the first cancels the script, so that its cleanups run; the next one ends the host at once.
--- A script that never waits is interrupted by a debug hook. A loop that LuaJIT has compiled doesn't look at hooks: there,
--- as in `luajit` itself, only the second signal helps.

local loop = require "afar.loop"
local nursery = require "afar.nursery"
local sched = require "afar.sched"
local signals = require "afar.signals"

local interrupt = {}

local messages = { [1] = "hung up", [2] = "interrupted", [15] = "terminated" }
local target -- the routine that a signal cancels
local caught -- the error that the first signal became

local function catch(signum)
  caught = nursery.cancelled(messages[signum])
  caught.signal = signum
  return caught
end

--- The loop has seen the signal: whoever waits is cancelled.
local function on_loop(signum)
  if caught or not target then return end
  sched.cancel(target, catch(signum))
end

--- The script's own code runs, which may never wait again.
local function on_hook(signum)
  local routine = sched.current()
  if not routine then return end
  if not caught then
    signals.unhook()
    error(catch(signum), 0)
  end
  if routine == target or target.done then
    signals.unhook()
    sched.check()
  end
end

--- Once, at the start. Signals that the host was told to ignore stay ignored (nohup).
function interrupt.install()
  signals.on_hook(on_hook)
  for signum in pairs(messages) do
    if not signals.ignored(signum) then
      sched.on(loop.signal(signum), on_loop)
      signals.arm(signum)
    end
  end
end

--- From here on, signals cancel this routine.
---@param routine afar.Routine
function interrupt.watch(routine) target = routine end

--- The signal that came, or nil.
---@return integer?
function interrupt.signal() return caught and caught.signal end

--- For a REPL, which lives on: the next signal is a first one again.
function interrupt.reset()
  if not caught then return end
  signals.unhook()
  local signum = caught.signal
  caught = nil
  if signum ~= 1 then
    for number in pairs(messages) do
      if not signals.ignored(number) then signals.arm(number) end
    end
  end
end

--- From here on each signal ends the host at once.
function interrupt.stop() signals.disarm() end

return interrupt
