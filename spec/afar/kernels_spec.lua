-- What a kernel lacks: each call that is newer than Linux 5.4, refused as an older kernel or a container's filter would; see doc/kernels.md.

local afar = require "afar"
local old_kernel = require "spec.support.old_kernel"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"

local NEWER = { "close_range", "clone3", "pidfd_getfd", "openat2", "epoll_pwait2", "execveat", "copy_file_range", "memfd_create", "faccessat2",
  "process_vm_readv", "renameat2", "mount_setattr", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "statx", "preadv2", "pwritev2",
  "pidfd_open", "fanotify_init", "name_to_handle_at", "futex_waitv", "io_uring_setup", "landlock_create_ruleset" }

--- A root beneath which the calls are missing.
local function root_without(calls)
  local p = afar.here:fork()
  old_kernel.install(p, calls)
  local root = p:bootstrap { "sh", "-c", afar.SCRIPT, name = "old" }
  return root, function()
    root:disconnect()
    p:exit(0)
  end
end

local function check_missing(root, calls)
  for _, call in ipairs(calls) do
    local ok, err = pcall(root.syscall, root, call, -1, 0, 0, 0, 0, 0)
    assert.is_false(ok)
    assert.equal("ENOSYS", err.name, call)
  end
end

--- The whole of the everyday, which works on each kernel from 5.4 on.
local function check_everyday(root)
  local p = root:fork()
  probe.works(p)
  assert.is_true(probe.fds(p) < probe.fds(root.pid))
  local q = p:clone "CLONE_FILES|CLONE_FS"
  assert.equal(q.pid, q:getpid())
  q:exit(0)
  assert.equal("x\n", p:run({ "echo", "x" }).stdout)
  local path = "/tmp/afar-kernels-" .. p.pid
  p:write_file(path, "content")
  assert.equal("content", p:read_file(path))
  root:copy_to(path, p, path .. ".2")
  assert.equal("content", p:read_file(path .. ".2"))
  p:unlink(path)
  p:unlink(path .. ".2")
  local a, b = p:pipe2()
  p:close_others { a }
  assert.is_true(b.state.closed)
  a:close()
  assert.is_true(p:exit(0).ok)
end

describe("doc/kernels.md", function()
  it("has only calls that are taken away here", function()
    local file = io.open "doc/kernels.md"
    local sys, newer, rows = afar.here.machine.sys, {}, 0
    for _, call in ipairs(NEWER) do newer[call] = true end
    for line in file:lines() do
      local feature = line:match "^| (.-) |"
      for name in (feature or ""):gmatch "`([%l%d_]+)`" do
        local floor = name == "setns" -- it is older; what it is given is not
        assert.is_true(floor or not sys.nr[name] or newer[name] or false, name)
        rows = rows + 1
      end
    end
    file:close()
    assert.is_true(rows > 10)
  end)
end)

describe("without", function()
  for _, call in ipairs(NEWER) do
    it(call .. " the everyday works all the same", function()
      local root, finish = root_without { call }
      check_missing(root, { call })
      check_everyday(root)
      finish()
    end)
  end

  it("pidfd_open only those lack a pidfd that nobody here has cloned", function()
    local root, finish = root_without { "pidfd_open" }
    local p = root:fork()
    local child = p:fork():exec { "sleep", "100" }
    child:kill "SIGKILL"
    assert.equal("SIGKILL", child:wait().signal)
    local ok, err = pcall(p.pidfd_open, p, p.pid)
    assert.is_false(ok)
    assert.equal("ENOSYS", err.name)
    p:exit(0)
    finish()
  end)

  it("the handles of files fanotify is refused, and inotify goes on", function()
    local root, finish = root_without { "fanotify_init", "name_to_handle_at" }
    local ok, err = pcall(root.fanotify, root, "/tmp", "FAN_CREATE")
    assert.is_false(ok)
    assert.equal("ENOSYS", err.name)
    root:inotify("/tmp", "IN_CREATE"):close()
    finish()
  end)

  it("all of them too", function()
    local root, finish = root_without(NEWER)
    check_missing(root, NEWER)
    check_everyday(root)
    finish()
  end)

  it("execveat a program goes by its fd all the same", function()
    local root, finish = root_without { "execveat" }
    local file = root:open "/bin/echo"
    assert.equal("x\n", root:run({ "echo", "x", fd = file }).stdout)
    file:close()
    finish()
  end)

  it("pidfd_getfd its error is the kernel's", function()
    local root, finish = root_without { "pidfd_getfd" }
    local kid = root:fork()
    local ok, err = pcall(root.pidfd_getfd, root, kid.child, 0)
    assert.is_false(ok)
    assert.equal("ENOSYS", err.name)
    kid:exit(0)
    finish()
  end)

  it("clone3 a child is moved into its cgroup after birth", function()
    local root, finish = root_without { "clone3" }
    local base = pcall(root.stat, root, "/sys/fs/cgroup/unified/cgroup.procs") and "/sys/fs/cgroup/unified" or "/sys/fs/cgroup"
    local path = base .. "/afar-old-" .. root.pid
    if pcall(root.mkdir, root, path) then
      local cgroup = root:open(path, "O_RDONLY|O_DIRECTORY")
      local kid = root:clone(0, { cgroup = cgroup })
      assert.matches("afar%-old", kid:read_file "/proc/self/cgroup")
      kid:exit(0)
      cgroup:close()
      assert.is_true(probe.soon(function() return pcall(root.rmdir, root, path) end))
    end
    finish()
  end)

  it("a pidfd for setns its namespaces' files do", function()
    superuser.needed()
    local root, finish = root_without { "pidfd_open" }
    local target, p = root:clone "CLONE_NEWUTS|CLONE_NEWNET", root:fork()
    p:setns(target, "CLONE_NEWUTS|CLONE_NEWNET")
    for _, kind in ipairs { "uts", "net" } do
      local link = "/proc/self/ns/" .. kind
      assert.equal(target:readlink(link), p:readlink(link))
      assert.not_equal(root:readlink(link), p:readlink(link))
    end
    p:exit(0)
    target:exit(0)
    finish()
  end)
end)
