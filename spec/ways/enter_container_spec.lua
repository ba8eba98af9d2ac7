-- A root file system that was copied to where nobody special is, and a process that moves into it.

local afar = require "afar"
local house = require "spec.support.house"
local probe = require "spec.support.probe"
local raised = require "spec.support.raised"
local rootfs = require "spec.support.rootfs"
local ways = require "spec.support.ways"

local OWNER = 1234

for _, name in ipairs { "here", "over ssh" } do
  describe("enter_container,", function()
    local missing = house.missing()
    if missing then return pending(missing) end

    ways.over(ways.get(name), function(way)
      local dir, user, root

      --- The root file system is made here, and copied to the user there.
      before_each(function()
        local original = afar.here:mkdtemp()
        rootfs.make(afar.here, original .. "/root")
        dir = way.root:mkdtemp()
        way.root:chown(dir, OWNER, OWNER)
        user = way.root:fork()
        user:umask "022"
        user:setresgid(OWNER, OWNER, OWNER)
        user:setresuid(OWNER, OWNER, OWNER)
        root = dir .. "/root"
        assert.equal("EPERM", raised.err(afar.here.copy_tree, afar.here, original .. "/root", user, dir .. "/failed").name)
        afar.here:copy_tree(original .. "/root", user, root, { devices = false })
        afar.here:remove_tree(original)
      end)
      after_each(function()
        user:exit(0)
        way.root:remove_tree(dir, { force = true })
      end)

      local function with(options, f, p, path)
        local c = (p or user):enter_container(path or root, options)
        local ok, err = pcall(f, c)
        if c:is_alive() then c:exit(0) end
        if not ok then error(err, 0) end
      end

      it("sees the copied root, and nothing else", function()
        with(nil, function(c)
          assert.same(user:listdir(root), c:listdir "/")
          assert.equal("busybox", c:readlink "/bin/sh")
          assert.equal("uid=0(root) gid=0\n", c:run({ "sh", "-c", "id" }).stdout:gsub(" groups=.*", "\n"))
          assert.equal(1, c:getpid())
          for entry in c:read_file("/proc/self/mountinfo"):gmatch "[^\n]+" do
            assert.matches("^%d+ %d+ %S+ %S+ /[devprocshmt/]*[a-z]* ", entry) -- "/", "/proc", and below "/dev"
          end
          assert.equal("1\n", c:run({ "sh", "-c", "echo $PPID" }).stdout)
          assert.is_nil(c:run({ "env" }).stdout:find("TMPDIR", 1, true))
        end)
      end)

      it("has /proc and devices that work", function()
        with(nil, function(c)
          assert.equal("", c:run({ "sh", "-c", "echo gone >/dev/null; cat /dev/null" }).stdout)
          assert.equal(("\0"):rep(4), c:open("/dev/zero"):read(4))
          assert.equal(8, #c:open("/dev/urandom"):read(8))
          assert.equal("x\n", c:run({ "sh", "-c", "echo x | cat /dev/stdin" }).stdout)
          local t = c:pty { "sh", "-c", "test -t 0 && echo a terminal" }
          t:expect "a terminal"
          t:wait()
          t:close()
          assert.equal("1234", (c:read_file("/proc/1/uid_map"):match "0 +(%d+) +1\n"))
        end)
      end)

      it("changes nothing outside, and ends with all that is in it", function()
        local mounts = user:read_file "/proc/self/mounts"
        local inner
        with({ hostname = "box" }, function(c)
          c:write_file("/tmp/inside", "x")
          assert.equal("x", user:read_file(root .. "/tmp/inside"))
          assert.equal("box", c:read_file("/proc/sys/kernel/hostname"):gsub("\n", ""))
          assert.not_equal("box\n", user:read_file "/proc/sys/kernel/hostname")
          local p = c:fork()
          p:exec { "sleep", "1000" }
          inner = function() return user:run({ "sh", "-c", "cat /proc/[0-9]*/root/tmp/inside 2>/dev/null", check = false }).stdout end
          assert.is_true(#inner() >= 1)
        end)
        assert.is_true(probe.soon(function() return inner() == "" end))
        assert.equal(mounts, user:read_file "/proc/self/mounts")
      end)

      it("may be without network, read-only, and with more bound into it", function()
        user:write_file(dir .. "/more", "bound")
        user:write_file(root .. "/etc/more", "covered")
        with({ network = false, read_only = true, bind = { ["/etc/more"] = dir .. "/more" } }, function(c)
          assert.equal("bound", c:read_file "/etc/more")
          assert.equal("EROFS", raised.err(c.write_file, c, "/tmp/x", "").name)
          local _, interfaces = c:read_file("/proc/net/dev"):gsub(":", "")
          assert.is_true(interfaces < 20 and c:read_file("/proc/net/route"):find "\n[^\n]" == nil)
          c:mount("tmpfs", "/tmp", "tmpfs")
          c:write_file("/tmp/x", "")
        end)
        assert.equal("covered", user:read_file(root .. "/etc/more"))
      end)

      it("keeps all ids where root enters it", function()
        with(nil, function(c)
          assert.equal(OWNER, c:stat("/bin/busybox").st_uid)
          local p = c:fork()
          p:setresuid(77, 77, 77)
          assert.equal(77, p:getuid())
          p:exit(0)
        end, way.root)
      end)

      it("says what is missing", function()
        local function text(...) return (raised.message(user.enter_container, user, ...)) end
        assert.matches('^enter_container%(".*/nothing"%).*: there is no .*/nothing$', text(dir .. "/nothing"))
        user:mkdir_p(dir .. "/bare/proc")
        assert.matches("there is no .*/bare/dev; it is where devices are bound", text(dir .. "/bare"))
        assert.matches("there is no .*/etc/no", text(root, { bind = { ["/etc/no"] = "/etc" } }))
        assert.matches("there is no /etc/no", text(root, { bind = { ["/etc"] = "/etc/no" } }))
        assert.matches('no option "readonly" %(did you mean "read_only"%?%)', text(root, { readonly = true }))
        assert.matches("path must be a string", text(nil))
      end)
    end)
  end)
end
