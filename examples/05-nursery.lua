-- Side by side: every call lets others run while it waits, and no coroutine outlives the nursery that it was started in.

local afar = require "afar"

-- Three programs at once: it takes as long as the slowest. They are done when the nursery is.
local started = os.time()
local order = {}
afar.nursery(function(n)
  for _, seconds in ipairs { 0.3, 0.1, 0.2 } do
    n:spawn(function()
      afar.here:run { "sleep", seconds }
      order[#order + 1] = seconds
    end)
  end
end)
print("order", table.concat(order, " "), os.time() - started <= 1 and "side by side" or "slow")

-- An error in one cancels the others, and is raised once all have ended. Programs that were running are ended, too.
local _, err = afar.try(afar.nursery, function(n)
  n:spawn(function()
    local _, cancelled = pcall(function() afar.here:run { "sleep", "60" } end)
    print("cancelled", afar.is_cancelled(cancelled))
    error(cancelled, 0) -- who catches a cancellation passes it on
  end)
  n:spawn(function() afar.here:run { "cat", "/no/such/file", timeout = 5 } end)
end)
print("raised", err.status)

-- Nothing waits longer than it may.
_, err = afar.try(afar.timeout, 0.1, function() afar.here:run { "sleep", "60" } end)
print("timeout", err.timeout, err)

-- What is deferred is done at the end whatever happens, Ctrl-C included; the last first. It may make calls and wait.
afar.try(afar.nursery, function(n)
  local p = afar.here:fork()
  n:defer(p.exit, p)
  n:defer(print, "deferred", p:getpid() == p.pid)
  error "something else goes wrong"
end)
