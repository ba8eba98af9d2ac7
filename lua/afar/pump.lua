--- Bytes of channels, from and to Lua.

local sched = require "afar.sched"

local pump = {}

--- Waits for bytes of a channel, at most `most` (default: all that are there); "" and the errno (0: a proper end) at its end.
function pump.read(channel, most)
  while true do
    local data, errno = channel:read(most)
    if data then return data end
    if data == false then return "", errno end
    sched.wait(channel:wait_read(), function()
      channel:forget()
      return "never"
    end)
  end
end

--- All bytes up to the end; closes the channel.
---@return string bytes
---@return integer errno 0: a proper end
function pump.read_all(channel)
  local parts = {}
  while true do
    local data, errno = pump.read(channel)
    if data == "" then
      channel:close()
      return table.concat(parts), errno
    end
    parts[#parts + 1] = data
  end
end

--- Writes all of it; false when the other end doesn't take any more.
function pump.write(channel, data)
  local at = 0
  while at < #data do
    local count = channel:write(data, at)
    if not count then return false end
    at = at + count
    if count == 0 then
      sched.wait(channel:wait_write(), function()
        channel:forget()
        return "never"
      end)
    end
  end
  return true
end

local function run(channel, id)
  local moved = sched.wait(id, function()
    channel:stop()
    return false
  end)
  sched.check()
  return moved
end

--- Moves up to `most` bytes from one channel to another, without bringing them to Lua. Returns how many: fewer when there are no more, or when
--- the other end doesn't take any more.
---@return integer
function pump.move(from, to, most)
  return run(from, from:pump(to, most))
end

--- The same from a channel into an fd of the host's: a pipe or a socket. It becomes non-blocking.
function pump.out(from, fd, most) return run(from, from:pump_out(fd, most)) end

--- The same from an fd of the host's into a channel.
function pump.into(fd, to, most) return run(to, to:pump_in(fd, most)) end

return pump
