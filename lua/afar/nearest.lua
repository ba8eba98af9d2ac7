--- The Damerau-Levenshtein distance of two strings (insert, delete, change, swap neighbours), or nil where it is above `limit`.
---@param a string
---@param b string
---@param limit integer
---@return integer?
local function distance(a, b, limit)
  if math.abs(#a - #b) > limit then return nil end
  local before, last = nil, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    local row, least, x = { [0] = i }, i, a:byte(i)
    for j = 1, #b do
      local y = b:byte(j)
      local d = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x == y and 0 or 1))
      if before and j > 1 and x == b:byte(j - 1) and a:byte(i - 1) == y then d = math.min(d, before[j - 2] + 1) end
      row[j] = d
      least = math.min(least, d)
    end
    if least > limit then return nil end
    before, last = last, row
  end
  return last[#b] <= limit and last[#b] or nil
end

--- The string key of `keys` that is spelled most like `name`, upper and lower case alike: at most about a third of it may
--- differ. Of equally near ones the first by alphabet; nil where none is near.
---@param name string
---@param keys table<any, any>
---@return string?
return function(name, keys)
  local best, best_distance
  local limit = math.floor((#name + 1) / 3)
  local low = name:lower()
  for key in pairs(keys) do
    if type(key) == "string" then
      local d = distance(low, key:lower(), limit)
      if d and (not best or d < best_distance or (d == best_distance and key < best)) then
        best, best_distance = key, d
      end
    end
  end
  return best
end
