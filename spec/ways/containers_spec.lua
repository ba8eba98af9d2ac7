-- Containers, sandboxes, other roots and namespaces: real ones of Debian's tools. What can't run here is skipped, and says so.

local afar = require "afar"
local rootfs = require "spec.support.rootfs"

local here = afar.here

local function installed(program)
  return here:run({ "sh", "-c", 'command -v "$0"', program, check = false }).status.ok
end

local function missing()
  if here:getuid() ~= 0 then return "needs root" end
  if not installed "busybox" then return "needs busybox" end
end

describe("a root in another place", function()
  local dir, root
  if missing() then return pending(missing()) end

  setup(function()
    dir = here:mkdtemp()
    root = dir .. "/root"
    here:chmod(dir, "0755")
    rootfs.make(here, root)
  end)
  teardown(function() here:remove_tree(dir, { force = true }) end)

  --- What a root there says of itself, and that bytes pass unharmed.
  local function look(far)
    local bytes = ("\0\1\3\4\13\26\27\28\29\127\255"):rep(3000)
    local seen = { id = far:run({ "id", "-u" }).stdout:gsub("\n", ""), same = far:run({ "cat", stdin = bytes }).stdout == bytes }
    seen.os = far:run({ "ls", "/bin/busybox", check = false }).status.ok
    far:disconnect()
    return seen
  end

  local failure = require("spec.support.raised").named

  local INSIDE = { id = "0", same = true, os = true }

  describe("by chroot", function()
    it("is in there", function() assert.same(INSIDE, look(here:chrooted(root))) end)
    it("is another user of that place", function()
      assert.same({ id = "1234", same = true, os = true }, look(here:chrooted(root, { user = "guest" })))
    end)
    it("says that it isn't there", function()
      local name, message = failure(here.chrooted, here, dir .. "/nothing")
      assert.equal("missing", name)
      assert.matches("the directory can't be a root", message)
    end)
    it("says that there is no shell", function()
      local name, message = failure(here.chrooted, here, dir)
      assert.equal("no_shell", name)
      assert.matches("there is no /bin/sh in it.*; a fork that goes there by itself needs none", message)
    end)
    it("says that there is no such user", function() assert.equal("unknown_user", (failure(here.chrooted, here, root, { user = "nosuch" }))) end)
  end)

  describe("by nsenter", function()
    local child
    before_each(function()
      local p = here:fork()
      child = p:exec { "unshare", "--mount", "--uts", "--ipc", "sh", "-c", "hostname inner-host; exec sleep 1000" }
      afar.timeout(60, function()
        while here:run({ "nsenter", ("--target=%d"):format(child.pid), "--uts", "hostname", check = false }).stdout ~= "inner-host\n" do
          afar.sleep(0.02)
        end
      end)
    end)
    after_each(function()
      child:kill "SIGKILL"
      child:wait()
    end)

    it("is in the namespaces that are named", function()
      local far = here:nsenter { target = child.pid, uts = true }
      assert.equal("inner-host\n", far:run({ "hostname" }).stdout)
      assert.not_equal(here.machine.hello.ns.uts, far.machine.hello.ns.uts)
      assert.equal(here.machine.hello.ns.ipc, far.machine.hello.ns.ipc)
      far:disconnect()
    end)
    it("says that there is no such process", function()
      assert.equal("missing", (failure(here.nsenter, here, { target = 4194303, mount = true })))
    end)
    it("wants to know where to", function()
      local _, message = failure(here.nsenter, here, {})
      assert.matches("target = PID, or the path of some namespace, is missing", message)
    end)
  end)

  describe("by bubblewrap", function()
    if not installed "bwrap" then return pending "bwrap isn't installed" end
    it("is in the sandbox", function()
      local far = here:bwrap { "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--unshare-net" }
      assert.not_equal(here.machine.hello.ns.net, far.machine.hello.ns.net)
      assert.same(INSIDE, look(far))
    end)
    it("says what bwrap doesn't like", function()
      local name, message = failure(here.bwrap, here, { "--no-such-option" })
      assert.equal("bad_option", name)
      assert.matches("Unknown option %-%-no%-such%-option", message)
    end)
    it("says that no place takes a program", function()
      local name, message = failure(here.bwrap, here, { "--ro-bind", root, "/" })
      assert.equal("noexec", name)
      assert.matches("no place to write a program and execute it", message)
      message = select(2, failure(here.bwrap, here, { "--ro-bind", "/", "/" }))
      assert.matches("execute it %(tried: none of the usual ones can be written to%)", message)
    end)
  end)

  --- An OCI runtime and a container that runs.
  local function runtime(name, from, options)
    describe("by " .. name, function()
      if not installed(name) then return pending(name .. " isn't installed") end
      local p, started

      local function run(...)
        return p:run { name, "--root", dir .. "/" .. name .. "-state", unpack { ... } }
      end

      setup(function()
        p = from()
        rootfs.bundle(p, dir .. "/" .. name, root, name)
        local all = { name, "--root", dir .. "/" .. name .. "-state" }
        for _, word in ipairs(options) do all[#all + 1] = word end
        for _, word in ipairs { "run", "--detach", "--bundle", dir .. "/" .. name, "inner" } do all[#all + 1] = word end
        all.check, all.stdout, all.stderr = false, "null", "null" -- the container has them for as long as it lives
        started = p:run(all).status.ok
      end)
      teardown(function()
        if started then run("delete", "--force", "inner") end
        if p ~= here then p:disconnect() end
      end)

      local own = { "--root", "" }
      local function opts(more)
        own[2] = dir .. "/" .. name .. "-state"
        local o = { options = own }
        for key, value in pairs(more or {}) do o[key] = value end
        return o
      end

      it("is in the container", function()
        if not started then return pending(name .. " can't run a container here") end
        assert.same(INSIDE, look(p[name](p, "inner", opts())))
      end)
      it("is another user there", function()
        if not started then return pending(name .. " can't run a container here") end
        assert.equal("1234", look(p[name](p, "inner", opts { user = "1234:1234" })).id)
      end)
      it("says that there is no such container", function()
        local what, message = failure(p[name], p, "nosuch", opts())
        assert.equal("no_container", what)
        assert.matches("there is no such container that runs", message)
      end)
    end)
  end

  runtime("runc", function() return here end, {})
  -- crun takes only cgroups of one version: in a mount namespace of its own there are such.
  runtime("crun", function()
    local script = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec sh -c \"$0\""
    return here:bootstrap { "unshare", "-m", "--propagation", "private", "sh", "-c", script, afar.SCRIPT, name = "crun's" }
  end, { "--cgroup-manager=disabled" })

  describe("by podman", function()
    if not installed "podman" or not installed "runc" then return pending "podman or runc isn't installed" end
    local words, started

    setup(function()
      words = {
        "--root", dir .. "/podman", "--runroot", dir .. "/podman-run", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs",
        "--events-backend", "none", "--runtime", "runc",
      }
      local run = { "podman", unpack(words) }
      local more = {
        "run", "--detach", "--name", "inner", "--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000", "--network", "none", "--rootfs", root,
        "sleep", "1000",
      }
      for _, word in ipairs(more) do run[#run + 1] = word end
      run.check = false
      started = here:run(run).status.ok
    end)
    teardown(function()
      local remove = { "podman", unpack(words) }
      for _, word in ipairs { "rm", "--force", "--all", "--time", "0" } do remove[#remove + 1] = word end
      remove.check = false
      here:run(remove)
    end)

    it("is in the container", function()
      if not started then return pending "podman can't run a container here" end
      assert.same(INSIDE, look(here:podman("inner", { options = words })))
    end)
    it("is another user there, in another directory", function()
      if not started then return pending "podman can't run a container here" end
      local far = here:podman("inner", { options = words, user = "guest", workdir = "/tmp" })
      assert.equal("/tmp\n", far:run({ "pwd" }).stdout)
      assert.equal("1234", look(far).id)
    end)
    it("says that there is no such container", function()
      assert.equal("no_container", (failure(here.podman, here, "nosuch", { options = words })))
    end)
  end)

  it("goes through several", function()
    local first = here:setpriv { bounding_set = "-sys_time" }
    local far = first:chrooted(root)
    assert.equal("/tmp", far:run({ "pwd", cwd = "/tmp" }).stdout:gsub("\n", ""))
    assert.same(INSIDE, look(far))
    first:disconnect()
  end)
end)
