--- A big file of another process on this machine, into Lua strings of 64 KiB.

local measure = require "measure"
local places = require "places"

local MB = measure.size(1, 256, 1024)
local DIR = os.getenv "BENCH_DIR" or "/dev/shm"
local STRING = 65536

return function(mode)
  local path = DIR .. "/afar-bench-strings"
  assert(os.execute(("head -c %dM /dev/urandom > %s"):format(MB, path)) == 0)
  local p = places.ring()
  local function base() return measure.program(("luajit bench/ffi_read.lua %s"):format(path)) end
  local function row(id, name, each)
    measure.row {
      id = id, name = ("%d MiB into strings, %s, %s"):format(MB, name, places.NAMES[mode]), mode = mode, unit = "s", goal = 1.5, base = base,
      ours = function()
        local fd, total = p:open(path), 0
        local seconds = measure.seconds(function() total = each(fd) end)
        fd:close()
        assert(total == MB * 2 ^ 20)
        return seconds
      end,
    }
  end
  row("strings", "fd:read", function(fd)
    local total = 0
    repeat
      local data = fd:read(STRING)
      total = total + #data
    until data == ""
    return total
  end)
  row("strings-reader", "fd:reader():some", function(fd)
    local total, reader = 0, fd:reader()
    repeat
      local data = reader:some(STRING)
      total = total + #data
    until data == ""
    return total
  end)
  os.remove(path)
end
