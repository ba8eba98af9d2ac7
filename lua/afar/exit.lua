--- What is to be done before the program ends, however the script ends: connections are closed, far output is brought.

local leave = require "afar.leave"
local nursery = require "afar.nursery"
local report = require "afar.report"
local sched = require "afar.sched"
local signals = require "afar.signals"

local exit = {}

local hooks = {}

--- Has `f` called before the program ends, in a routine, so it may wait. The one added last is called first.
---@param f fun()
function exit.add(f) hooks[#hooks + 1] = f end

--- Forgets `f`.
function exit.remove(f)
  for i = #hooks, 1, -1 do
    if hooks[i] == f then table.remove(hooks, i) end
  end
end

--- Calls them all, each once; what one raises is shown and keeps none of the others from running. Being cancelled doesn't
--- either, and is raised at the end.
function exit.run()
  local cancelled
  while #hooks > 0 do
    local ok, err = pcall(table.remove(hooks))
    if not ok and nursery.is_cancelled(err) then
      cancelled = err
    elseif not ok then
      report.show("afar: at exit: ", err)
    end
  end
  if cancelled then error(cancelled, 0) end
end

--- os.exit, which does that too where it can wait. `close` as in Lua 5.2: whether all objects are finalized first.
---@param status? boolean|integer
---@param close? boolean
local function leave_cleanly(status, close)
  if sched.current() and coroutine.isyieldable() then pcall(exit.run) end
  signals.disarm()
  if type(status) ~= "number" then status = status == false and 1 or 0 end
  leave(status, close)
end

--- Replaces os.exit.
function exit.install() os.exit = leave_cleanly end

return exit
