-- The calls on files, by path and by directory.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").err

local function names(entries)
  local list = {}
  for _, entry in ipairs(entries) do
    list[#list + 1] = entry.d_name
  end
  table.sort(list)
  return table.concat(list, " ")
end

describe("files", function()
  ways.each(function(way)
    local p, dir, before

    before_each(function()
      before = probe.holds(way.root)
      p = way.root:fork()
      dir = p:run({ "mktemp", "-d", "/tmp/spec-files-XXXXXX" }).stdout:gsub("\n", "")
      p:chdir(dir)
      p:umask "022"
    end)
    after_each(function()
      p:run { "rm", "-rf", dir }
      p:exit()
      assert.same(before, probe.holds(way.root, before))
    end)

    local function write(path, text)
      local fd = p:open(path, "O_WRONLY|O_CREAT|O_TRUNC", "0666")
      fd:write(text)
      fd:close()
    end

    local function read(path)
      local fd = p:open(path)
      local text = fd:read()
      fd:close()
      return text
    end

    it("are opened as open(2) says", function()
      assert.equal("ENOENT", fails(p.open, p, "a").name)
      write("a", "text")
      assert.equal("text", read "a")
      assert.equal("EEXIST", fails(p.open, p, "a", "O_WRONLY|O_CREAT|O_EXCL").name)
      local fd = p:open("a", "O_WRONLY|O_APPEND")
      fd:write " more"
      fd:close()
      assert.equal("text more", read "a")
      assert.equal("0644", p:stat("a").permissions)
      fd = p:open("b", p.machine.sys.C.O_RDWR + p.machine.sys.C.O_CREAT, 384)
      assert.equal("0600", fd:fstat().permissions)
      fd:close()
    end)

    it("have a stat", function()
      write("a", "12345")
      local stat = p:stat "a"
      assert.equal("file", stat.type)
      assert.equal(5, stat.st_size)
      assert.equal(1, stat.st_nlink)
      assert.equal(p:geteuid(), stat.st_uid)
      assert.is_true(math.abs(stat.st_mtime - os.time()) < 60)
      assert.equal(tonumber(p:run({ "stat", "-c", "%i", "a" }).stdout), stat.st_ino)
      assert.equal("directory", p:stat("/").type)
      assert.equal("char", p:stat("/dev/null").type)
      local ptr = p:stat("a", p:malloc "stat")
      assert.equal(5, tonumber(ptr:read().st_size))
      ptr:free()
    end)

    it("are made, linked, renamed and removed", function()
      p:mkdir "d"
      assert.equal("0755", p:stat("d").permissions)
      p:mkdir("e", "0700")
      assert.equal("0700", p:stat("e").permissions)
      write("d/a", "x")
      p:rename("d/a", "e/b")
      p:link("e/b", "c")
      assert.equal(2, p:stat("c").st_nlink)
      assert.equal("ENOTEMPTY", fails(p.rmdir, p, "e").name)
      p:unlink "e/b"
      p:rmdir "e"
      p:unlink("d", "AT_REMOVEDIR")
      assert.equal("ENOENT", fails(p.stat, p, "d").name)
      assert.equal("x", read "c")
    end)

    it("may be symbolic links", function()
      p:symlink("/no/such/target", "link")
      assert.equal("/no/such/target", p:readlink "link")
      assert.equal("symlink", p:lstat("link").type)
      assert.equal("ENOENT", fails(p.stat, p, "link").name)
      local part = p:readlink("link", p:malloc(5))
      assert.equal("/no/s", part:read())
      part:free()
      write("file", "")
      assert.equal("EINVAL", fails(p.readlink, p, "file").name)
      local long = ("x/"):rep(2000)
      p:symlink(long, "long")
      assert.equal(long, p:readlink "long")
    end)

    it("change their mode, owner and length", function()
      write("a", "12345")
      p:chmod("a", "0600")
      assert.equal("0600", p:stat("a").permissions)
      local fd = p:open("a", "O_RDWR")
      fd:fchmod(420)
      assert.equal("0644", fd:fstat().permissions)
      p:truncate("a", 2)
      assert.equal("12", read "a")
      fd:close()
      p:chown("a", p:geteuid(), p:getegid())
      if p:geteuid() == 0 then
        p:chown("a", 12, 34)
        local stat = p:stat "a"
        assert.same({ 12, 34 }, { stat.st_uid, stat.st_gid })
        p:symlink("a", "link")
        p:lchown("link", 56)
        assert.same({ 56, 12 }, { p:lstat("link").st_uid, p:stat("a").st_uid })
      end
    end)

    it("are asked for with access", function()
      write("a", "")
      assert.equal(0, p:access "a")
      assert.equal(0, p:access("a", "R_OK|W_OK"))
      assert.equal("EACCES", fails(p.access, p, "a", "X_OK").name)
      assert.equal("ENOENT", fails(p.access, p, "b").name)
    end)

    it("are reached from directories, wherever the process is", function()
      local fd = p:open(dir, "O_DIRECTORY")
      p:chdir "/"
      fd:mkdirat("d", "0700")
      local file = fd:openat("d/a", "O_WRONLY|O_CREAT")
      file:write "x"
      file:close()
      fd:renameat("d/a", fd, "b")
      fd:symlinkat("b", "link")
      assert.equal("b", fd:readlinkat "link")
      assert.equal(1, fd:fstatat("link", "AT_SYMLINK_NOFOLLOW").st_size)
      assert.equal("file", p:fstatat(fd, "link").type)
      fd:fchmodat("b", "0600")
      assert.equal("0600", fd:fstatat("b").permissions)
      assert.equal(". .. b d link", names(fd:getdents64()))
      fd:unlinkat "link"
      fd:unlinkat("d", "AT_REMOVEDIR")
      fd:unlinkat "b"
      assert.equal("ENOENT", fails(fd.openat, fd, "b").name)
      fd:close()
    end)

    it("are listed", function()
      local fd = p:open(".", "O_DIRECTORY")
      assert.equal(". ..", names(fd:getdents64()))
      assert.same({}, fd:getdents64())
      write("file", "")
      p:mkdir "directory"
      p:symlink("x", "link")
      fd:lseek(0)
      local types = {}
      for _, entry in ipairs(fd:getdents64()) do
        types[entry.d_name] = entry.d_type
        if entry.d_name == "file" then assert.equal(p:stat("file").st_ino, entry.d_ino) end
      end
      assert.equal("file directory symlink", ("%s %s %s"):format(types.file, types.directory, types.link))
      local long = ("n"):rep(255)
      write(long, "")
      fd:lseek(0)
      assert.matches(long, names(fd:getdents64()), 1, true)
      fd:lseek(0)
      -- One buffer, used again.
      local buffer = p:malloc(1000)
      local count = 0
      while true do
        local got = fd:getdents64(buffer)
        if got.size == 0 then break end
        count = count + got.size
      end
      assert.is_true(count > 255 + 19)
      buffer:free()
      fd:close()
    end)

    it("that are many are listed in parts, each once", function()
      p:run { "sh", "-c", "i=0; while [ $i -lt 2500 ]; do : >file-with-a-name-$i; i=$((i + 1)); done" }
      local fd = p:open(".", "O_DIRECTORY")
      local seen, count = {}, 0
      while true do
        local entries = fd:getdents64()
        if #entries == 0 then break end
        for _, entry in ipairs(entries) do
          assert.is_nil(seen[entry.d_name])
          seen[entry.d_name] = true
          count = count + 1
        end
      end
      assert.equal(2502, count)
      fd:close()
    end)

    it("are where the process is", function()
      assert.equal(dir, p:getcwd())
      p:mkdir "sub"
      p:chdir "sub"
      assert.equal(dir .. "/sub", p:getcwd())
      assert.equal("ENOENT", fails(p.chdir, p, "no").name)
      local fd = p:open ".."
      p:syscall("fchdir", fd)
      assert.equal(dir, p:getcwd())
      fd:close()
    end)

    it("have the modes that the umask leaves", function()
      assert.equal(18, p:umask "077")
      p:mkdir("d", "0777")
      assert.equal("0700", p:stat("d").permissions)
      assert.equal(63, p:umask "022")
    end)

    it("that appear are found, and misses are not remembered", function()
      p:mkdir "one"
      p:mkdir "two"
      local function look() return p:run({ "foo", env = { PATH = dir .. "/one:" .. dir .. "/two" }, clean_env = true }).stdout end
      assert.equal("ENOENT", fails(look).name)
      assert.equal("ENOENT", fails(look).name)
      write("two/foo", "#!/bin/sh\necho found\n")
      p:chmod("two/foo", "0755")
      assert.equal("found\n", look())
    end)

    it("with odd names are no problem", function()
      for _, name in ipairs { " ", "-", "a\nb", "\195\164", "\255\254", ("x"):rep(255) } do
        write(name, name)
        assert.equal(name, read(name))
        p:unlink(name)
      end
      assert.equal("ENAMETOOLONG", fails(p.open, p, ("x"):rep(256)).name)
      assert.equal("ENOENT", fails(p.open, p, "").name)
    end)
  end)

  it("are shown in errors as the manpage writes the call", function()
    local p = afar.here
    local where = " in process " .. p.pid .. " on here: "
    local function message(name, ...) return tostring(fails(p[name], p, ...)) end
    assert.equal('open("/no/such", "O_RDWR")' .. where .. "No such file or directory (ENOENT)", message("open", "/no/such", "O_RDWR"))
    assert.equal('rename("/no/such", "/tmp/x")' .. where .. "No such file or directory (ENOENT)", message("rename", "/no/such", "/tmp/x"))
    assert.equal('mkdir("/etc")' .. where .. "File exists (EEXIST)", message("mkdir", "/etc"))
    assert.matches('open: permissions are a number, or octal digits as in "0644"; not 0999', message("open", "/etc/x", "O_CREAT", "0999"), 1, true)
    assert.matches('O_RDOLNY.*O_RDONLY', message("open", "/etc/x", "O_RDOLNY"))
  end)
end)
