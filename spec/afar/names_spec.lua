-- Names of files, relative to directories; files without names; times; filesystems; where programs are.

local afar = require "afar"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

ways.each(function(way)
  local p, dir

  before_each(function()
    p = way.root:fork()
    p:umask "022"
    dir = p:mkdtemp()
  end)

  after_each(function()
    p:remove_tree(dir, { force = true })
    p:exit()
  end)

  describe("files and directories", function()
    it("are copied by a program between two fds", function()
      local source, dest = p:open(dir .. "/a", "O_RDWR|O_CREAT"), p:open(dir .. "/b", "O_RDWR|O_CREAT")
      source:write "hello"
      source:lseek(0)
      local child = p:fork()
      local running = child:exec { "cat", stdin = child:inherit(source), stdout = child:inherit(dest) }
      running:check()
      assert.equal("hello", dest:pread(10, 0))
    end)

    it("are listed into the same memory again and again", function()
      local fd = p:open(dir, "O_RDONLY|O_DIRECTORY")
      local function names(ptr)
        local part, rest = fd:getdents64(ptr)
        local text = part:bytes(0, part.size)
        return part:merge(rest), text
      end
      local memory, text = names(p:malloc(4096))
      assert.is_nil(text:find("foo", 1, true))
      local file = fd:openat("foo", "O_RDWR|O_CREAT")
      file:write "content"
      assert.equal("content", fd:openat("foo"):read(100))
      fd:lseek(0)
      text = select(2, names(memory))
      assert.is_truthy(text:find("foo", 1, true))
      fd:lseek(0)
      assert.equal(3, #fd:getdents64())
    end)

    it("are changed relative to a directory's fd", function()
      local fd = p:open(dir, "O_RDONLY|O_DIRECTORY")
      fd:mkdirat("sub", "0700")
      fd:unlinkat("sub", "AT_REMOVEDIR")
      local unnamed = p:open(dir, "O_TMPFILE|O_RDWR")
      unnamed:write "x"
      p:linkat(fd, "/proc/self/fd/" .. unnamed.number, fd, "named", "AT_SYMLINK_FOLLOW")
      assert.equal("x", p:read_file(dir .. "/named"))
      fd:renameat("named", fd, "renamed")
      assert.same({ "renamed" }, p:listdir(dir))
      fd:unlinkat "renamed"
      fd:symlinkat("target", "link")
      assert.equal("target", fd:readlinkat "link")
    end)

    it("have no target that could be read, unless they are links", function()
      local fd = p:open(dir, "O_PATH")
      assert.equal("ENOENT", select(2, afar.try(fd.readlinkat, fd, "")).name)
    end)

    it("are exchanged, and not replaced by mistake", function()
      way:needs "renameat2 with flags"
      local fd = p:open(dir, "O_RDONLY|O_DIRECTORY")
      p:write_file(dir .. "/a", "1")
      p:write_file(dir .. "/b", "2")
      assert.equal("EEXIST", select(2, afar.try(fd.renameat2, fd, "a", fd, "b", "RENAME_NOREPLACE")).name)
      fd:renameat2("a", fd, "b", "RENAME_EXCHANGE")
      assert.equal("2", p:read_file(dir .. "/a"))
      assert.matches('no constant "RENAME_SWAP"', message(fd.renameat2, fd, "a", fd, "b", "RENAME_SWAP"))
    end)

    it("may be fifos", function()
      p:mknod(dir .. "/fifo", "S_IFIFO|0640")
      local fd = p:open(dir, "O_RDONLY|O_DIRECTORY")
      fd:mknodat("other", "S_IFIFO")
      assert.equal("fifo", p:stat(dir .. "/fifo").type)
      assert.equal("0640", p:stat(dir .. "/fifo").permissions)
      assert.equal("fifo", p:stat(dir .. "/other").type)
    end)

    it("are pointed to by links that change at once", function()
      p:symlink_atomic("one", dir .. "/link")
      p:symlink_atomic("two", dir .. "/link")
      assert.equal("two", p:readlink(dir .. "/link"))
      assert.same({ "link" }, p:listdir(dir))
      p:mkdir(dir .. "/full")
      assert.matches("EISDIR", message(p.symlink_atomic, p, "x", dir .. "/full"))
      assert.same({ "full", "link" }, p:listdir(dir))
    end)
  end)

  describe("memfd_create", function()
    it("gives a file that is written and read anywhere", function()
      local fd = p:memfd_create "test"
      assert.equal("", fd:pread(10, 0))
      assert.equal("", fd:pread(10, 100))
      fd:pwrite("abc", 1)
      assert.equal("\0abc", fd:pread(10, 0))
      assert.equal(4, fd:fstat().st_size)
    end)

    it("can't be cloned from itself", function()
      way:needs "the ioctl FICLONERANGE"
      local fd = p:memfd_create "test"
      fd:ftruncate(8192)
      local range = p:ptr({ src_fd = fd.number, src_offset = 0, src_length = 4096, dest_offset = 4096 }, "file_clone_range")
      assert.equal("EOPNOTSUPP", select(2, afar.try(fd.ioctl, fd, p.machine.sys.C.FICLONERANGE, range)).name)
    end)

    it("can be sealed", function()
      local fd = p:memfd_create("test", "MFD_ALLOW_SEALING")
      fd:write "x"
      fd:fcntl("F_ADD_SEALS", "F_SEAL_WRITE")
      assert.equal("EPERM", select(2, afar.try(fd.write, fd, "y")).name)
      assert.matches('no constant "MFD_SEALING"', message(p.memfd_create, p, "x", "MFD_SEALING"))
    end)
  end)

  describe("times", function()
    it("are set in seconds", function()
      local path = dir .. "/a"
      p:write_file(path, "")
      p:utimes(path, { 1000.5, 2000.25 })
      local stat = p:stat(path)
      assert.same({ 1000.5, 2000.25 }, { stat.st_atime, stat.st_mtime })
      local fd = p:open(path)
      fd:futimens { "UTIME_OMIT", -1.5 }
      assert.same({ 1000.5, -1.5 }, { fd:fstat().st_atime, fd:fstat().st_mtime })
      fd:futimens()
      assert.is_true(math.abs(fd:fstat().st_mtime - os.time()) < 60)
    end)

    it("are those of a link itself where that is meant", function()
      p:symlink("none", dir .. "/link")
      p:lutimes(dir .. "/link", { 1, 2 })
      p:open(dir, "O_RDONLY|O_DIRECTORY"):utimensat("link", { "UTIME_OMIT", 3 }, "AT_SYMLINK_NOFOLLOW")
      assert.equal(3, p:lstat(dir .. "/link").st_mtime)
      assert.matches("utimes: { atime, mtime } was expected", message(p.utimes, p, dir, 5))
      assert.matches("a time is a number of seconds, not later", message(p.utimes, p, dir, { "later", 1 }))
    end)
  end)

  describe("statfs", function()
    it("tells what a filesystem is, and how full", function()
      local fs = p:statfs "/proc"
      assert.equal("proc", fs.type)
      assert.equal(p.machine.sys.C.PROC_SUPER_MAGIC, fs.f_type)
      local here = p:statvfs(dir)
      assert.is_true(here.f_blocks > 0 and here.free <= here.size and here.f_namelen == 255)
      assert.equal(here.f_blocks, p:open(dir):fstatfs().f_blocks)
      assert.matches("^statfs%(.*ENOENT", message(p.statfs, p, "/none"))
    end)
  end)

  describe("which", function()
    it("looks programs up, and remembers no miss", function()
      local places = {}
      for i = 1, 5 do
        places[i] = dir .. "/" .. i
        p:mkdir(places[i])
      end
      p.environ.PATH = table.concat(places, ":")
      assert.equal("ENOENT", select(2, afar.try(p.which, p, "foo")).name)
      assert.equal("ENOENT", select(2, afar.try(p.which, p, "foo")).name)
      p:write_file(places[2] .. "/foo", "", { mode = "0644" })
      p:mkdir(places[4] .. "/foo")
      p:write_file(places[3] .. "/foo", "", { mode = "0755" })
      assert.equal(places[3] .. "/foo", p:which "foo")
      assert.equal("/bin/sh", p:which("sh", "/none:/bin"))
      assert.has_error(function() p:which() end, "which: the program's name must be a string")
    end)
  end)
end)

it("entries of a directory are told apart, whatever their length, and padding is no part of a name", function()
  local ffi = require "ffi"
  local ctype = afar.here.machine.sys.ctype.dirent64
  local names, records = { "x", ("long"):rep(640), "seven77" }, {}
  for i, name in ipairs(names) do
    local size = 19 + #name + 1
    local head = ffi.new(ctype)
    head.d_ino, head.d_reclen, head.d_type = i, size + (-size) % 8, 8
    records[i] = ffi.string(head, 19) .. name .. "\0" .. ("?"):rep(-size % 8)
  end
  local found = require("afar.files").entries(table.concat(records))
  assert.equal(3, #found)
  for i, entry in ipairs(found) do
    assert.same({ d_name = names[i], d_ino = i, d_type = "file" }, entry)
  end
end)
