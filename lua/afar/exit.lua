--- What is to be done before the program ends, however the script ends: connections are closed, far output is brought.

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

--- Calls them all, each once; what one raises is shown and keeps none of the others from running.
function exit.run()
  while #hooks > 0 do
    local ok, err = pcall(table.remove(hooks))
    if not ok then io.stderr:write("afar: at exit: ", tostring(err), "\n") end
  end
end

local leave = os.exit

--- os.exit, which does that too where it can wait.
local function leave_cleanly(...)
  local sched = require "afar.sched"
  if sched.current() and coroutine.isyieldable() then exit.run() end
  leave(...)
end

--- Replaces os.exit.
function exit.install() os.exit = leave_cleanly end -- luacheck: ignore 122

return exit
