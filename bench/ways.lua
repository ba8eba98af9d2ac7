--- Each way into a process that this machine has: the time until a root is up and let go again, beside the same tool running `true`; and how
--- often something was asked for before it was up, which is a round trip each.

local afar = require "afar"
local measure = require "measure"

local house = require "support.house"
local rootfs = require "support.rootfs"
local slurm = require "support.slurm"
local sshd = require "support.sshd"

local here = afar.here

---@param name string
---@param p afar.Process   where the tool is run
---@param command table    the tool, running true
---@param reach fun(): afar.Process
local function way(name, p, command, reach)
  local asked
  local id = name:gsub("%W+", "-")
  measure.row {
    id = "way-" .. id, name = name, unit = "ms",
    base = function()
      return measure.seconds(function() p:run(command) end) * 1e3
    end,
    ours = function()
      return measure.seconds(function()
        local root = reach()
        asked = root.machine.asked
        root:disconnect()
      end) * 1e3
    end,
  }
  measure.row {
    id = "way-asked-" .. id, name = "  asked for something", unit = "times", goal = { most = 1 }, rounds = 1, ours = function() return asked end,
  }
end

local function has(program) return pcall(here.which, here, program) end

local function of_users()
  local root = house.new()
  house.add_user(root, "alice", "secret")
  root:write_file("/etc/doas.conf", "permit nopass root\n", { mode = 256 })
  root:write_file("/etc/sudoers", "root ALL=(ALL) ALL\n", { mode = 288 })
  if has "sudo" then way("sudo", root, { "sudo", "-u", "alice", "true" }, function() return root:sudo "alice" end) end
  way("su", root, { "su", "alice", "-c", "true" }, function() return root:su "alice" end)
  if has "doas" then way("doas", root, { "doas", "-u", "alice", "true" }, function() return root:doas "alice" end) end
  way("setpriv", root, { "setpriv", "--reuid=alice", "--clear-groups", "true" }, function()
    return root:setpriv { reuid = "alice", clear_groups = true }
  end)
  root:disconnect()
end

local function of_roots(dir)
  local root = dir .. "/root"
  rootfs.make(here, root)
  way("chroot", here, { "chroot", root, "/bin/true" }, function() return here:chrooted(root) end)
  local child = here:fork():exec { "unshare", "--mount", "--uts", "sleep", "1000" }
  way("nsenter", here, { "nsenter", "--target=" .. child.pid, "--all", "true" }, function() return here:nsenter { target = child.pid } end)
  child:kill "SIGKILL"
  child:wait()
  if has "bwrap" then
    way("bwrap", here, { "bwrap", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "true" }, function()
      return here:bwrap { "--bind", root, "/", "--proc", "/proc", "--dev", "/dev" }
    end)
  end
  if has "runc" then
    local state = dir .. "/state"
    rootfs.bundle(here, dir .. "/runc", root, "runc")
    local started = here:run {
      "runc", "--root", state, "run", "--detach", "--bundle", dir .. "/runc", "inner", check = false, stdout = "null", stderr = "null",
    }
    if started.status.ok then
      way("runc exec", here, { "runc", "--root", state, "exec", "inner", "true" }, function()
        return here:runc("inner", { options = { "--root", state } })
      end)
      here:run { "runc", "--root", state, "delete", "--force", "inner" }
    end
  end
end

local function of_slurm()
  local cluster = slurm.start()
  local nodes = here:srun { nodes = 1, env = cluster.env }
  local job = "--jobid=" .. nodes.job
  way("srun, in an allocation", here, { "srun", job, "--overlap", "-N1", "-n1", "true", env = cluster.env }, function()
    return here:srun({ job = nodes.job, env = cluster.env })[1]
  end)
  nodes:release()
  cluster:stop()
end

return function()
  way("sh", here, { "sh", "-c", "true" }, function() return here:bootstrap { "sh", "-c", afar.SCRIPT } end)
  way("sh, by its stdin", here, { "sh", "-c", "true" }, function() return here:bootstrap { "sh" } end)
  local server = sshd.start(1)
  way("ssh", here, { "ssh", "-F", server.config, "afar1", "true" }, function() return here:ssh("afar1", { config = server.config }) end)
  server:stop()
  if not slurm.missing() then of_slurm() end
  if house.missing() then return print("(the others: " .. house.missing() .. ")") end
  of_users()
  here:with_tempdir(of_roots)
end
