--- A log as it grows, line by line.

--- A sequence of the lines that a file gets from now on. It never ends by itself; the second value closes it. Nobody polls: what waits is
--- one request in the process that the file belongs to, until inotify(7) there has something to tell.
---@param p afar.Process
---@param path string
---@return fun(): string, fun()
return function(p, path)
  local changes = p:inotify(path, "IN_MODIFY")
  local file = p:open(path)
  file:lseek(0, "SEEK_END")
  local rest = ""
  local function next_line()
    while true do
      local line, after = rest:match "^([^\n]*)\n(.*)$"
      if line then
        rest = after
        return line
      end
      local data = file:read()
      rest = rest .. data
      if data == "" then changes:next() end
    end
  end
  local function close()
    changes:close()
    file:close()
  end
  return next_line, close
end
