--- Whole files: read_file, write_file, copy_to.

local afar = require "afar"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

local function shell(command)
  local result = afar.here:run { "sh", "-c", command }
  return (result.stdout:gsub("\n$", ""))
end

ways.each(function(way)
  describe("a whole file", function()
    local dir, p

    setup(function() p = way.root end)
    before_each(function() dir = shell "mktemp -d /tmp/spec-content-XXXXXX" end)
    after_each(function() shell("rm -rf " .. dir) end)

    it("is read, whatever its length", function()
      for _, length in ipairs { 0, 1, 16384, 65535, 65536, 65537, 70000, 1500000 } do
        local text = ("0123456789abcde"):rep(math.ceil(length / 15)):sub(1, length)
        local file = assert(io.open(dir .. "/file", "wb"))
        file:write(text)
        file:close()
        assert.is_true(p:read_file(dir .. "/file") == text, length)
      end
    end)

    it("is read where it has no size", function()
      assert.equal("", p:read_file "/dev/null")
      assert.is_true(#p:read_file "/proc/kallsyms" > 100000)
      assert.matches("^%S+ ", p:read_file "/proc/uptime")
    end)

    it("is written, whatever its length", function()
      for _, length in ipairs { 0, 1, 5000, 1048576, 1048577, 3000000 } do
        local text = ("x"):rep(length)
        p:write_file(dir .. "/file", text)
        assert.equal(tostring(length), shell("stat -c %s " .. dir .. "/file"))
        assert.equal(("%d"):format(length), shell(("tr -d -c x < %s/file | wc -c"):format(dir)))
      end
      assert.equal("file", shell("ls -A " .. dir))
    end)

    it("gets the umask's mode when it is new, and the one that is asked for", function()
      way:with_fork(function(q)
        q:umask "027"
        q:write_file(dir .. "/new", "x")
        assert.equal("640", shell("stat -c %a " .. dir .. "/new"))
        q:write_file(dir .. "/secret", "x", { mode = "0600" })
        assert.equal("600", shell("stat -c %a " .. dir .. "/secret"))
      end)
    end)

    it("keeps owner, mode and extended attributes of what it replaces", function()
      superuser.needed()
      shell(("cd %s; echo old > file; chown 1234:2345 file; chmod 4751 file; setfattr -n user.colour -v blue file"):format(dir))
      p:write_file(dir .. "/file", "new")
      assert.equal("1234 2345 4751", shell(("stat -c '%%u %%g %%a' %s/file"):format(dir)))
      assert.equal("blue", shell(("getfattr --only-values -n user.colour %s/file"):format(dir)))
      assert.equal("new", shell(("cat %s/file"):format(dir)))
    end)

    it("follows symbolic links", function()
      shell(("cd %s; mkdir sub; echo old > sub/target; ln -s sub/target one; ln -s one two; ln -s nowhere three"):format(dir))
      p:write_file(dir .. "/two", "new")
      assert.equal("new", shell(("cat %s/sub/target"):format(dir)))
      assert.equal("one", shell(("readlink %s/two"):format(dir)))
      p:write_file(dir .. "/three", "made")
      assert.equal("made", shell(("cat %s/nowhere"):format(dir)))
      shell(("ln -s loop %s/loop"):format(dir))
      assert.matches("write_file%(.-%) in process %d+ on .*: .*symbolic links", message(p.write_file, p, dir .. "/loop", "x"))
    end)

    it("leaves devices and fifos what they are", function()
      p:write_file("/dev/null", "nothing")
      assert.equal("character special file", shell "stat -c %F /dev/null")
      shell(("mkfifo %s/fifo; cat %s/fifo > %s/got 2>/dev/null & echo"):format(dir, dir, dir))
      p:write_file(dir .. "/fifo", "through")
      assert.is_true(probe.soon(function() return shell(("cat %s/got"):format(dir)) == "through" end))
      assert.equal("fifo", shell(("stat -c %%F %s/fifo"):format(dir)))
    end)

    it("writes to the kernel's own files, beside which there can be no others", function()
      local q = p:fork()
      local comm = ("/proc/%d/comm"):format(q.pid)
      q:write_file(comm, "written")
      assert.equal("written\n", q:read_file(comm))
      assert.matches("^write%(.-%) in process .*%(E%u+%)$", message(q.write_file, q, "/proc/version", "x"))
      assert.matches('^open%("/proc/none"%) in process .*%(ENOENT%)$', message(q.write_file, q, "/proc/none", "x"))
      q:exit(0)
    end)

    it("is what it was when it can't be replaced, and nothing else is left", function()
      superuser.needed()
      shell(("mkdir %s/full; mount -t tmpfs -o size=64k none %s/full; echo old > %s/full/file"):format(dir, dir, dir))
      for _, length in ipairs { 200000, 2000000 } do
        local text = message(p.write_file, p, dir .. "/full/file", ("x"):rep(length))
        assert.matches("No space left on device %(ENOSPC%)$", text)
        assert.equal("old", shell(("cat %s/full/file; ls -A %s/full | grep -v file || true"):format(dir, dir)))
      end
      shell(("umount %s/full"):format(dir))
      assert.matches("%(EISDIR%)", message(p.write_file, p, dir, "x"))
      assert.matches("No such file or directory %(ENOENT%)", message(p.write_file, p, dir .. "/no/file", "x"))
      assert.matches("^open%(\"/no/file\"%) in process %d+ on .*: No such file", message(p.read_file, p, "/no/file"))
      assert.matches("a string was expected", message(p.write_file, p, dir .. "/file", 5))
    end)

    it("is copied to another process", function()
      shell(("cd %s; head -c 3000000 /dev/urandom > from; chmod 640 from"):format(dir))
      local seen
      local count = p:copy_to(dir .. "/from", afar.here, dir .. "/to", { progress = function(done, total) seen = done / total end })
      assert.equal(3000000, count)
      assert.equal(1, seen)
      assert.equal("640", shell(("cmp %s/from %s/to && stat -c %%a %s/to"):format(dir, dir, dir)))
      way:with_fork(function(q)
        assert.equal(3000000, afar.here:copy_to(dir .. "/to", q, dir .. "/back"))
      end)
      assert.equal("same", shell(("cmp %s/from %s/back && echo same"):format(dir, dir)))
      assert.equal("back from to", shell(("cd %s; echo *"):format(dir)))
      assert.matches("it is a directory", message(p.copy_to, p, dir, afar.here, dir .. "/x"))
    end)

    it("says when a copy doesn't fit, and leaves nothing of it", function()
      superuser.needed()
      shell(("mkdir %s/full; mount -t tmpfs -o size=64k none %s/full; head -c 1000000 /dev/zero > %s/from"):format(dir, dir, dir))
      local text = message(p.copy_to, p, dir .. "/from", afar.here, dir .. "/full/to")
      assert.matches("No space left on device %(ENOSPC%)", text)
      assert.equal("", shell(("ls -A %s/full; umount %s/full"):format(dir, dir)))
    end)

    it("leaves nothing of a copy that is cut short, either way", function()
      shell(("cd %s; head -c 20000000 /dev/zero > from; mkdir to"):format(dir))
      local function stop(done)
        if done > 0 then error("enough", 0) end
      end
      local p2 = afar.here:fork()
      for _, q in ipairs { afar.here, p2 } do
        for _ = 1, 3 do
          assert.equal("enough", message(p.copy_to, p, dir .. "/from", q, dir .. "/to/x", { progress = stop }))
          assert.equal("enough", message(q.copy_to, q, dir .. "/from", p, dir .. "/to/y", { progress = stop }))
        end
      end
      assert.equal(20000000, p2:copy_to(dir .. "/from", p, dir .. "/to/z"))
      p2:exit()
      assert.equal("z", shell(("ls -A %s/to"):format(dir)))
    end)

    it("takes no fd and no memory", function()
      local function all()
        p:write_file(dir .. "/a", "x")
        p:read_file(dir .. "/a")
        p:copy_to(dir .. "/a", afar.here, dir .. "/b")
        pcall(p.write_file, p, dir .. "/no/file", "x")
        pcall(p.read_file, p, dir .. "/no")
      end
      all()
      local before = not way.emulated and probe.holds(p)
      for _ = 1, 5 do all() end
      assert.same(before, not way.emulated and probe.holds(p, before))
    end)
  end)
end)
