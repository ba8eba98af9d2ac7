--- Over ssh, to a throwaway server on this machine: the time to a root there, and big files both ways.

local afar = require "afar"
local measure = require "measure"
local sshd = require "support.sshd"

local MB = tonumber(os.getenv "BENCH_MB") or 1024
local DIR = os.getenv "BENCH_DIR" or "/dev/shm"

local function shell(server, command)
  local seconds = measure.seconds(function()
    assert(os.execute(command:gsub("SSH", "ssh -F " .. server.config .. " afar1")) == 0, command)
  end)
  return seconds
end

local function bootstrap(server)
  measure.row {
    name = "bootstrap over ssh", unit = "ms", goal = "20 ms more",
    base = function() return shell(server, "SSH true") * 1e3 end,
    ours = function()
      return measure.seconds(function() afar.here:ssh("afar1", { config = server.config }).machine:close() end) * 1e3
    end,
  }
end

--- MB a second of the transfer alone: what a login takes is not part of it.
local function rate(server, command)
  local login = shell(server, "SSH true")
  return MB / (shell(server, command) - login)
end

local function copies(server, source, target)
  local far = afar.here:ssh("afar1", { config = server.config })
  local function copy(from, to)
    return function()
      return MB / measure.seconds(function() from:copy_to(source, to, target, { progress = false, sync = false }) end)
    end
  end
  local name = ("file of %d MiB over ssh, %%s"):format(MB)
  measure.row {
    name = name:format "from there", unit = "MB/s", goal = "at least 0.95", ours = copy(far, afar.here),
    base = function() return rate(server, ("SSH cat %s > %s"):format(source, target)) end,
  }
  measure.row {
    name = name:format "to there", unit = "MB/s", goal = "at least 0.95", ours = copy(afar.here, far),
    base = function() return rate(server, ("SSH 'cat > %s' < %s"):format(target, source)) end,
  }
  far.machine:close()
end

return function()
  local server = sshd.start(1)
  local source, target = DIR .. "/afar-bench-source", DIR .. "/afar-bench-target"
  afar.nursery(function(n)
    n:defer(function()
      os.remove(source)
      os.remove(target)
      server:stop()
    end)
    assert(os.execute(("head -c %dM /dev/urandom > %s"):format(MB, source)) == 0)
    bootstrap(server)
    copies(server, source, target)
  end)
end
