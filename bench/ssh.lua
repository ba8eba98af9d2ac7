--- Over ssh, to a throwaway server on this machine: the time to a root there, and big files both ways.

local afar = require "afar"
local attach = require "afar.attach"
local measure = require "measure"
local pump = require "afar.pump"
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

--- MB a second of the transfer alone: what a login takes is not part of it. There is no old file, so that each writes to fresh memory.
local function rate(server, target, command)
  local login = shell(server, "SSH true")
  os.remove(target)
  return MB / (shell(server, command) - login)
end

--- All of the file there, as strings.
local function read(far, source)
  local channel = attach.channel(far, far:open(source), "r")
  while pump.read(channel) ~= "" do end -- luacheck: ignore 542
  channel:close()
end

local function transfers(server, source, target)
  local far = afar.here:ssh("afar1", { config = server.config })
  local function row(name, base, f)
    measure.row {
      name = ("%d MiB over ssh, %s"):format(MB, name), unit = "MB/s", goal = "at least 0.95",
      base = function() return rate(server, target, base) end,
      ours = function()
        os.remove(target)
        return MB / measure.seconds(f)
      end,
    }
  end
  local options = { progress = false, sync = false }
  row("read by the script", ("SSH cat %s > /dev/null"):format(source), function() read(far, source) end)
  row("copied from there", ("SSH cat %s > %s"):format(source, target), function() far:copy_to(source, afar.here, target, options) end)
  row("copied to there", ("SSH 'cat > %s' < %s"):format(target, source), function() afar.here:copy_to(source, far, target, options) end)
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
    transfers(server, source, target)
  end)
end
