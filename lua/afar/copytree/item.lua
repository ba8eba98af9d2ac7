--- For p:copy_tree: one entry of what is copied. There are as many as files: it has its place for all that a file needs from the beginning, and
--- what is only said in errors is put together there.

local paths = require "afar.path"

local Item = {}

---@class afar.CopyItem
---@field name string
---@field at? string        the directory that it is in, relative to the source, "" being that; nil: it is the source
---@field name_at? number   where the name is, in the memory of who reads or writes it
---@field bytes string      what the kernel said of it
---@field stat afar.Stat
---@field kind string       "file", "directory", "symlink", "special", "link" (to `first`), "same" (is there already)
---@field alone? boolean    a file that doesn't go with others in one chain
---@field attributes? boolean  it has extended ones

---@return afar.CopyItem
function Item.new(name, at, name_at)
  return {
    name = name, at = at, bytes = nil, stat = nil, kind = nil, sparse = nil, alone = nil, attributes = nil,
    name_at = name_at, times_at = nil, data_at = nil, opened = nil, read = nil, fetched = nil, listed = nil, data = nil,
  }
end

--- Relative to the source.
function Item.path(self) return self.at and paths.join(self.at, self.name) or "" end

local function beneath(dir, self) return self.at and paths.join(dir, Item.path(self)) or dir end

function Item.source(job, self) return beneath(job.source, self) end
function Item.target(job, self) return beneath(job.target, self) end

return Item
