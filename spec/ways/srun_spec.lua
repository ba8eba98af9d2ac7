-- A process on each node of an allocation, with a real Slurm: all its daemons on this machine.

local afar = require "afar"
local probe = require "spec.support.probe"
local raised = require "spec.support.raised"
local slurm = require "spec.support.slurm"

local here = afar.here

describe("srun", function()
  local missing = slurm.missing()
  if missing then return pending(missing) end
  local cluster

  setup(function() cluster = slurm.start() end)
  teardown(function() cluster:stop() end)

  local function srun(o)
    o.env = cluster.env
    return here:srun(o)
  end

  local function no_jobs()
    return probe.soon(function() return cluster:jobs() == "" end, 60)
  end

  it("gives a process on each node that it allocates, from one call", function()
    local nodes = srun { nodes = 3 }
    assert.same({ "n1", "n2", "n3" }, nodes.names)
    assert.equal(3, #nodes)
    for i, root in ipairs(nodes) do
      assert.equal(nodes.names[i], root.environ.SLURMD_NODENAME)
      assert.equal(nodes.job, root.environ.SLURM_JOB_ID)
      assert.equal(root, nodes[nodes.names[i]])
    end
    assert.equal(nodes.job .. "\n", cluster:jobs())
    local results = afar.map(nodes, function(root) return root:run({ "sh", "-c", "echo $SLURMD_NODENAME" }).stdout end)
    for i, result in ipairs(results) do assert.equal("n" .. i .. "\n", result.value) end
    nodes:release()
    assert.is_true(no_jobs())
  end)

  it("passes each byte unharmed, and no line's end is waited for", function()
    local nodes = srun { nodelist = "n2" }
    assert.same({ "n2" }, nodes.names)
    local all = {}
    for i = 0, 255 do all[i + 1] = string.char(i) end
    all = table.concat(all):rep(1000)
    assert.equal(all, nodes.n2:run({ "cat", stdin = all }).stdout)
    nodes:release()
    assert.is_true(no_jobs())
  end)

  it("takes an allocation that is there, and leaves it there", function()
    local nodes = srun { nodes = 2, job_name = "mine" }
    local again = srun { job = nodes.job }
    assert.same(nodes.names, again.names)
    again:release()
    assert.equal("works\n", nodes[2]:run({ "echo", "works" }).stdout)
    local within = nodes.root:srun { env = cluster.env } -- as in a batch script
    assert.equal(nodes.job, within.job)
    assert.equal(2, #within)
    within:release()
    assert.equal(nodes.job .. "\n", cluster:jobs())
    nodes:release()
    assert.is_true(no_jobs())
  end)

  local AFAR = os.getenv "AFAR" or "build/afar"

  it("gives the allocation back when its host is killed", function()
    local script = [[
      local afar = require "afar"
      print(afar.here:srun({ nodes = 2 }).job)
      io.stdout:flush()
      afar.sleep(1000)]]
    local out, out_w = here:pipe2()
    local p = here:fork()
    local child = p:exec { AFAR, "-e", script, stdout = p:inherit(out_w), env = cluster.env }
    out_w:close()
    assert.matches("^%d+\n$", out:read())
    child:kill "SIGKILL"
    child:wait()
    out:close()
    assert.is_true(no_jobs())
  end)

  it("gives the allocation back when the script ends without a word about it", function()
    local said = here:run { AFAR, "-e", 'nodes = require("afar").here:srun { nodes = 2 }', env = cluster.env }
    assert.equal("", said.stderr)
    assert.is_true(no_jobs())
  end)

  it("awaits, when all are released, the sruns of those that have ended meanwhile", function()
    local nodes = srun { nodes = 2 }
    local commands = { nodes[1].machine.via, nodes[2].machine.via, nodes.root.machine.via }
    here:kill(nodes[2].pid, "SIGKILL")
    assert.is_true(probe.soon(function() return not nodes[2]:is_alive() end))
    nodes:release()
    for _, command in ipairs(commands) do assert.is_true(command:has_ended()) end
    assert.is_true(no_jobs())
  end)

  it("gives the allocation back that it still waits for", function()
    local nodes = srun { nodes = 3, exclusive = true }
    local err = raised.err(afar.timeout, 1, srun, { nodes = 1, exclusive = true })
    assert.is_true(err.timeout)
    assert.equal(nodes.job .. "\n", cluster:jobs())
    nodes:release()
    assert.is_true(no_jobs())
  end)

  it("says what Slurm refuses", function()
    local function refused(name, text, o)
      local got, message = raised.named(srun, o)
      assert.equal(name, got)
      assert.matches(text, message)
    end
    refused("refused", "invalid partition specified: nosuch", { partition = "nosuch" })
    refused("refused", "allocate", { nodes = 17, immediate = true })
    refused("no_job", "there is no such job", { job = 4711 })
    refused("bad_option", "unrecognized option", { options = { "--nosuch" } })
    assert.matches('no option "node" %(did you mean "nodes"%?%)', (raised.message(srun, { node = 1 })))
    assert.matches("no_service", (raised.named(here.srun, here, { nodes = 1, env = { SLURM_CONF = "/dev/null" } })))
    assert.is_true(no_jobs())
  end)
end)
