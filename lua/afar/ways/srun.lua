--- p:srun{ nodes = 3, ... }: a root on each node of an allocation of Slurm's, by srun(1); see the method below.
--
-- srun has one stdin for all that it starts, so there is one srun for each node, all in one allocation. That belongs to a root on this
-- machine, which salloc runs: it ends with its stream, and then salloc gives the allocation back, whatever has become of the host. (By SIGTERM
-- it may deadlock in its handler: seen with 22.05.) What still waits in the queue when the host is killed goes on to wait, and is given back then.

local bootstrap = require "afar.bootstrap"
local errors = require "afar.error"
local nearest = require "afar.nearest"
local nursery = require "afar.nursery"
local process = require "afar.process"
local way = require "afar.way"

-- Of salloc, which says what there is; an underscore stands for a dash.
local FLAGS = {
  "account", "begin", "constraint", "cpus_per_task", "exclude", "exclusive", "gpus_per_node", "gres", "immediate", "job_name", "mem", "mem_per_cpu",
  "nodelist", "nodes", "ntasks", "ntasks_per_node", "partition", "qos", "reservation", "time",
}
local OURS = { "job", "limit", "name", "options", "step_options", "env", "timeout" }
local LIMIT = 64 -- sruns that start at the same time

local allocates, known = {}, {}
for _, name in ipairs(FLAGS) do allocates[name], known[name] = true, true end
for _, name in ipairs(OURS) do known[name] = true end

local explain = way.explainer {
  {
    what = "no_service", "[Uu]nable to contact slurm controller", "[Uu]nable to establish config", "[Uu]nable to process config", "Zero Bytes",
    message = "Slurm's controller does not answer",
  },
  { what = "no_job", "[Ii]nvalid job id", "[Jj]ob/step already complet", "Job credential", message = "there is no such job that runs" },
  {
    what = "refused", "[Uu]nable to allocate resources", "[Rr]equested node configuration is not available", "[Ii]nvalid", "Job violates", "revoked",
    "not permitted", "Access", "allocate failed", message = "Slurm doesn't allocate that",
  },
  { what = "bad_option", "unrecognized option", "invalid option", "requires an argument", message = "Slurm doesn't know such an option" },
}

---@class afar.Allocation  a list of roots, one a node, in Slurm's order; and by the nodes' names
---@field job string             the job's id
---@field names string[]
---@field root? afar.Process     the root here in which the allocation lives; nil: it was there before
local Allocation = { __name = "allocation" }
Allocation.__index = Allocation

function Allocation:__tostring() return ("job %s on %s"):format(self.job, table.concat(self.names, ", ")) end

--- Ends all its roots, and gives the allocation back (unless it was there before).
function Allocation:release()
  for _, root in ipairs(self) do root:disconnect() end -- also those that have ended: the commands that led there are awaited
  if self.root then self.root:disconnect() end
end

local function check(p, o)
  if type(o) ~= "table" then error(errors.new(p, "srun", nil, ("a table was expected: srun{ nodes = 3 }, not %s"):format(type(o))), 0) end
  for key in pairs(o) do
    if not known[key] then
      local near = nearest(tostring(key), known)
      local hint = near and (" (did you mean %q?)"):format(near) or ""
      error(errors.new(p, "srun", nil, ("there is no option %q%s"):format(tostring(key), hint)), 0)
    end
  end
  if o.job ~= nil then way.check_word(p, "srun", "job", o.job) end
end

local function wants_new(o)
  for _, name in ipairs(FLAGS) do
    if o[name] ~= nil then return true end
  end
  return o.options ~= nil
end

--- The job, the names of its nodes in Slurm's compressed form, and the root that holds it if it is new.
local function allocate(p, o)
  if o.job then
    local said = p:run { "squeue", "--noheader", "--jobs=" .. o.job, "--format=%N", env = o.env, check = false }
    local list = said.stdout:match "%S+"
    if list then return tostring(o.job), list end
    local what, message = explain(nil, said.stderr, "")
    error(errors.new(p, "srun", { o.job }, message or "there is no such job that runs", { name = what or "no_job", stderr = said.stderr }), 0)
  end
  local environ = p.environ
  if environ.SLURM_JOB_ID and not wants_new(o) then return environ.SLURM_JOB_ID, environ.SLURM_JOB_NODELIST end
  local spec = way.join("salloc", "--quiet", o.options or {}, way.flags(o, allocates), way.SHELL)
  spec.env = o.env
  -- It may be queued for as long as it takes.
  local root = bootstrap.start(p, "srun", spec, { name = o.name or "allocation", explain = explain, timeout = o.timeout or false, gently = true })
  return root.environ.SLURM_JOB_ID, root.environ.SLURM_JOB_NODELIST, root
end

local function names_of(p, list, o)
  local names = {}
  for name in p:run({ "scontrol", "show", "hostnames", list, env = o.env }).stdout:gmatch "%S+" do names[#names + 1] = name end
  return names
end

local function step(p, job, name, o)
  -- Unbuffered, or only whole lines would come through; all of the node's processors.
  local spec = way.join(
    "srun", "--jobid=" .. job, "--overlap", "--nodes=1", "--ntasks=1", "--nodelist=" .. name, "--unbuffered", "--quiet", "--cpu-bind=none",
    "--mpi=none", o.step_options or {}, way.SHELL
  )
  spec.env = o.env
  return bootstrap.start(p, "srun", spec, { name = name, explain = explain, timeout = o.timeout, gently = true })
end

--- Fills `self` with the roots, some at a time.
local function start_all(self, p, o)
  local next_one = 0
  local function work()
    while next_one < #self.names do
      next_one = next_one + 1
      local i, name = next_one, self.names[next_one]
      local root = step(p, self.job, name, o)
      self[i], self[name] = root, root
      root.machine.allocation = self -- it lasts as long as any of them is in use
    end
  end
  nursery.nursery(function(n)
    for _ = 1, math.min(o.limit or LIMIT, #self.names) do n:spawn(work) end
  end)
end

--- p:srun{ nodes = 3, time = 10, partition = "batch" }: allocates by Slurm, with the options of salloc(1) (underscores for dashes), and gives a
--- root on each node: a list, in which they are found by the nodes' names, too. Within an allocation (in a batch script), p:srun{} takes that one;
--- p:srun{ job = 1234 } one that is there. allocation:release() ends all; so does the end of the host. options, step_options: further words for
--- salloc, srun; limit: how many sruns start at a time (64); env: for all of them; timeout = seconds, for the queue, too (without it that may
--- take any time). If one root doesn't come up the others are let go, and that is raised.
---@param o table
---@return afar.Allocation
process.define("srun", function(self, o)
  check(self, o)
  local job, list, holder = allocate(self, o)
  local allocation = setmetatable({ job = job, root = holder }, Allocation)
  local ok, err = pcall(function()
    allocation.names = names_of(self, list, o)
    start_all(allocation, self, o)
  end)
  if ok then return allocation end
  for i = 1, #(allocation.names or {}) do
    if rawget(allocation, i) then rawget(allocation, i):disconnect() end
  end
  if holder then holder:disconnect() end
  error(err, 0)
end)
