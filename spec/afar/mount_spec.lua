-- Mounts, by the old calls and by the new ones, in a mount namespace of the spec's own; roots of processes.

local afar = require "afar"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

local function without_emulator(f)
  for _, name in ipairs { "here", "over pipes", "over ssh" } do ways.over(ways.get(name), f) end
end

without_emulator(function(way)
  if superuser.missing() then return pending(superuser.missing()) end
  local p, dir

  before_each(function()
    dir = way.root:mkdtemp()
    p = way.root:clone "CLONE_NEWNS"
    p:mount(nil, "/", nil, "MS_REC|MS_PRIVATE")
  end)

  after_each(function()
    p:exit()
    way.root:remove_tree(dir)
  end)

  local function mounted_at(path)
    for _, mount in ipairs(p:mounts()) do
      if mount.target == path then return mount end
    end
  end

  describe("mount", function()
    it("mounts a filesystem, and umount2 takes it away", function()
      p:mount("some source", dir, "tmpfs", "MS_NOSUID|MS_NODEV", "size=64k,mode=0750")
      local mount = mounted_at(dir)
      assert.equal("tmpfs", mount.type)
      assert.equal("some source", mount.source)
      assert.matches("nosuid", mount.options)
      assert.equal("0750", p:stat(dir).permissions)
      assert.equal(65536, p:statfs(dir).size)
      assert.matches("ENOSPC", message(p.write_file, p, dir .. "/x", ("x"):rep(100000)))
      p:umount2(dir, "MNT_DETACH")
      assert.is_nil(mounted_at(dir))
    end)

    it("binds, moves and remounts", function()
      p:mkdir(dir .. "/a")
      p:mkdir(dir .. "/b")
      p:write_file(dir .. "/a/x", "1")
      p:mount(dir .. "/a", dir .. "/b", nil, "MS_BIND")
      assert.equal("1", p:read_file(dir .. "/b/x"))
      p:mount(nil, dir .. "/b", nil, { "MS_REMOUNT", "MS_BIND", "MS_RDONLY" })
      assert.matches("EROFS", message(p.write_file, p, dir .. "/b/x", "2"))
      p:umount(dir .. "/b")
      assert.same({}, p:listdir(dir .. "/b"))
    end)

    it("lays one directory over another", function()
      for _, name in ipairs { "lower", "upper", "work", "merged" } do p:mkdir(dir .. "/" .. name) end
      p:mount("tmpfs", dir .. "/upper", "tmpfs")
      p:mkdir(dir .. "/upper/u")
      p:mkdir(dir .. "/upper/w")
      p:write_file(dir .. "/lower/x", "below")
      local ok, err = pcall(p.mount, p, "overlay", dir .. "/merged", "overlay", nil,
        ("lowerdir=%s/lower,upperdir=%s/upper/u,workdir=%s/upper/w"):format(dir, dir, dir))
      if not ok and err.name == "ENODEV" then return pending "this kernel has no overlay" end
      assert.is_true(ok, tostring(err))
      p:write_file(dir .. "/merged/x", "above")
      assert.equal("below", p:read_file(dir .. "/lower/x"))
      assert.equal("above", p:read_file(dir .. "/merged/x"))
      p:umount(dir .. "/merged")
      p:umount(dir .. "/upper")
    end)

    it("is one process's alone in a namespace of its own", function()
      p:mount("tmpfs", dir, "tmpfs")
      p:mkdir(dir .. "/x")
      assert.same({}, way.root:listdir(dir))
    end)

    it("says what is wrong", function()
      assert.matches('no constant "MS_BINDD" %(did you mean "MS_BIND"%?%)', message(p.mount, p, "a", "b", nil, "MS_BINDD"))
      assert.matches("a string was expected, not nil", message(p.mount, p, "a"))
      assert.matches('^mount%("none", "/none", "tmpfs"%) in .*ENOENT', message(p.mount, p, "none", "/none", "tmpfs"))
      assert.matches("EINVAL", message(p.umount2, p, dir))
      assert.matches('no constant "MNT_DETATCH"', message(p.umount2, p, dir, "MNT_DETATCH"))
    end)
  end)

  describe("the new mount calls", function()
    it("configure a filesystem, mount it, and attach it", function()
      local fs = p:fsopen "tmpfs"
      fs:fsconfig("FSCONFIG_SET_STRING", "size", "64k")
      fs:fsconfig("FSCONFIG_SET_STRING", "source", "by hand")
      fs:fsconfig "FSCONFIG_CMD_CREATE"
      local mount = fs:fsmount(0, "MOUNT_ATTR_NODEV")
      mount:mkdirat "made-before-it-is-anywhere"
      mount:move_mount("", "AT_FDCWD", dir, "MOVE_MOUNT_F_EMPTY_PATH")
      assert.equal("by hand", mounted_at(dir).source)
      assert.matches("nodev", mounted_at(dir).options)
      assert.same({ "made-before-it-is-anywhere" }, p:listdir(dir))
      mount:close()
      p:umount(dir)
    end)

    it("tell what the filesystem says of a mistake", function()
      local fs = p:fsopen "tmpfs"
      local err = message(fs.fsconfig, fs, "FSCONFIG_SET_STRING", "colour", "green")
      assert.matches("EINVAL", err)
      assert.matches("Unknown parameter 'colour'", err)
      assert.matches("ENODEV", message(p.fsopen, p, "nofs"))
      assert.matches('no constant "FSCONFIG_SET_TEXT"', message(fs.fsconfig, fs, "FSCONFIG_SET_TEXT", "a", "b"))
    end)

    it("copy what is mounted elsewhere, and change it", function()
      p:mkdir(dir .. "/a")
      p:mkdir(dir .. "/b")
      p:write_file(dir .. "/a/x", "1")
      local tree = p:open_tree("AT_FDCWD", dir .. "/a", "OPEN_TREE_CLONE|AT_RECURSIVE")
      tree:mount_setattr("", "AT_EMPTY_PATH|AT_RECURSIVE", { attr_set = "MOUNT_ATTR_RDONLY", propagation = "MS_PRIVATE" })
      tree:move_mount("", nil, dir .. "/b", "MOVE_MOUNT_F_EMPTY_PATH")
      assert.equal("1", p:read_file(dir .. "/b/x"))
      assert.matches("EROFS", message(p.write_file, p, dir .. "/b/x", "2"))
      p:mount_setattr(nil, dir .. "/b", 0, { attr_clr = "MOUNT_ATTR_RDONLY" })
      p:write_file(dir .. "/b/x", "2")
      assert.matches("attr_set", message(p.mount_setattr, p, nil, dir, 0))
      tree:close()
      p:umount(dir .. "/b")
    end)

    it("configure what is mounted anew", function()
      p:mount("tmpfs", dir, "tmpfs", nil, "size=64k")
      local fs = p:fspick("AT_FDCWD", dir)
      fs:fsconfig("FSCONFIG_SET_STRING", "size", "128k")
      fs:fsconfig "FSCONFIG_CMD_RECONFIGURE"
      assert.equal(131072, p:statfs(dir).size)
      p:umount(dir)
    end)
  end)

  describe("another root", function()
    it("is had by chroot, with /proc bound beneath it, in a user namespace of its own", function()
      local child = way.root:clone "CLONE_NEWUSER|CLONE_NEWNS"
      child:chain(function(c)
        way.root:mkdir(dir .. "/proc")
        c:mount("/proc", dir .. "/proc", nil, "MS_BIND|MS_REC")
        c:chroot(dir)
      end)
      assert.equal("directory", child:open("/proc/self"):fstat().type)
      assert.matches("ENOENT", message(child.open, child, "/etc"))
      child:exit()
    end)

    it("is had by pivot_root", function()
      p:mount("tmpfs", dir, "tmpfs")
      p:mkdir(dir .. "/old")
      p:chdir(dir)
      p:pivot_root(".", "old")
      p:chdir "/"
      p:umount2("/old", "MNT_DETACH")
      assert.same({ "old" }, p:listdir "/")
      assert.same({}, p:listdir "/old")
    end)
  end)

  it("tells the mounts of a process, names with blanks too", function()
    p:mkdir(dir .. "/a b\\c")
    p:mount("x y", dir .. "/a b\\c", "tmpfs")
    local mount = mounted_at(dir .. "/a b\\c")
    assert.equal("x y", mount.source)
    assert.equal("/", mount.root)
    assert.equal(afar.here:stat("/").type, "directory")
    p:umount(dir .. "/a b\\c")
  end)
end)
