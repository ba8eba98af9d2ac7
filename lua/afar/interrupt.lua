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

--- The loop has seen a signal: whoever waits is cancelled.
local function on_loop()
  local signum = signals.take()
  if signum and target and not caught then sched.cancel(target, catch(signum)) end
end

--- The script's own code runs, and may never wait again.
local function on_hook()
  local routine = sched.current()
  if not routine then return end
  if not caught then
    signals.unhook()
    local signum = signals.take()
    if signum then error(catch(signum), 0) end
  elseif routine == target or target.done then
    signals.unhook()
    sched.raise_pending()
  end
end

local function arm_all()
  for signum in pairs(messages) do
    if not signals.ignored(signum) then signals.arm(signum) end
  end
end

--- Once, at the start. Signals that the host was told to ignore stay ignored (nohup).
function interrupt.install()
  signals.on_hook(on_hook)
  for signum in pairs(messages) do
    if not signals.ignored(signum) then sched.on(loop.signal(signum), on_loop) end
  end
  arm_all()
end

--- From here on, signals cancel this routine.
---@param routine afar.Routine
function interrupt.watch(routine) target = routine end

--- The signal that came, or nil.
---@return integer?
function interrupt.signal() return caught and caught.signal end

--- The signal that `err` is the cancellation by, or nil.
---@return integer?
function interrupt.signal_of(err) return nursery.is_cancelled(err) and rawget(err, "signal") or nil end

--- For a prompt, which lives on: the next signal is a first one again.
function interrupt.reset()
  if not caught then return end
  signals.unhook()
  caught = nil
  arm_all()
end

--- From here on each signal ends the host at once.
function interrupt.stop() signals.disarm() end

return interrupt
