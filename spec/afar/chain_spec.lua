-- Several calls that go out together, and use each other's results.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").err

describe("a chain", function()
  ways.each(function(way)
    local p, before

    before_each(function()
      before = probe.holds(way.root)
      p = way.root:fork()
      p:getcwd()
    end)
    after_each(function()
      p:exit()
      assert.same(before, probe.holds(way.root, before))
    end)

    it("gives what its function returns, as values", function()
      local pid, fd, text, other = p:chain(function(c)
        local fd = c:open "/etc/passwd"
        return c:getpid(), fd, fd:read(4), "as it is"
      end)
      assert.equal(p.pid, pid)
      assert.equal("root", text)
      assert.equal("root", fd:pread(4, 0))
      assert.equal("as it is", other)
      fd:close()
      assert.is_nil(p:chain(function() end))
    end)

    it("uses results of earlier calls, also those that are in memory", function()
      local from, to = p:chain(function(c)
        local from, to = c:pipe2()
        to:write "through the pipe"
        return from, to
      end)
      assert.equal("through the pipe", from:read())
      local text = p:chain(function(c)
        local a, b = c:socketpair()
        a:write "through the pair"
        local text = b:read(100)
        a:close()
        b:close()
        return text
      end)
      assert.equal("through the pair", text)
      from:close()
      to:close()
    end)

    it("leaves no fd open that was closed in it", function()
      local held = probe.holds(p).fds
      for _ = 1, 3 do
        p:chain(function(c)
          local fd = c:open "/etc/passwd"
          local stat = fd:fstat()
          fd:close()
          return stat
        end)
      end
      assert.is_true(probe.fds(p) <= held)
    end)

    it("ends at the first failure, which is raised; what it opened is closed", function()
      local held = probe.holds(p)
      local err = fails(p.chain, p, function(c)
        local fd = c:open "/etc/passwd"
        c:mkdir "/etc"
        c:mkdir "/etc/spec-never"
        fd:close()
      end)
      assert.equal("EEXIST", err.name)
      assert.equal("mkdir", err.call)
      assert.is_nil(afar.try(p.stat, p, "/etc/spec-never"))
      assert.same(held, probe.holds(p, held))
      err = fails(p.chain, p, function(c)
        local fd = c:open "/no/such"
        fd:read(10)
        fd:close()
      end)
      assert.equal("ENOENT", err.name)
      assert.equal("open", err.call)
      assert.same(held, probe.holds(p, held))
    end)

    it("closes what it opened and nobody has when it fails", function()
      local held = probe.fds(p)
      local function try()
        fails(p.chain, p, function(c)
          local fd = c:open "/etc/passwd"
          c:mkdir "/etc"
          return fd
        end)
      end
      try()
      assert.is_true(probe.soon(function()
        collectgarbage()
        collectgarbage()
        p:getpid()
        return probe.fds(p) == held
      end))
    end)

    it("takes system calls of any name", function()
      local group = p:chain(function(c)
        c:syscall("setpgid", 0, 0)
        return c:getpgid(0)
      end)
      assert.equal(p.pid, group)
    end)

    it("waits where a call of it has to", function()
      local from, to = p:pipe2()
      local got, pid
      afar.nursery(function(n)
        n:spawn(function()
          got, pid = p:chain(function(c) return c:read(from, 10), c:getpid() end)
        end)
        afar.sleep(0.01)
        assert.is_nil(got)
        to:write "now"
      end)
      assert.equal("now", got)
      assert.equal(p.pid, pid)
      from:close()
      to:close()
    end)

    it("that waits can be cancelled", function()
      local from, to = p:pipe2()
      local held = probe.holds(p)
      for _ = 1, 3 do
        local err = fails(afar.timeout, 0.02, p.chain, p, function(c)
          local fd = c:open "/etc/passwd"
          local text = c:read(from, 10)
          fd:close()
          return text
        end)
        assert.is_true(err.timeout)
        assert.same(held, probe.holds(p, held))
      end
      from:close()
      to:close()
    end)

    it("may be long", function()
      local pids = { p:chain(function(c)
        local all = {}
        for i = 1, 200 do
          all[i] = c:getpid()
        end
        return unpack(all)
      end) }
      assert.equal(200, #pids)
      assert.equal(p.pid, pids[200])
    end)
  end)

  describe("that makes no sense", function()
    local p = afar.here

    it("says so", function()
      local fd
      p:chain(function(c) fd = c:open "/" end)
      assert.matches("a placeholder has no method", tostring(fails(p.chain, p, function(c) c:open("/").foo() end)))
      assert.matches("run can't be part of a chain", tostring(fails(p.chain, p, function(c) c:run { "true" } end)))
      assert.matches('a process has no method "opne" %(did you mean "open"%?%)', tostring(fails(p.chain, p, function(c) c:opne "/" end)))
      assert.matches("another chain", tostring(fails(p.chain, p, function(c) c:fstat(fd) end)))
      assert.matches("an fd was expected", tostring(fails(p.chain, p, function(c) c:fstat "x" end)))
    end)

    it("is that of a process that has ended", function()
      local child = p:fork()
      child:exit()
      local err = fails(child.chain, child, function(c) return c:getpid() end)
      assert.equal("unsent", err.name)
      assert.is_false(err.sent)
    end)
  end)
end)
