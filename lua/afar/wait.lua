--- Waiting for what poll(2) reports of an fd, without blocking its process.

local fds = require "afar.fd"
local io = require "afar.io"

local wait = {}

local NAMES = { "POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLRDNORM", "POLLRDBAND", "POLLWRNORM", "POLLWRBAND", "POLLRDHUP" }

--- The names of what a number of poll(2) says, as a set.
---@return table<string, true>
function wait.names(sys, events)
  local set = {}
  for _, name in ipairs(NAMES) do
    local bit = sys.C[name]
    if events % (2 * bit) >= bit then set[name] = true end
  end
  return set
end

local function events_of(r, events)
  local number = r.sys:const(events or "POLLIN", "POLL", "wait")
  if type(number) ~= "number" or number < 0 or number > 0x7fff then error("wait: events are names such as \"POLLIN|POLLOUT\"", 0) end
  return number
end

local function record(r, fd, events)
  local number = fds.near(fd, r.process, "wait")
  local ref = r:hold(number, events_of(r, events), { as = "wait" })
  return function(r_) return wait.names(r_.sys, r_:result(ref)) end, ref
end

--- fd:wait(events): waits until poll(2) reports one of `events` ("POLLIN|POLLOUT"; default "POLLIN"), and returns what it reports as a set:
--- { POLLIN = true }. POLLERR and POLLHUP end every wait. What is always ready for poll(2), as files are, is at once. Several coroutines may wait for
--- one fd, each for its own events; the process is not blocked. Closing the fd ends the wait with an error. A limit: afar.timeout(seconds, fd.wait, fd).
fds.define_method("wait", function(self, events) return io.until_done(record, self, events) end, record)

return wait
