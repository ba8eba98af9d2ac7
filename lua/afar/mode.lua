--- Permissions, as the script may give them: 420, "0644", "644".

---@param value integer|string|nil
---@param call string  for the error
---@return integer
return function(value, call)
  if type(value) == "number" then return value end
  local octal = type(value) == "string" and value:match "^0?o?([0-7]+)$"
  if not octal then
    error(('%s: permissions are a number, or octal digits as in "0644"; not %s'):format(call, tostring(value)), 0)
  end
  return tonumber(octal, 8)
end
