--- A cluster of Slurm's on this machine alone: munged, slurmctld and several slurmd on loopback, with all that they have in a throwaway directory.

local afar = require "afar"
local ports = require "spec.support.ports"

local slurm = {}

local PROGRAMS = { "munged", "slurmctld", "slurmd", "salloc", "srun", "squeue", "scontrol" }

local CONFIG = [[
ClusterName=afar
SlurmctldHost=HOST(127.0.0.1)
SlurmctldPort=PORT0
AuthType=auth/munge
AuthInfo=socket=DIR/munge.sock
SlurmUser=USER
SlurmdUser=USER
StateSaveLocation=DIR/state
SlurmdSpoolDir=DIR/%n
SlurmctldPidFile=DIR/ctld.pid
SlurmdPidFile=DIR/%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
NodeName=n1 NodeHostname=HOST NodeAddr=127.0.0.1 Port=PORT1 CPUs=4
NodeName=n2 NodeHostname=HOST NodeAddr=127.0.0.1 Port=PORT2 CPUs=4
NodeName=n3 NodeHostname=HOST NodeAddr=127.0.0.1 Port=PORT3 CPUs=4
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
]]

--- Why there can be none; nil: there can.
function slurm.missing()
  for _, name in ipairs(PROGRAMS) do
    if not pcall(afar.here.which, afar.here, name) then return "needs " .. name end
  end
  if not afar.here:run({ "id", "-un", check = false }).status.ok then return "needs a user who has a name" end
end

local Cluster = {}
Cluster.__index = Cluster

local function start(self, words)
  local child = afar.here:fork()
  words.stdout, words.stderr, words.env = child:inherit(self.log), "stdout", self.env
  self.children[#self.children + 1] = child:exec(words)
end

local function write_config(self)
  local here = afar.here
  local config = CONFIG:gsub("DIR", self.dir):gsub("USER", (here:run({ "id", "-un" }).stdout:gsub("\n", "")))
  config = config:gsub("HOST", (here:run({ "uname", "-n" }).stdout:match "^[^.\n]+"))
  for i, port in ipairs(ports.free(4)) do config = config:gsub("PORT" .. i - 1, tostring(port)) end
  here:write_file(self.dir .. "/slurm.conf", config)
  self.env = { SLURM_CONF = self.dir .. "/slurm.conf" }
end

--- How many nodes are ready.
local function ready(self)
  local said = afar.here:run { "sinfo", "--noheader", "--states=idle", "--format=%D", env = self.env, check = false }
  return tonumber(said.stdout:match "%d+") or 0
end

--- Starts it, with nodes n1, n2, n3. Returns it, with `env`: what programs of Slurm's need to find it.
function slurm.start()
  local here = afar.here
  local self = setmetatable({ dir = here:mkdtemp(), children = {} }, Cluster)
  here:chmod(self.dir, "0755")
  here:mkdir(self.dir .. "/state")
  self.log = here:open(self.dir .. "/log", "O_WRONLY|O_CREAT|O_APPEND", "0600")
  write_config(self)
  here:write_file(self.dir .. "/key", here:run({ "head", "-c", "128", "/dev/urandom" }).stdout, { mode = "0600" })
  local function at(name) return self.dir .. "/" .. name end
  start(self, {
    "munged", "--force", "--foreground", "--key-file=" .. at "key", "--socket=" .. at "munge.sock", "--pid-file=" .. at "munged.pid",
    "--log-file=" .. at "munged.log", "--seed-file=" .. at "seed",
  })
  start(self, { "slurmctld", "-D" })
  for i = 1, 3 do start(self, { "slurmd", "-D", "-N", "n" .. i }) end
  for _ = 1, 900 do
    if ready(self) == 3 then return self end
    afar.sleep(0.1)
  end
  local said = here:read_file(at "log")
  self:stop()
  error("the cluster did not come up:\n" .. said, 0)
end

--- The jobs that there are.
function Cluster:jobs() return afar.here:run({ "squeue", "--noheader", "--format=%i", env = self.env }).stdout end

function Cluster:stop()
  for i = #self.children, 1, -1 do
    self.children[i]:kill "SIGTERM"
    self.children[i]:wait()
  end
  self.log:close()
  afar.here:remove_tree(self.dir, { force = true })
end

return slurm
