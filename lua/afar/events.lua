--- What inotify and fanotify tell: events with a mask, a path and a name.

local bit = require "bit"

local events = {}

--- A metatable for events: { mask =, path =, name =, sys = }; event.IN_CREATE tells whether its mask has that bit, and as text it has the names of all.
---@param name string     __name
---@param prefix string   "IN_"
---@param flags string    the names that are shown
function events.kind(name, prefix, flags)
  local Event = { __name = name }

  function Event:__index(key)
    if type(key) ~= "string" or key:sub(1, #prefix) ~= prefix then return nil end
    local bits = rawget(self, "sys").C[key]
    return bits and bit.band(rawget(self, "mask"), bits) ~= 0
  end

  function Event:__tostring()
    local names = {}
    for flag in flags:gmatch "%S+" do
      if self[flag] then names[#names + 1] = flag end
    end
    return ("%s %s%s"):format(table.concat(names, "|"), self.path or "", self.name and "/" .. self.name or "")
  end

  return Event
end

return events
