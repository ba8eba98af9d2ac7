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

return progress
