-- Roots over the user's own ssh, with a real server.

local afar = require "afar"
local probe = require "spec.support.probe"
local sshd = require "spec.support.sshd"

local here = afar.here

local fails = require("spec.support.raised").err

describe("ssh", function()
  local server, config

  setup(function()
    server = sshd.start(3)
    config = server.config
  end)
  teardown(function() server:stop() end)

  --- Runs `f(root)` with a root, which is left afterwards.
  local function with(destination, options, f, p)
    options = options or {}
    options.config = options.config or config
    local root = (p or here):ssh(destination, options)
    local ok, err = pcall(f, root)
    root:disconnect()
    if not ok then error(err, 0) end
  end

  local function works(root)
    probe.works(root)
    assert.equal("x\n", root:run({ "echo", "x" }).stdout)
    assert.equal("sshd", root.environ.SSH_CONNECTION and "sshd")
  end

  --- How many connections the server has let in.
  local function logins()
    local count = 0
    for line in io.lines(server.dir .. "/log") do
      if line:find "^Accepted publickey" then count = count + 1 end
    end
    return count
  end

  for _, shell in ipairs { "dash", "bash", "busybox", "fish", "tcsh", "zsh" } do
    it("works where the login shell is " .. shell, function() with("afar-" .. shell, nil, works) end)
  end

  it("works where the login talks", function() with("afar-noisy", nil, works) end)

  it("needs one connection, and leaves no file and no process", function()
    local before = logins()
    local pid
    with("afar1", nil, function(root)
      works(root)
      pid = root.pid
    end)
    assert.equal(before + 1, logins())
    assert.is_true(probe.soon(function() return not probe.runs(pid) end))
  end)

  it("takes user, port, identity and options", function()
    local port = server:output "ssh -T -G -F $CONFIG afar1 | sed -n 's/^port //p'"
    local user = server:output "id -un"
    with("127.0.0.1", {
      config = "/dev/null",
      user = user,
      port = tonumber(port),
      identity = server.dir .. "/key-plain",
      options = { HostKeyAlias = "afar", UserKnownHostsFile = server.dir .. "/known_hosts", IdentitiesOnly = true, "IdentityAgent=none" },
    }, works)
  end)

  it("has a name, for errors", function()
    with("afar1", nil, function(root)
      assert.matches("in process %d+ on afar1: ", tostring(fails(root.open, root, "/no/such")))
    end)
    with("afar1", { name = "the first" }, function(root) assert.equal("the first", root.machine.name) end)
  end)

  it("works many times at once", function()
    local roots = {}
    afar.nursery(function(n)
      for i = 1, 6 do
        n:spawn(function() roots[i] = here:ssh("afar" .. (i % 3 + 1), { config = config }) end)
      end
    end)
    afar.nursery(function(n)
      for _, root in ipairs(roots) do
        n:spawn(function()
          works(root)
          root:disconnect()
        end)
      end
    end)
  end)

  it("works from any process, and through another", function()
    local p = here:fork()
    with("afar1", nil, function(first)
      local child = first:fork()
      with("afar2", nil, works, child)
      child:exit()
      with("afar2", nil, function(second) with("afar3", nil, works, second) end, first)
    end, p)
    p:exit()
  end)

  it("has the far side's own signals, limits and directory", function()
    with("afar1", nil, function(root)
      assert.equal(server:output "ssh -F $CONFIG afar1 pwd", root:getcwd())
      assert.equal(server:output "ssh -F $CONFIG afar1 umask", (root:run({ "sh", "-c", "umask" }).stdout:gsub("\n", "")))
      assert.equal(server:output "ssh -F $CONFIG afar1 ulimit -n", (root:run({ "sh", "-c", "ulimit -n" }).stdout:gsub("\n", "")))
      assert.equal(
        server:output "ssh -F $CONFIG afar1 grep Sig.*: /proc/self/status | grep -v SigQ",
        (root:run({ "sh", "-c", "grep Sig.*: /proc/self/status | grep -v SigQ" }).stdout:gsub("\n$", ""))
      )
    end)
  end)

  describe("that fails", function()
    local before

    before_each(function() before = probe.holds(here) end)
    after_each(function() assert.same(before, probe.holds(here, before)) end)

    local function failure(destination, options)
      options = options or {}
      options.config = options.config or config
      local err = fails(here.ssh, here, destination, options)
      return err, tostring(err)
    end

    it("says that the host is unknown", function()
      local err, text = failure("nobody.invalid", { config = "/dev/null" })
      assert.equal("unknown_host", err.name)
      assert.matches('^ssh%("nobody.invalid"%) in process %d+ on here: the host is unknown %(ssh: Could not resolve hostname', text)
    end)

    it("says that nothing listens there", function()
      local err, text = failure "afar-closed"
      assert.equal("refused", err.name)
      assert.matches("the connection was refused .*Connection refused.*; does sshd listen there%?$", text)
    end)

    it("says that the key is refused", function()
      local err, text = failure "afar-refused"
      assert.equal("denied", err.name)
      assert.matches("the server accepted no key %(.*Permission denied", text)
      assert.matches("Permission denied", err.stderr)
    end)

    it("says that there is no shell", function()
      local err, text = failure "afar-noshell"
      assert.equal("no_shell", err.name)
      assert.matches("the login works, but there is no shell that obeys", text)
    end)

    it("says that the host key is another, or unknown", function()
      assert.equal("host_key", (failure("afar1", { options = { UserKnownHostsFile = "/dev/null" } })).name)
      local other = server.dir .. "/other_hosts"
      local key = io.open(server.dir .. "/key-plain.pub"):read("*a"):match "^%S+ %S+"
      local file = io.open(other, "w")
      file:write("afar " .. key .. "\n")
      file:close()
      local err, text = failure("afar1", { options = { UserKnownHostsFile = other } })
      assert.equal("host_key_changed", err.name)
      assert.matches("its host key is not the one that is known for it", text)
    end)

    it("says that ssh doesn't know an option", function()
      local err, text = failure("afar1", { options = { "NoSuchOption=yes" } })
      assert.equal("config", err.name)
      assert.matches("ssh doesn't accept its options %(.*nosuchoption", text)
    end)

    it("says what is wrong with its arguments, before anything is done", function()
      assert.matches('there is no option "key"', select(2, failure("afar1", { key = "/x" })))
      assert.matches('begins with a "%-"', select(2, failure "-oProxyCommand=x"))
      assert.matches("the destination must be a string", tostring(fails(here.ssh, here)))
    end)

    it("says that there is no ssh", function()
      local p = here:fork()
      p.environ.PATH = "/nowhere"
      assert.matches('no "ssh" in PATH, which is /nowhere', tostring(fails(p.ssh, p, "afar1", { config = config })))
      p:exit()
    end)

    it("is given up when it is cancelled", function()
      for _, ms in ipairs { 0, 5, 20, 60, 120 } do
        local root = afar.try(afar.timeout, ms / 1000, here.ssh, here, "afar1", { config = config })
        if root then root:disconnect() end
      end
    end)
  end)

  describe("whose connection breaks", function()
    --- What waits there, and what it raised.
    local function waiting(n, root)
      local child, errs = root:fork(), {}
      local from, other = child:pipe2(), root:pipe2()
      local function wait(i, f, ...)
        n:spawn(function(...) errs[i] = fails(f, ...) end, ...)
      end
      wait(1, from.read, from)
      wait(2, other.read, other)
      wait(3, root.run, root, { "sleep", "60" })
      wait(4, child.child.wait, child.child)
      afar.sleep(0.1)
      return errs, child
    end

    local function all_failed(errs, root, child)
      for i = 1, 4 do
        assert.is_true(errs[i].sent, i)
        assert.matches("it may have been performed$", tostring(errs[i]))
      end
      assert.is_false(root:is_alive())
      assert.is_false(fails(root.getpid, root).sent)
      assert.is_false(fails(child.getpid, child).sent)
      assert.is_true(probe.soon(function() return not probe.runs(child.pid) end))
      root:disconnect()
    end

    it("by the client's end, fails all that waits, and ends all there", function()
      local errs, root, child
      afar.nursery(function(n)
        root = here:ssh("afar1", { config = config })
        errs, child = waiting(n, root)
        root.machine.via:kill "SIGKILL"
      end)
      all_failed(errs, root, child)
    end)

    it("by the server's end, too", function()
      local errs, root, child
      afar.nursery(function(n)
        root = here:ssh("afar1", { config = config })
        errs, child = waiting(n, root)
        here:kill(root:getppid(), "SIGKILL") -- the session's sshd
      end)
      all_failed(errs, root, child)
    end)

    it("on the way to another one, fails all behind it", function()
      local errs, first, second, child
      afar.nursery(function(n)
        first = here:ssh("afar1", { config = config })
        second = first:ssh("afar2", { config = config })
        errs, child = waiting(n, second)
        first.machine.via:kill "SIGKILL"
      end)
      all_failed(errs, second, child)
      first:disconnect()
    end)

    it("leaves others alone", function()
      local first, second = here:ssh("afar1", { config = config }), here:ssh("afar2", { config = config })
      first.machine.via:kill "SIGKILL"
      assert.is_true(probe.soon(function() return not first:is_alive() end))
      works(second)
      first:disconnect()
      second:disconnect()
    end)
  end)
end)
