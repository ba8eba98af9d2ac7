--- How long a bootstrap may take, and what is said of one that takes longer: at which stage it is.

local errors = require "afar.error"
local loop = require "afar.loop"
local sched = require "afar.sched"

local patience = { seconds = 120 }

local LINE_SHOWN = 80

--- How many seconds bootstraps may take that say nothing else, from now on; false: any time.
---@param seconds number|false
function patience.set(seconds)
  if seconds ~= false and (type(seconds) ~= "number" or seconds <= 0) then error("set_patience: seconds, or false, were expected", 2) end
  patience.seconds = seconds
end

--- Checks what a script gave as `timeout`; what counts: seconds, or false for any time.
---@param value? number|false
---@return number|false
function patience.check(p, call, value)
  if value == nil then return patience.seconds end
  if value == false or type(value) == "number" and value > 0 then return value end
  error(errors.new(p, call, nil, ("timeout is a number of seconds, or false, not %s"):format(tostring(value))), 0)
end

local function last_line(text)
  local line = text:gsub("%s+$", ""):match "[^\r\n]*$"
  return line ~= "" and (" (%q)"):format((line:sub(1, LINE_SHOWN):gsub("%c", "?"))) or ""
end

--- What it waits for.
local function stage(boot)
  if not boot.stream then return "its command was not started" end
  if boot.stream:state() == "hello" then return "the stub there has begun to speak, and stopped amid its hello" end
  if boot.answered > 0 then return "the shell there has asked for its stub, but didn't execute it" end
  local noise = boot.stream:noise()
  if noise ~= "" then return "what has come from the far side is not a root's" .. last_line(noise) end
  return "nothing has come from the far side" .. last_line(boot.said)
end

local Limit = {}
Limit.__index = Limit

local function arm(self, seconds) self.timer = sched.after(seconds, function() self:tick() end) end

function Limit:tick()
  local left = self.asking and self.seconds or self.deadline - loop.monotonic()
  if left > 0 then return arm(self, left) end
  local boot = self.boot
  local message = ("no root came up within %g s: %s"):format(self.seconds, stage(boot))
  local hint = "timeout = seconds gives it more time"
  self.expire(errors.new(boot.p, boot.call, { boot.name }, message, { name = "timeout", timeout = true, hint = hint, stderr = boot.said }))
end

--- Runs `f(...)`, an answer of a person's: that time doesn't count, and then it begins anew.
function Limit:exempt(f, ...)
  self.asking = true
  local ok, result = pcall(f, ...)
  self.asking = false
  if self.seconds then self.deadline = loop.monotonic() + self.seconds end
  if not ok then error(result, 0) end
  return result
end

function Limit:stop()
  if self.timer then self.timer.f = nil end
end

--- The limit of a bootstrap, from now on. `expire(why)` is called, from the loop, when it is reached.
---@param boot table  the bootstrap: its stream, p, call, name, said, answered
---@param seconds number|false
---@param expire fun(why: afar.Error)
function patience.new(boot, seconds, expire)
  local self = setmetatable({ boot = boot, seconds = seconds, expire = expire }, Limit)
  if seconds then
    self.deadline = loop.monotonic() + seconds
    arm(self, seconds)
  end
  return self
end

return patience
