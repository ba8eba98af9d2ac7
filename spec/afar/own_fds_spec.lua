-- Which fds a process has, and which a program gets.

local afar = require "afar"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").saying

describe("fds", function()
  ways.each(function(way)
    it("that are not meant for a fork are closed by one call", function()
      way:with_fork(function(q)
        local from, to = q:pipe2()
        local p = q:fork()
        p:close_others { p:inherit(to) }
        fails("not open in the table", p.inherit, p, from)
        from:close()
        local ok, err = pcall(p.syscall, p, "write", to.number, "x", 1)
        assert.is_false(ok)
        assert.equal("EPIPE", err.name)
        to:close()
        p:exit(0)
      end)
    end)

    it("of a range are closed, but never afar's own", function()
      way:with_fork(function(p)
        local a, b = p:pipe2()
        p:close_range(3, nil, "CLOSE_RANGE_CLOEXEC")
        assert.equal(p.pid, p:getpid())
        p:close_range(3)
        assert.equal(p.pid, p:getpid())
        fails("was closed before", a.read, a)
        fails("was closed before", b.write, b, "x")
        fails("the lower first", p.close_range, p, 5, 3)
        fails("only CLOSE_RANGE_CLOEXEC", p.close_range, p, 5, 6, "CLOSE_RANGE_UNSHARE")
      end)
    end)

    it("are kept across exec by one call", function()
      local from, to = way.root:pipe2()
      local p = way.root:fork()
      local kept = p:inherit(to):keep()
      local child = p:exec { "sh", "-c", ("echo kept >&%d"):format(kept.number) }
      to:close()
      assert.equal("kept\n", from:read())
      assert.is_true(child:wait().ok)
      from:close()
    end)
  end)

  it("come from another process, by pidfd", function()
    local h = afar.here
    local p = h:fork()
    local from, to = p:pipe2()
    local mine = h:pidfd_getfd(p.child, to)
    mine:write "across"
    assert.equal("across", from:read())
    mine:close()
    fails("EBADF", h.pidfd_getfd, h, p.child, 9999)
    local q = h:fork()
    fails("no child of this process", q.pidfd_getfd, q, p.child, to)
    q:exit(0)
    p:exit(0)
  end)
end)

describe("exec", function()
  ways.each(function(way)
    it("goes by fd, and by a path from a directory", function()
      way:needs "execveat"
      local file, dir = way.root:open "/bin/echo", way.root:open("/bin", "O_PATH|O_DIRECTORY")
      assert.equal("by fd\n", way.root:run({ "echo", "by fd", fd = file }).stdout)
      assert.equal("by dir\n", way.root:run({ "echo", "by dir", at = dir }).stdout)
      file:close()
      dir:close()
    end)

    it("that fails leaves the process as it was", function()
      way:with_fork(function(p)
        local mask, limit = p:sigprocmask(), p:prlimit(0, "RLIMIT_NOFILE")
        fails("ENOENT", p.exec, p, { "/no/such/program" })
        fails("EACCES", p.exec, p, { "/etc/passwd" })
        assert.same(mask, p:sigprocmask())
        assert.same(limit, p:prlimit(0, "RLIMIT_NOFILE"))
        assert.equal("SIG_IGN", p:sigaction("SIGPIPE").handler)
      end)
    end)
  end)

  it("ends the siblings that were there for blocking calls", function()
    local p = afar.here:fork()
    local sibling = p:blocking()
    assert.equal(p.table, sibling.table)
    local child = p:exec { "sleep", "100" }
    assert.is_false(sibling:is_alive())
    child:kill()
    assert.equal("SIGTERM", child:wait().signal)
  end)
end)

describe("p:blocking", function()
  it("gives a process that blocks instead of the one it shares all with", function()
    local p = afar.here:fork()
    local from, to = p:pipe2()
    local got
    afar.nursery(function(n)
      local q = p:blocking()
      n:spawn(function() got = q:syscall("read", from.number, q:malloc(10), 10) end)
      afar.sleep(0.05)
      assert.equal(p.pid, p:getpid())
      to:write "abc"
    end)
    assert.equal(3, got)
    p:exit(0)
  end)
end)

describe("an fd that is opened and closed in one chain", function()
  it("has no handle, whose end would close what has the number then", function()
    local h = afar.here
    h:chain(function(c)
      local file = c:open "/etc/hosts"
      file:fstat()
      file:close()
    end)
    local kid = h:fork()
    for _ = 1, 3 do
      collectgarbage()
      h:getpid()
    end
    assert.equal(0, kid:exit(0).code)
  end)
end)
