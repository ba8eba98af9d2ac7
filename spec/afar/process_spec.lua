-- What a process is and can, whatever the way to it.

local afar = require "afar"
local ffi = require "ffi"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

describe("a process", function()
  ways.each(function(way)
    it("knows its pid, and its machine's architecture", function()
      assert.equal(way.root.pid, way.root:getpid())
      way:with_fork(function(p)
        assert.equal(p.pid, p:getpid())
        assert.not_equal(way.root.pid, p.pid)
        assert.equal(way.root.machine, p.machine)
        assert.equal(way.emulated and "aarch64" or "x86_64", p.machine.sys.name)
      end)
    end)

    it("is shown by its pid and its machine's name", function()
      assert.equal(("process %d on %s"):format(way.root.pid, way.root.machine.name), tostring(way.root))
    end)

    it("has the environment of its root", function()
      assert.equal(way.root:run({ "sh", "-c", "echo $PATH" }).stdout, way.root.environ.PATH .. "\n")
    end)

    it("waits and works at once", function()
      probe.works(way.root)
      way:with_fork(probe.works)
    end)

    it("makes any system call by its name or number", function()
      assert.equal(way.root.pid, way.root:syscall "getpid")
      assert.equal(way.root.pid, way.root:syscall(way.root.machine.sys.nr.getpid))
      assert.equal(0, way.root:syscall("faccessat", -100, "/etc", 4))
      assert.equal(0, way.root:faccessat(way.root:open "/", "etc", 4))
    end)

    it("counts the calls that it makes", function()
      way:with_fork(function(p)
        local before = p:tally()
        p:getppid()
        p:syscall "getppid"
        pcall(p.close, p, 9999)
        p:chain(function(c)
          for _ = 1, 10 do c:getppid() end
        end)
        assert.equal(before + 13, p:tally())
      end)
    end)

    it("gives the kernel 64 bits of each argument", function()
      local fd = way.root:open("/tmp", "O_RDWR|O_TMPFILE")
      assert.equal(2 ^ 40, fd:lseek(2 ^ 40))
      assert.equal(2 ^ 40 + 1, way.root:syscall("lseek", fd, ffi.new("uint64_t", 2 ^ 40) + 1, 0))
      assert.equal(2 ^ 40 - 1, fd:lseek(-2, "SEEK_CUR"))
      fd:close()
    end)

    it("raises the kernel's error", function()
      local ok, err = pcall(way.root.syscall, way.root, "faccessat", -100, "/no/such", 0)
      assert.is_false(ok)
      assert.is_true(afar.is_error(err, "ENOENT"))
      assert.equal(2, err.errno)
      assert.equal("faccessat", err.call)
      assert.equal(way.root, err.process)
    end)

    it("gives each of many callers its own answer", function()
      way:with_fork(function(p)
        local ptr, got = p:ptr(("x"):rep(300)), {}
        for i = 1, 300 do
          ptr:write(string.char(i % 256), i - 1)
        end
        afar.nursery(function(n)
          for i = 1, 300 do
            n:spawn(function() got[i] = ptr:bytes(i - 1, 1):byte() end)
          end
        end)
        for i = 1, 300 do
          assert.equal(i % 256, got[i])
        end
        ptr:free()
      end)
    end)

    it("ends when it is told to", function()
      local p = way.root:fork()
      assert.is_true(p:is_alive())
      local status = p:exit(7)
      assert.equal(7, status.code)
      assert.is_false(p:is_alive())
      assert.is_false(probe.runs(p.pid))
    end)
  end)

  local p = afar.here

  local message = require("spec.support.raised").message

  it("says which name it might be when there is no such method or call", function()
    assert.matches('a process has no method "opne" %(did you mean "open"%?%)', message(function() p:opne "/" end))
    assert.matches("x86_64 has no such system call %(did you mean getpid%?%)", message(p.syscall, p, "getpit"))
    assert.matches("name or number", message(p.syscall, p, {}))
  end)

  it("says what an argument can't be", function()
    assert.matches("argument 1: a number was expected, not table", message(p.syscall, p, "close", {}))
    assert.matches("NUL byte", message(p.open, p, "/etc\0/hosts"))
    assert.matches("a string was expected, not table", message(p.open, p, {}))
  end)

  it("fails each call at once when it has ended", function()
    local child = p:fork()
    child:exit()
    local ok, err = pcall(child.getpid, child)
    assert.is_false(ok)
    assert.equal("unsent", err.name)
    assert.is_false(err.sent)
    assert.matches("getpid%(%) in process %d+ on here: .* surely not performed$", tostring(err))
    assert.equal("unsent", select(2, pcall(child.open, child, "/")).name)
    assert.equal("unsent", select(2, pcall(child.fork, child)).name)
    assert.equal("unsent", select(2, pcall(child.run, child, { "true" })).name)
  end)

  it("is a root that neither ends nor execs", function()
    assert.matches("it is a root: it ends with its connection", message(p.exit, p))
    assert.matches("it is a root", message(p.wait, p))
    assert.matches("a root must stay what it is; p:fork%(%):exec", message(p.exec, p, { "true" }))
    assert.is_true(p:is_alive())
  end)

  describe("that is killed", function()
    local child, others

    before_each(function()
      others = probe.holds(p)
      child = p:fork()
    end)

    after_each(function()
      child:wait()
      assert.same(others, probe.holds(p, others))
    end)

    --- What a pending `f(...)` raises when the process is killed, and how long that took.
    local function killed(f, ...)
      local ok, err
      local args = { ... }
      afar.nursery(function(n)
        n:spawn(function()
          ok, err = pcall(f, unpack(args))
        end)
        afar.sleep(0.02)
        if f ~= child.syscall then probe.settle(child) end -- else it is blocked
        assert.is_nil(ok)
        child.child:kill "SIGKILL"
        assert.is_true(probe.soon(function() return ok ~= nil end))
      end)
      assert.is_false(ok)
      return err
    end

    it("fails a pending call at once: it may have been performed", function()
      local err = killed(child.syscall, child, "nanosleep", child:ptr "\60\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 0)
      assert.equal("eof", err.name)
      assert.is_true(err.sent)
      assert.matches("^nanosleep%(.*%) in process %d+ on here: the process ended or execed meanwhile; it may have been performed$", tostring(err))
    end)

    it("fails a pending read at once", function()
      local from = child:pipe2()
      local err = killed(from.read, from)
      assert.equal("eof", err.name)
      assert.is_true(err.sent)
    end)

    it("fails all pending calls, and knows which of them it never saw", function()
      child.child:kill "SIGKILL"
      for _, seconds in ipairs { 0, 0.001, 0.02 } do
        local one = p:fork()
        local from, to = one:pipe2()
        local fates = { eof = 0, unsent = 0 }
        afar.nursery(function(n)
          for _ = 1, 50 do
            n:spawn(function()
              local _, err = pcall(from.read, from)
              assert.is_number(fates[err.name], tostring(err))
              fates[err.name] = fates[err.name] + 1
              assert.equal(err.name == "eof", err.sent)
            end)
          end
          afar.sleep(seconds)
          if seconds > 0.01 then probe.settle(one) end
          one.child:kill "SIGKILL"
        end)
        assert.equal(50, fates.eof + fates.unsent)
        assert.is_true(fates.eof > 0 or seconds < 0.01)
        assert.is_nil(afar.try(to.write, to, "x"))
        one:wait()
      end
    end)

    it("fails the waits of others for it", function()
      local grandchild = child:fork()
      local ok, err
      afar.nursery(function(n)
        n:spawn(function()
          ok, err = pcall(grandchild.wait, grandchild)
        end)
        probe.settle(child)
        child.child:kill "SIGKILL"
      end)
      assert.is_false(ok)
      assert.equal("eof", err.name)
      assert.is_true(probe.soon(function() return not probe.runs(grandchild.pid) end))
      assert.is_true(probe.soon(function() return not grandchild:is_alive() end))
    end)
  end)
end)
