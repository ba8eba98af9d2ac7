--- A line that tells how far something long has come: on a terminal only, and only when it takes more than a moment.

local loop = require "afar.loop"
local spawn = require "afar.spawn"

local progress = {}

local PATIENCE = 0.7 -- seconds before the first line
local EVERY = 0.2

local Progress = {}
Progress.__index = Progress

local UNITS = { "B", "KiB", "MiB", "GiB", "TiB" }

--- A number of bytes as a person reads it.
function progress.bytes(count)
  local unit = 1
  while count >= 1024 and unit < #UNITS do
    count, unit = count / 1024, unit + 1
  end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(count, UNITS[unit])
end

---@param what string   what is done
---@param total integer bytes
function progress.start(what, total)
  local now = loop.monotonic()
  return setmetatable({ what = what, total = total, began = now, next = now + PATIENCE, on = spawn.isatty(2) }, Progress)
end

--- So many bytes are done.
function Progress:at(done)
  local now = loop.monotonic()
  if not self.on or now < self.next then return end
  self.next = now + EVERY
  self.shown = true
  local percent = self.total > 0 and 100 * done / self.total or 100
  local rate = progress.bytes(done / (now - self.began))
  spawn.write(2, ("\r\27[K%s: %d%% of %s, %s/s"):format(self.what, percent, progress.bytes(self.total), rate))
end

--- Takes the line away again.
function Progress:stop()
  if self.shown then spawn.write(2, "\r\27[K") end
end

-- ---- several things at once ----

local Count = {}
Count.__index = Count

local NAMES_SHOWN = 3

--- How many of `total` things are done, failed, and under way.
---@param total integer
---@param wanted boolean
function progress.count(total, wanted)
  local now = loop.monotonic()
  local on = wanted and spawn.isatty(2)
  return setmetatable({ total = total, finished = 0, failed = 0, names = {}, next = now + PATIENCE, on = on }, Count)
end

--- The oldest of what is under way: what all others may be waiting for.
function Count:text()
  local names = table.concat(self.names, ", ", 1, math.min(#self.names, NAMES_SHOWN))
  local more = #self.names > NAMES_SHOWN and (" and %d more"):format(#self.names - NAMES_SHOWN) or ""
  local failed = self.failed > 0 and (", %d failed"):format(self.failed) or ""
  return ("%d of %d done%s; at %s%s"):format(self.finished, self.total, failed, names, more)
end

function Count:show()
  local now = loop.monotonic()
  if not self.on or now < self.next then return end
  self.next = now + EVERY
  self.shown = true
  spawn.write(2, "\r\27[K" .. self:text():sub(1, 79))
end

function Count:begin(name)
  self.names[#self.names + 1] = name
  self:show()
end

function Count:done(name, ok)
  self.finished = self.finished + 1
  if not ok then self.failed = self.failed + 1 end
  for i, one in ipairs(self.names) do
    if one == name then
      table.remove(self.names, i)
      break
    end
  end
  self:show()
end

Count.stop = Progress.stop

return progress
