-- A machine whose init is the stub, on a serial line: aarch64, emulated as a whole, with a real kernel. Only here is seen what qemu-user refuses.

local afar = require "afar"
local guest = require "spec.support.guest"
local probe = require "spec.support.probe"
local raised = require "spec.support.raised"

describe("the init of an aarch64 machine, on a serial line,", function()
  local missing = guest.missing()
  if missing then return pending(missing) end
  local root

  setup(function() root = guest.start() end)
  teardown(function() root:disconnect() end)

  local function ns(p, kind) return p:readlink("/proc/self/ns/" .. kind) end

  it("is reached, and speaks its own architecture's numbers", function()
    assert.equal("aarch64", root.machine.sys.name)
    assert.equal(1, root.pid)
    assert.equal(1, root:getpid())
    assert.equal("aarch64\n", root:run({ "uname", "-m" }).stdout)
    assert.matches("^Linux version %d+%.%d+", root:read_file "/proc/version")
  end)

  it("passes each byte unharmed, both ways", function()
    local all = {}
    for i = 0, 255 do all[i + 1] = string.char(i) end
    all = table.concat(all):rep(64)
    root:write_file("/tmp/all", all)
    assert.equal(all, root:read_file "/tmp/all")
    assert.equal(all, root:run({ "cat", stdin = all }).stdout)
    local stat = root:stat "/tmp/all"
    assert.same({ #all, "file", 420, 0 }, { stat.st_size, stat.type, stat.st_mode % 4096, stat.st_uid })
    root:unlink "/tmp/all"
  end)

  it("clones with shared memory, and each child waits and works by itself", function()
    local p = root:fork()
    assert.equal(p.pid, p:getpid())
    assert.equal(1, p:getppid())
    local q = p:fork()
    assert.equal(p.pid, q:getppid())
    for _, one in ipairs { p, q } do probe.works(one) end
    local shared = p:malloc(8)
    shared:write "together"
    local from, to = q:pipe2()
    assert.equal(8, to:write(shared).size)
    assert.equal("together", from:read())
    q:exit(5)
    p:exit(0)
  end)

  it("waits for what exits, and sees the exec", function()
    local p = root:fork()
    local child = p:exec { "sh", "-c", "exit 7" }
    assert.equal(7, child:wait().code)
    assert.equal(64, root:run({ "/init", check = false }).status.code) -- the stub as a program
    assert.equal("ENOENT", raised.err(root.run, root, { "/bin/nothing" }).name)
    assert.equal("x y\n", root:run({ "sh", "-c", 'echo "$1 $2"', "sh", "x", "y" }).stdout)
  end)

  it("sends signals, and takes them", function()
    local p = root:fork()
    local child = p:exec { "sleep", "1000" }
    child:kill "SIGTERM"
    assert.equal("SIGTERM", child:wait().signal)
    local q = root:fork()
    local signals = q:signals { "SIGUSR1" }
    root:syscall("kill", q.pid, root.machine.sys.C.SIGUSR1)
    assert.equal("SIGUSR1", signals:next().signal)
    signals:close()
    q:exit(0)
  end)

  it("ends all that is below a process that ends", function()
    local p = root:fork()
    local q = p:fork()
    local inner = q:exec { "sleep", "1000" }
    p:exit(0)
    assert.is_true(probe.soon(function() return not pcall(root.stat, root, "/proc/" .. inner.pid .. "/cwd") end))
  end)

  it("has namespaces", function()
    local p = root:clone "CLONE_NEWUTS|CLONE_NEWNET|CLONE_NEWIPC|CLONE_NEWNS|CLONE_NEWPID"
    for _, kind in ipairs { "uts", "net", "ipc", "mnt" } do assert.not_equal(ns(root, kind), ns(p, kind)) end
    assert.equal(1, p:getpid())
    p:syscall("sethostname", "inner", 5)
    assert.equal("inner\n", p:run({ "hostname" }).stdout)
    assert.equal("(none)\n", root:run({ "hostname" }).stdout)
    p:mount("tmpfs", "/tmp", "tmpfs")
    p:write_file("/tmp/inside", "")
    assert.equal("ENOENT", raised.err(root.stat, root, "/tmp/inside").name)
    local q = root:fork()
    q:setns(p, "CLONE_NEWUTS")
    assert.equal("inner\n", q:run({ "hostname" }).stdout)
    q:exit(0)
    p:exit(0)
  end)

  it("has user namespaces, for whom is nobody special", function()
    local u = root:fork()
    u:setresgid(1234, 1234, 1234)
    u:setresuid(1234, 1234, 1234)
    local p = u:clone "CLONE_NEWUSER"
    assert.same({ 0, 0 }, { p:getuid(), p:getgid() })
    assert.matches("^ +0 +1234 +1\n", p:read_file "/proc/self/uid_map")
    p:exit(0)
    u:exit(0)
  end)

  it("has containers, though its root is an initramfs", function()
    for _, name in ipairs { "proc", "dev", "etc" } do root:mkdir_p("/tmp/c/" .. name) end
    for _, name in ipairs { "bin", "lib" } do root:copy_tree("/" .. name, root, "/tmp/c/" .. name) end
    local c = root:enter_container("/tmp/c", { hostname = "box" })
    assert.equal(1, c:getpid())
    assert.same({ "bin", "dev", "etc", "lib", "proc" }, c:listdir "/")
    assert.equal("aarch64 box\n", c:run({ "sh", "-c", "echo $(uname -m) $(hostname)" }).stdout)
    assert.equal("ENOENT", raised.err(c.stat, c, "/init").name)
    c:exit(0)
  end)

  it("is a way to the next", function()
    local inner = root:bootstrap { "/init", afar.MARKER, "0", "1", name = "inner" } -- by a shell it takes long, emulated
    assert.equal("aarch64", inner.machine.sys.name)
    assert.is_true(inner.pid > 1)
    assert.equal("works\n", inner:run({ "echo", "works" }).stdout)
    inner:disconnect()
  end)
end)
