--- What spec/run.lua shows: a line a file, and each test that failed, was skipped, or was slow. After each file it asks
--- `leaks` whether the file left something behind.

local ffi = require "ffi"

ffi.cdef "unsigned int alarm(unsigned int seconds);"

local handler = {}

local SLOW = 2 -- seconds
local LIMIT = 300 -- seconds for one test, on a machine that may be busy

local Report = {}
Report.__index = Report

local function say(text)
  io.stdout:write(text, "\n")
  io.stdout:flush()
end

local function indent(text) return "    " .. text:gsub("\n+$", ""):gsub("\n", "\n    ") end

--- "spec/x_spec.lua: describe's name it's name"
local function full_name(busted, element)
  local names, file = {}, nil
  local at = element
  while at do
    if at.descriptor == "file" then
      file = at.name
    elseif at.name then
      table.insert(names, 1, at.name)
    elseif at.descriptor ~= "suite" and at.descriptor ~= "it" then
      table.insert(names, 1, at.descriptor)
    end
    at = busted.context.parent(at)
  end
  return (file and file .. ": " or "") .. table.concat(names, " ")
end

--- The traceback where it was raised: in a routine of its own, the error object has it.
local function traceback(trace)
  local raised = type(trace) == "table" and trace.message
  local own = type(raised) == "table" and rawget(raised, "traceback")
  return own or type(trace) == "table" and trace.traceback or nil
end

function Report:failed(name, message, trace)
  self.failures = self.failures + 1
  say("FAILED " .. name)
  say(indent(tostring(message)))
  local text = traceback(trace)
  if text and #text > 0 then say(indent(text)) end
end

function Report:count(status, element)
  if status == "success" then
    self.passed = self.passed + 1
  elseif status == "pending" then
    self.skipped = self.skipped + 1
    local reason = element.descriptor == "pending" and "pending" or self.reason or "no reason given"
    say(("skipped %s: %s"):format(full_name(self.busted, element), reason))
  end
  self.reason = nil
  local seconds = element.duration or 0
  if seconds > SLOW then say(("slow %s: %.1f s"):format(full_name(self.busted, element), seconds)) end
end

--- The scheduler, when we run inside afar.
local function scheduler()
  local sched = package.loaded["afar.sched"]
  return sched and sched.current() and sched
end

--- A test that hangs is cancelled; where it can't be, since it waits in C, the run ends by SIGALRM.
local function watch(self, name)
  if os.getenv "VERBOSE" then say("run " .. name) end
  ffi.C.alarm(2 * LIMIT)
  local sched = scheduler()
  if not sched then return end
  local routine = sched.current()
  self.timer = sched.after(LIMIT, function()
    say(("%s hangs: not done within %d s"):format(name, LIMIT))
    sched.cancel(routine, ("not done within %d s"):format(LIMIT))
  end)
end

local function unwatch(self)
  ffi.C.alarm(0)
  if self.timer then self.timer.f = nil end
  self.timer = nil
end

local function end_of_file(self, file)
  self.leaks.scrub()
  local left = self.leaks.check(self.before)
  if #left > 0 then self:failed(file.name .. ": leaves nothing behind", table.concat(left, "\n")) end
  local word = self.failures == self.at_start.failures and "ok" or "FAILED"
  local count = self.passed - self.at_start.passed
  say(("%s %s: %d passed, %.1f s"):format(word, file.name, count, self.busted.monotime() - self.at_start.time))
end

--- Counts and shows what `busted` tells; `leaks` is spec/support/leaks.lua.
function handler.new(busted, leaks)
  local self = setmetatable({ busted = busted, leaks = leaks, passed = 0, failures = 0, skipped = 0 }, Report)
  local function on(channel, f)
    busted.subscribe(channel, function(...)
      f(...)
      return nil, true
    end)
  end
  local function failure(element, _, message, trace) self:failed(full_name(busted, element), message, trace) end
  on({ "failure" }, failure)
  on({ "error" }, failure)
  on({ "pending" }, function(_, _, message) self.reason = tostring(message):gsub("^[^\n]-:%d+: ", "") end)
  on({ "test", "start" }, function(element) watch(self, full_name(busted, element)) end)
  on({ "test", "end" }, function(element, _, status)
    unwatch(self)
    leaks.scrub()
    self:count(status, element)
  end)
  on({ "file", "start" }, function()
    self.before = leaks.snapshot()
    self.at_start = { passed = self.passed, failures = self.failures, time = busted.monotime() }
  end)
  on({ "file", "end" }, function(file) end_of_file(self, file) end)
  return self
end

--- The last line. Returns whether all is well.
function Report:finish()
  if self.passed + self.skipped == 0 and self.failures == 0 then self:failed("spec/run.lua", "no test was run") end
  say(("%d passed, %d failed, %d skipped"):format(self.passed, self.failures, self.skipped))
  return self.failures == 0
end

return handler
