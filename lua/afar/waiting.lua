--- Waiting for more than the end of one child: stops and continuations, and any of several children.

local ffi = require "ffi"
local requests = require "afar.requests"
local children = require "afar.child"
local errors = require "afar.error"
local loop = require "afar.loop"
local nearest = require "afar.nearest"
local nursery = require "afar.nursery"
local sched = require "afar.sched"

local waiting = {}

local P_PIDFD = 3

-- ---- what a process hears of its children: SIGCHLD, of which one may stand for several ----

--- Reads SIGCHLD as long as somebody wants to know; each wakes all who wait, to look for themselves.
local function listen(self)
  local ok, err = pcall(function()
    while true do
      self.signals:next()
      self.count = self.count + 1
      for id in pairs(self.sleepers) do loop.complete(id) end
    end
  end)
  self.failed = not ok and err
  for id in pairs(self.sleepers) do loop.complete(id) end
end

--- The one of the parent that is not just being ended: that would take its mask back under a new one.
local function current(parent)
  local self = rawget(parent, "child_news")
  while self and self.closing do
    sched.join(self.closing)
    self = rawget(parent, "child_news")
  end
  return self
end

local function join(parent)
  local self = current(parent)
  if not self then
    self = { users = 0, sleepers = {}, count = 0 }
    rawset(parent, "child_news", self)
    self.opening = sched.start(function() self.signals = parent:signals "SIGCHLD" end)
  end
  self.users = self.users + 1
  return self
end

local function open(self)
  sched.join(self.opening)
  if not self.signals then error(self.opening.values[1], 0) end
  self.routine = self.routine or sched.start(listen, self)
end

--- Whoever is the last ends it, in a routine of its own: no cancellation leaves it half done.
local function leave(parent, self)
  self.users = self.users - 1
  if self.users > 0 then return end
  self.closing = sched.start(function()
    sched.join(self.opening)
    if self.routine then sched.cancel(self.routine, "nobody waits") end
    if self.signals then pcall(self.signals.close, self.signals) end
    rawset(parent, "child_news", nil)
  end)
  sched.join(self.closing)
end

--- Waits for more news than there were when `count` of them had come.
local function sleep(self, count)
  if self.failed then error(self.failed, 0) end
  if self.count ~= count then return end
  local id = loop.id()
  self.sleepers[id] = true
  local ok, err = pcall(sched.wait, id, function() return true end)
  self.sleepers[id] = nil
  if not ok then error(err, 0) end
  if self.failed then error(self.failed, 0) end
end

-- ---- one child ----

--- Asks the kernel, without waiting. nil: nothing of that kind has happened.
local function look(child, options)
  local parent = child.parent
  local r = requests.record(parent)
  r.args = { n = 1, child.pid }
  local info = r:bytes(("\0"):rep(128))
  r:call("waitid", nil, P_PIDFD, child.pidfd, info, options, 0)
  local got = r:fetch(info, 128)
  r:run()
  local bytes = r:data(got)
  if ffi.cast("const int32_t *", bytes)[0] == 0 then return nil end
  return children.status_of(parent.machine, bytes)
end

local WHAT = { stopped = "WSTOPPED", continued = "WCONTINUED" }

local function options_of(child, what)
  local C, options = child.parent.machine.sys.C, 0
  for name, value in pairs(what) do
    if not WHAT[name] then
      local near = nearest(tostring(name), WHAT)
      local hint = near and ("did you mean %q?"):format(near) or nil
      error(errors.new(child.parent, "wait", { child }, ("there is no option %q"):format(tostring(name)), { hint = hint }), 0)
    end
    if value then options = options + C[WHAT[name]] end
  end
  return options
end

local function wait_change(child, options, news)
  local C = child.parent.machine.sys.C
  open(news)
  while not child.status do
    local count = news.count
    local seen = look(child, options + C.WEXITED + C.WNOHANG + C.WNOWAIT)
    if seen and (seen.code or seen.signal) then return child:wait() end
    if seen then return look(child, options + C.WNOHANG) or seen end
    sleep(news, count)
  end
  return child.status
end

function children.wait_change(child, what)
  local options = options_of(child, what)
  if options == 0 then return child:wait() end
  sched.check()
  local news = join(child.parent)
  local ok, status = pcall(wait_change, child, options, news)
  leave(child.parent, news)
  if not ok then error(status, 0) end
  return status
end

-- ---- any of several ----

--- afar.wait_any{ child, ... }: waits until one of them has ended; returns it and its status. The others are not touched. With afar.timeout around
--- it: for so long at most.
---@param list afar.Child[]  on any machines; processes may be among them
---@return afar.Child, afar.Status
function waiting.wait_any(list)
  if type(list) ~= "table" or #list == 0 then error("wait_any: a list of children was expected, not an empty one", 2) end
  for _, child in ipairs(list) do
    local status = rawget(child, "status")
    if status then return child, status end
  end
  local ended, status
  nursery.nursery(function(n)
    for _, child in ipairs(list) do
      n:spawn(function()
        local its = child:wait()
        if not ended then
          ended, status = child, its
          n:cancel "one has ended"
        end
      end)
    end
  end)
  return ended, status
end

return waiting
