--- The far side of a section: a throwaway sshd on this machine, reached through a relay that delays, if asked for; and the files that go there and
--- back.

local afar = require "afar"
local measure = require "measure"
local sshd = require "support.sshd"

local far_side = { DELAY = 25 } -- ms, each way

local DIR = os.getenv "BENCH_DIR" or "/dev/shm"

---@class bench.Far
---@field dir string     for files
---@field target string  a file there
---@field ssh string     the command; connected: over a connection that is kept
local Far = {}
Far.__index = Far

--- The command with ssh and its options for the word SSH.
function Far:shell_command(command)
  return (command:gsub("%f[%w]SSH%f[%W]", function() return self.ssh end))
end

--- Seconds that a shell command takes.
function Far:shell(command) return measure.shell(self:shell_command(command)) end

--- A connection that is kept; and what it takes to start a command over it.
local function connect(self)
  local path = " -o ControlPath=" .. self.server.dir .. "/ssh"
  assert(os.execute(self.ssh:gsub(" afar1$", " -M -N -f" .. path .. " afar1")) == 0)
  self.connected = self.ssh:gsub(" afar1$", path .. " afar1")
  local starts = {}
  for i = 1, measure.size(1, 5, 5) do starts[i] = measure.shell(self.connected .. " true") end
  table.sort(starts)
  self.start = starts[math.ceil(#starts / 2)]
end

--- Seconds that a shell command takes, with ssh over a connection that is there already; less what `ssh host true` takes over it. So what is left
--- is the transfer alone: neither a login nor the start of a shell.
function Far:transfer(command)
  if not self.connected then connect(self) end
  local all = measure.shell((command:gsub("%f[%w]SSH%f[%W]", function() return self.connected end)))
  return math.max(all - self.start, 1e-3)
end

--- A new root there.
function Far:root()
  local options = self.relay and { "ProxyCommand=" .. self.relay } or nil
  return afar.here:ssh("afar1", { config = self.server.config, options = options })
end

--- A file of so many MiB.
function Far:file(mb)
  local path = self.dir .. "/source"
  assert(os.execute(("head -c %dM /dev/urandom > %s"):format(mb, path)) == 0)
  return path
end

local function start(delay)
  local self = setmetatable({ server = sshd.start(1), dir = os.tmpname() }, Far)
  os.remove(self.dir)
  self.dir = DIR .. "/" .. self.dir:match "[^/]*$"
  assert(os.execute("mkdir " .. self.dir) == 0)
  self.target = self.dir .. "/target"
  self.ssh = ("ssh -F %s afar1"):format(self.server.config)
  if delay then
    local file = assert(io.open(self.server.config))
    local port = file:read("*a"):match "\n  Port (%d+)\n  User"
    file:close()
    self.relay = ("build/relay -d %d -t 127.0.0.1:%s"):format(delay, port)
    self.ssh = ("ssh -o 'ProxyCommand=%s' -F %s afar1"):format(self.relay, self.server.config)
  end
  return self
end

--- Runs f(far) and cleans up. delay: ms each way; nil: no relay.
function far_side.with(delay, f)
  local self = start(delay)
  local ok, err = pcall(f, self)
  self.server:stop()
  os.execute("rm -rf " .. self.dir)
  if not ok then error(err, 0) end
end

return far_side
