--- Permissions, as the script may give them: 420, "0644", "644". A number whose decimal digits read like permissions is a slip: 755, say, would be
--- 01363.

---@param value integer|string|nil
---@param call string  for the error
---@return integer
return function(value, call)
  if type(value) == "number" then
    if value >= 600 and value <= 777 and tostring(value):find "^[0-7]+$" then
      error(('%s: the number %d is 0%o, not 0%d: permissions are octal digits in quotes, "0%d"'):format(call, value, value, value, value), 0)
    end
    if value < 0 or value > 0xffff or value % 1 ~= 0 then
      error(("%s: %s is too much for permissions, or no whole number"):format(call, tostring(value)), 0)
    end
    return value
  end
  local octal = type(value) == "string" and value:match "^0?o?([0-7]+)$"
  if not octal then
    error(('%s: permissions are a number, or octal digits as in "0644"; not %s'):format(call, tostring(value)), 0)
  end
  return tonumber(octal, 8)
end
