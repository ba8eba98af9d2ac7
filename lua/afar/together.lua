--- Many of a kind, so many at a time: their requests go out together, and their round trips are paid for once.

local nursery = require "afar.nursery"

--- Calls f(item, i) for each item of a list, at most `limit` at once, and returns once all have returned. The first error cancels the
--- others and is raised.
---@generic T
---@param list T[]
---@param limit integer
---@param f fun(item: T, i: integer)
return function(list, limit, f)
  if #list == 0 then return end
  if #list == 1 then return f(list[1], 1) end
  local next_one = 1
  local function work()
    while next_one <= #list do
      local i = next_one
      next_one = i + 1
      f(list[i], i)
    end
  end
  nursery.nursery(function(n)
    for _ = 1, math.min(limit, #list) do n:spawn(work) end
  end)
end
