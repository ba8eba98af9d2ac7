-- What is wrong is said before anything is done: each kind of bad input, to many calls.

local afar = require "afar"
local ways = require "spec.support.ways"

local raised = require "spec.support.raised"

local BAD = "\0" -- in a name

for _, name in ipairs { "here", "over pipes" } do
  describe("bad input", function()
    ways.over(ways.get(name), function(way)
      local p, fd

      before_each(function()
        p = way.root:fork()
        fd = p:open "/dev/null"
      end)

      after_each(function() assert.equal(0, p:exit(0).code) end)

      --- Each of { what the error says, f, ... } must be refused, and nothing reach the process: only what is asked of it here is counted.
      local function refused(cases)
        for i, case in ipairs(cases) do
          local ok, err = pcall(case[2], unpack(case, 3, table.maxn(case)))
          assert(not ok, ("case %d, %q, was not refused"):format(i, case[1]))
          assert.matches(case[1], tostring(err), 1, true)
          assert.is_nil(tostring(err):find "\n")
        end
        assert.equal(p.pid, p:getpid())
      end

      it("of a wrong type is named", function()
        refused {
          { "the first argument is a system call's name or number", p.syscall, p },
          { "the first argument is a system call's name or number", p.syscall, p, 0 / 0 },
          { "user is missing", p.fchown, p, 0 },
          { "user is missing", p.chain, p, function(c) c:syscall("fchown", 0) end },
          { "user can't be 4294967303", p.chain, p, function(c) c:syscall("fchown", 0, 2 ^ 32 + 7, 0) end },
          { "open: a string was expected, not nil", p.open, p },
          { "open: a string was expected, not table", p.open, p, {} },
          { "not a boolean", p.open, p, "/", true },
          { "a number of bytes or a pointer was expected, not x", fd.read, fd, "x" },
          { "a string or a pointer was expected, not table", fd.write, fd, {} },
          { "a process, a child or a pid was expected, not string", p.kill, p, "1" },
          { "a table was expected", p.exec, p, "ls" },
          { "argument 2 is a boolean, not a string", p.exec, p, { "ls", true } },
          { "a table was expected", p.run, p, "ls" },
          { "a domain was expected", p.socket, p },
          { "a size or a type was expected", p.malloc, p },
          { "a string or a cdata was expected, not nil", p.ptr, p },
          { "which signals?", p.signals, p },
          { "which signals?", p.signals, p, {} },
          { "a function was expected", afar.nursery },
          { "with a colon?", p.fork },
        }
      end)

      it("that would make somebody root by mistake is refused", function()
        refused {
          { "uid is missing", p.setuid, p },
          { "gid is missing", p.setgid, p },
          { "euid is missing", p.setresuid, p, 1 },
          { "uid can't be 4294967296", p.setuid, p, 2 ^ 32 },
          { "uid is a number there", p.setuid, p, "nobody" },
          { "4294967296 is no user's or group's number", p.chown, p, "/tmp", 2 ^ 32, 0 },
        }
      end)

      it("out of range is refused, not cut", function()
        refused {
          { "an exit code is a whole number from 0 to 255", p.exit, p, 256 },
          { "an exit code is a whole number from 0 to 255", p.exit, p, -1 },
          { "an exit code is a whole number from 0 to 255", p.exit, p, "0" },
          { "is no signal", p.kill, p, 0, 1000 },
          { "is too much for permissions", p.open, p, "/tmp", "O_RDONLY", 2 ^ 40 },
          { "port must be a whole number from 0 to 65535", afar.address, "1.2.3.4:70000" },
          { "that is no CPU's number", p.sched_setaffinity, p, 0, { 1e9 } },
          { "a limit is a number from 0 on", p.prlimit, p, 0, "RLIMIT_CORE", { soft = -1 } },
          { "is no fd", fd.dup2, fd, 2 ^ 40 },
          { "is no fd", p.read, p, -1 },
          { "is no fd", p.read, p, 0.5 },
          { "is no size in bytes", p.malloc, p, -1 },
          { "is no size in bytes", p.malloc, p, 1.5 },
          { "no whole number that fits into 64 bits: 1.5", p.syscall, p, "getpid", 1.5 },
          { "no whole number that fits into 64 bits", p.syscall, p, "getpid", 0 / 0 },
          { "no whole number that fits into 64 bits: inf", p.syscall, p, "getpid", math.huge },
          { "no whole number that fits into 64 bits", p.syscall, p, "getpgid", 2 ^ 70 },
          { "is no pid", p.getsid, p, 2 ^ 70 },
          { "is no whole number of bytes", fd.lseek, fd, 0.5 },
          { "is no whole number of bytes", fd.lseek, fd, 1e30 },
          { "is no pid", p.setpgid, p, 2 ^ 40 },
        }
        assert.equal("EINVAL", raised.err(fd.pread, fd, 10, -1).name)
      end)

      it("with a NUL is no name", function()
        local bad = "/tmp/a" .. BAD .. "b"
        local cases = {}
        for _, call in ipairs {
          "open", "stat", "mkdir", "unlink", "chdir", "readlink", "read_file", "listdir", "chroot", "rmdir", "access", "which", "mkdir_p", "remove_tree",
          "inotify", "statfs", "umount", "memfd_create",
        } do
          cases[#cases + 1] = { "has a NUL byte in it", p[call], p, bad }
        end
        refused(cases)
        refused {
          { "has a NUL byte in it", p.write_file, p, bad, "" },
          { "has a NUL byte in it", p.symlink, p, bad, "/tmp/x" },
          { "has a NUL byte in it", p.rename, p, "/tmp/x", bad },
          { "argument 1 has a NUL byte in it", p.exec, p, { "tr\0ue" } },
          { "argument 2 has a NUL byte in it", p.exec, p, { "true", bad } },
          { "has a NUL byte in it", p.exec, p, { "true", env = { A = bad } } },
          { "is no name of a variable", p.exec, p, { "true", env = { ["A=B"] = "" } } },
          { "has a NUL byte in it", p.exec, p, { "true", cwd = bad } },
          { "has a NUL byte in it", p.prctl, p, "PR_SET_NAME", bad },
          { "has a NUL byte in it", p.mount, p, bad, "/tmp" },
          { "has a NUL byte in it", afar.address, bad },
        }
      end)

      it("that is longer than the kernel takes is an error, and no part of it is used", function()
        local long, component = "/" .. ("x"):rep(5000), "/tmp/" .. ("x"):rep(300)
        for _, path in ipairs { long, component } do
          for _, call in ipairs { "open", "stat", "mkdir", "unlink", "chdir", "read_file", "chroot" } do
            assert.equal("ENAMETOOLONG", raised.err(p[call], p, path).name, call)
          end
        end
        assert.equal("ENAMETOOLONG", raised.err(p.write_file, p, component, "x").name)
        assert.equal("E2BIG", raised.err(p.exec, p, { "true", ("x"):rep(200000) }).name)
        local many = { "true" }
        for i = 2, 41 do many[i] = ("x"):rep(100000) end
        assert.equal("E2BIG", raised.err(p.exec, p, many).name)
        assert.equal("EINVAL", raised.err(p.memfd_create, p, long).name)
        refused { { "107 is the most", afar.address, "@" .. long } }
      end)

      it("of another table is refused, and both are named", function()
        local other = way.root:open "/dev/null"
        local cases = {
          { p.read, p, other }, { fd.dup2, fd, other }, { p.exec, p, { "true", stdin = other } }, { p.copy_bytes, p, fd, other }, { p.setns, p, other },
          { p.close_others, p, { other } }, { p.syscall, p, "fchdir", other }, { p.openat, p, other, "x" }, { fd.linkat, fd, "a", other, "b" },
          { p.ioctl, p, other, "FIONREAD" }, { p.tcsetpgrp, p, other, p },
        }
        for _, case in ipairs(cases) do
          local text = raised.message(unpack(case))
          assert.matches("the fd belongs to fd table %d+ .*, the process to fd table %d+", text)
        end
        other:close()
      end)

      it("that was closed is said to be", function()
        local closed = p:open "/dev/null"
        closed:close()
        for _, call in ipairs { "read", "write", "dup", "wait", "fstat", "lseek", "keep", "ioctl", "tcgetpgrp", "fsync" } do
          local err = raised.err(closed[call], closed, call == "write" and "x" or call == "ioctl" and "FIONREAD" or call == "lseek" and 0 or nil)
          assert.equal("EBADF", err.name, call)
          assert.matches("was closed before", tostring(err), 1, true)
        end
        assert.matches("was closed before", raised.message(p.exec, p, { "true", stdin = closed }), 1, true)
        assert.matches("was closed before", raised.message(p.syscall, p, "fchdir", closed), 1, true)
      end)

      it("to a process that has ended is told as that, and was surely not performed", function()
        local dead = way.root:fork()
        dead:exit(0)
        local calls = {
          { dead.getpid, dead }, { dead.open, dead, "/" }, { dead.fork, dead }, { dead.clone, dead, "CLONE_NEWNET" }, { dead.exec, dead, { "true" } },
          { dead.run, dead, { "true" } }, { dead.read_file, dead, "/etc/hosts" }, { dead.signals, dead, "SIGUSR1" }, { dead.pty, dead, { "true" } },
          { dead.setsid, dead }, { dead.unshare, dead, "CLONE_NEWNET" }, { dead.inotify, dead, "/tmp" }, { dead.exit, dead },
          { dead.chain, dead, function(c) c:getpid() end },
        }
        for _, call in ipairs(calls) do
          local err = raised.err(unpack(call))
          assert.equal("unsent", err.name)
          assert.is_false(err.sent)
        end
        assert.equal("ESRCH", raised.err(p.kill, p, dead).name)
        assert.equal(0, dead:wait().code) -- what is known of it stays so
      end)

      it("that is a name nobody knows comes with the nearest one", function()
        refused {
          { '"O_RDONLYY" (did you mean "O_RDONLY"?)', p.open, p, "/", "O_RDONLYY" },
          { '"MS_BINDD" (did you mean "MS_BIND"?)', p.mount, p, "none", "/", nil, "MS_BINDD" },
          { '"AF_INTE" (did you mean "AF_INET"?)', p.socket, p, "AF_INTE" },
          { '"SIGKIL" (did you mean "SIGKILL"?)', p.kill, p, 0, "SIGKIL" },
          { '"CLONE_NEWNETT" (did you mean "CLONE_NEWNET"?)', p.clone, p, "CLONE_NEWNETT" },
          { '"SEEK_ENDD" (did you mean "SEEK_END"?)', fd.lseek, fd, 0, "SEEK_ENDD" },
          { '"RLIMIT_NOFIL" (did you mean "RLIMIT_NOFILE"?)', p.prlimit, p, 0, "RLIMIT_NOFIL" },
          { '"CAP_KIL" (did you mean "CAP_KILL"?)', p.capset, p, { effective = { "CAP_KIL" } } },
          { '"IN_CREAT" (did you mean "IN_CREATE"?)', p.inotify, p, "/tmp", "IN_CREAT" },
          { "(did you mean getpid?)", p.syscall, p, "gettpid" },
          { '"stdot" (did you mean "stdout"?)', p.exec, p, { "ls", stdot = 1 } },
          { 'no method "opne" (did you mean "open"?)', function() return p:opne "/" end },
          { 'no method "raed" (did you mean "read"?)', function() return fd:raed() end },
        }
      end)
    end)
  end)
end
