-- A round trip is what things cost on a machine far away. A chain is one, however many calls are in it: each may use what those before it gave.

local afar = require "afar"

local p = afar.here:fork()
local path = os.tmpname()

-- In a chain calls are recorded. What they give is known only at its end; until then a placeholder stands for it, which may be an argument.
local length = p:chain(function(c)
  local fd = c:open(path, "O_WRONLY|O_CREAT|O_TRUNC", "0600")
  local written = c:write(fd, "one round trip\n")
  c:fsync(fd)
  c:close(fd) -- done if the open succeeded, whatever happened in between
  return written
end)
print(length .. " bytes")

-- An argument may come from memory at the far side: pipe2 puts its fds there, and the same chain writes to one of them.
local text, read_end = p:chain(function(c)
  local read_end, write_end = c:pipe2()
  c:write(write_end, "through a pipe")
  c:close(write_end)
  return c:read(read_end, 100), read_end
end)
print(text, read_end:read() == "" and "and then its end")

-- The first failure ends the chain, and is what is raised. The rest is not performed.
local _, err = afar.try(p.chain, p, function(c)
  local fd = c:open "/no/such/file"
  c:read(fd, 100)
  c:unlink(path)
end)
print(err.name, p:read_file(path))
p:unlink(path)
p:exit()
