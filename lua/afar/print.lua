--- print, which raises when standard output can't be written to. SIGPIPE is ignored here, so `afar forever.lua | head -1`
--- would never end otherwise.

local function line(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
    if type(words[i]) ~= "string" then error("'tostring' must return a string to 'print'", 3) end
  end
  return table.concat(words, "\t") .. "\n"
end

local function print_line(...)
  local ok, message = io.stdout:write(line(...))
  if not ok then error("standard output: " .. message, 2) end
end

jit.off(print_line) -- compiled, a write that fails is done again, and the error is lost

return print_line
