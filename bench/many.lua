--- Many at once: afar.map over ssh to a throwaway server, beside as many `ssh host true` started by xargs. BENCH_HOSTS: how many.

local afar = require "afar"
local measure = require "measure"
local sshd = require "support.sshd"

local HOSTS = tonumber(os.getenv "BENCH_HOSTS") or measure.size(2, 20, 50)
local ROUNDS = 3

local function resident()
  local file = assert(io.open "/proc/self/status")
  local text = file:read "*a"
  file:close()
  return tonumber(text:match "RssAnon:%s*(%d+)") / 1024
end

local function side_by_side(server)
  local hosts = {}
  for i = 1, HOSTS do hosts[i] = { ssh = "afar" .. i, config = server.config } end
  local xargs = ("seq %d | xargs -P%d -I@ ssh -n -F %s afar@ true"):format(HOSTS, HOSTS, server.config)
  measure.row {
    id = "many", name = ("%d bootstraps over ssh at once"):format(HOSTS), unit = "s", goal = 1.15, rounds = ROUNDS,
    base = function() return measure.shell(xargs) end,
    ours = function()
      return measure.seconds(function()
        local results = afar.map(hosts, function() end, { limit = HOSTS, progress = false })
        assert(results.failed == 0, tostring(results))
      end)
    end,
  }
  measure.row { id = "many-memory", name = "  the host's own memory after that", unit = "MiB", goal = { most = 20 }, rounds = 1, ours = resident }
end

return function()
  local server = sshd.start(HOSTS)
  afar.nursery(function(n)
    n:defer(function() server:stop() end)
    side_by_side(server)
  end)
end
