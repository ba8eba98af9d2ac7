--- Over ssh, to a throwaway server on this machine: calls, the time to a root there, and big files both ways; on loopback, and with a relay
--- between that makes a round trip take 50 ms.

local afar = require "afar"
local far_side = require "far_side"
local measure = require "measure"

local CALLS = measure.size(100, 5000, 20000)
local MB = measure.size(2, 128, 1024)
local SLOW_MB = measure.size(1, 64, 256)
local ROUNDS = 3

-- ---- calls ----

local function calls(far)
  local root = far:root()
  local child = root:fork()
  local base = far:shell_command(("build/bench/pingpong command %d SSH cat"):format(CALLS))
  local function row(id, name, goal, p)
    measure.row {
      id = id, name = name, unit = "us", goal = goal, tally = { p, CALLS },
      base = function() return measure.program(base) end,
      ours = function()
        return measure.some(CALLS, function() p:syscall "getppid" end)
      end,
    }
  end
  row("ssh-call", "call in a root over ssh", 1.25, root)
  row("ssh-call-child", "call in a child of that root", 1.75, child)
  root:disconnect()
end

-- ---- bootstrap ----

local function bootstrap(far, id, name, round_trip)
  measure.row {
    id = id, name = name, unit = "ms", goal = { plus = round_trip / 2 + 20 },
    base = function() return far:shell "SSH true" * 1e3 end,
    ours = function()
      local root
      local seconds = measure.seconds(function() root = far:root() end)
      root:disconnect()
      return seconds * 1e3
    end,
  }
end

-- ---- big files ----

--- All of a file there, as strings.
local function read_all(root, source)
  local fd = root:open(source)
  local reader, total = fd:reader(), 0
  repeat
    local data = reader:some()
    total = total + #data
  until data == ""
  reader:close()
  return total
end

local function transfers(far, id, where, mb)
  local source, target = far:file(mb), far.target
  local root = far:root()
  local options = { progress = false, sync = false }
  local function row(name, what, command, f)
    measure.row {
      id = id .. "-" .. name, name = ("%d MiB %s, %s"):format(mb, where, what), unit = "s", goal = 1.05, rounds = ROUNDS,
      base = function()
        os.remove(target) -- each writes to fresh memory
        return far:transfer(command)
      end,
      ours = function()
        os.remove(target)
        return measure.seconds(f)
      end,
    }
  end
  row("from", "file from there", ("SSH cat %s > %s"):format(source, target), function() root:copy_to(source, afar.here, target, options) end)
  row("to", "file to there", ("SSH 'cat > %s' < %s"):format(target, source), function() afar.here:copy_to(source, root, target, options) end)
  row("read", "read into strings", ("SSH cat %s | cat > /dev/null"):format(source), function()
    assert(read_all(root, source) == mb * 2 ^ 20)
  end)
  root:disconnect()
  os.remove(target)
end

return function()
  far_side.with(nil, function(far)
    calls(far)
    bootstrap(far, "bootstrap", "bootstrap over ssh", 0)
    transfers(far, "bulk", "over ssh", MB)
  end)
  far_side.with(far_side.DELAY, function(far)
    bootstrap(far, "bootstrap-slow", "bootstrap over ssh, round trip 50 ms", 2 * far_side.DELAY)
    transfers(far, "bulk-slow", "over ssh, round trip 50 ms", SLOW_MB)
  end)
end
