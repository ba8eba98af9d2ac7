-- Chains that are recorded once and performed often.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").err

--- Calls `f` in a coroutine of its own: nothing of what it has used is still held by a slot of ours then.
local function apart(f)
  return function()
    afar.nursery(function(n) n:spawn(f) end)
  end
end

describe("a prepared chain", function()
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

    --- What stat(2) says of a file, its first bytes, and the second argument.
    local function head_of(c, path, other)
      local fd = c:open(path)
      local stat = fd:fstat()
      local data = fd:pread(4, 0)
      fd:close()
      return stat, data, other
    end

    it("gives each time what its function returns, for these arguments", apart(function()
      local head = p:prepare(head_of)
      for _ = 1, 3 do
        local stat, data, other = head("/etc/passwd", "as it is")
        assert.equal("root", data)
        assert.equal("as it is", other)
        assert.equal(p:stat("/etc/passwd").st_ino, stat.st_ino)
        stat, data = head "/proc/self/stat"
        assert.equal(tostring(p.pid):sub(1, 4), data:match "%d+")
        assert.equal("file", stat.type)
      end
      assert.matches("^prepared chain of process", tostring(head))
    end))

    it("is recorded once, however often it is performed", apart(function()
      local recorded = 0
      local pid = p:prepare(function(c)
        recorded = recorded + 1
        return { c:getpid(), { c:getppid() } }
      end)
      local one, two = pid(), pid()
      assert.same({ p.pid, { p:getppid() } }, one)
      assert.same(one, two)
      assert.not_equal(one, two)
      assert.equal(1, recorded)
    end))

    it("takes numbers, fds and strings", apart(function()
      local read = p:prepare(function(c, fd, offset)
        local first = c:pread(fd, 4, offset)
        return first, fd:pread(2, offset)
      end)
      local file = p:open "/etc/passwd"
      local whole = file:pread(20, 0)
      for offset = 0, 3 do
        local four, two = read(file, offset)
        assert.equal(whole:sub(offset + 1, offset + 4), four)
        assert.equal(whole:sub(offset + 1, offset + 2), two)
      end
      assert.equal("root", (read(file.number, 0)))
      file:close()
      assert.matches("fd %d+ was closed before", fails(read, file, 0).message)
      assert.matches("argument 1 of a prepared chain: a number or a handle was expected, not nil", fails(read))
    end))

    it("has the errors of its calls, and goes on after them", apart(function()
      local head = p:prepare(head_of)
      for _ = 1, 3 do
        assert.equal("ENOENT", fails(head, "/nonexistent/afar").name)
        assert.equal("root", (select(2, head "/etc/passwd")))
      end
      assert.matches("argument 1 of a prepared chain: .* has a NUL byte", fails(head, "a\0b"))
      assert.matches("argument 1 of a prepared chain: it has 4096 bytes, 4095 at most", fails(head, ("x"):rep(4096)))
      assert.matches("argument 1 of a prepared chain: a string was expected, not nil", fails(head))
      assert.equal("ENAMETOOLONG", fails(head, ("x"):rep(4095)).name)
      assert.equal("root", (select(2, head "/etc/passwd")))
    end))

    it("finds what calls have changed in memory as it was recorded", apart(function()
      local a, b = p:socketpair("AF_UNIX", "SOCK_STREAM")
      local name = p:prepare(function(c)
        local words = c:syscall("getsockopt", a.number, 1, 3, p:ptr(("\0"):rep(4)), p:ptr "\4\0\0\0") -- SO_TYPE
        return words
      end)
      for _ = 1, 3 do assert.equal(0, name()) end
      a:close()
      b:close()
    end))

    it("doesn't use a handle that has been closed since", apart(function()
      local file = p:open "/etc/passwd"
      local read = p:prepare(function(c) return c:pread(file, 4, 0) end)
      assert.equal("root", read())
      file:close()
      local other = p:open "/etc/group"
      assert.matches("was closed before", fails(read).message)
      other:close()
    end))

    it("may be under way many times at once", apart(function()
      local head = p:prepare(head_of)
      afar.nursery(function(n)
        for i = 1, 100 do
          n:spawn(function()
            local path = i % 3 == 0 and "/nonexistent/afar" or "/etc/passwd"
            local ok, _, data = pcall(head, path)
            assert.equal(i % 3 ~= 0, ok)
            if ok then assert.equal("root", data) end
          end)
        end
      end)
    end))

    it("waits for an fd that is an argument until that is closed", apart(function()
      local from, to = p:pipe2()
      local read = p:prepare(function(_, fd) return fd:read(10) end)
      afar.nursery(function(n)
        local got, why
        n:spawn(function() got = read(from) end)
        afar.sleep(0.01)
        to:write "hello"
        afar.sleep(0.01)
        assert.equal("hello", got)
        n:spawn(function() why = fails(read, from) end)
        afar.sleep(0.01)
        from:close()
        afar.sleep(0.01)
        assert.is_truthy(why)
      end)
      to:close()
    end))

    it("is performed for each of a list, in order", apart(function()
      local head, seen = p:prepare(head_of), {}
      local items = {}
      for i = 1, 300 do items[i] = i % 2 == 0 and "/etc/passwd" or { "/proc/self/stat", i } end
      head:each(items, function(item, stat, data, i)
        seen[#seen + 1] = item
        assert.equal(#seen % 2 == 0 and "root" or tostring(p.pid):sub(1, 4), data:match "%w+")
        assert.equal("file", stat.type)
        assert.equal(type(item) == "table" and item[2] or nil, i)
      end)
      assert.same(items, seen)
      head:each({}, error)
    end))

    it("ends at the first error of a list, and leaves nothing under way", apart(function()
      local head, seen = p:prepare(head_of), 0
      local items = {}
      for i = 1, 200 do items[i] = i == 70 and "/nonexistent/afar" or "/etc/passwd" end
      local held = probe.holds(p).fds
      assert.equal("ENOENT", fails(head.each, head, items, function() seen = seen + 1 end).name)
      assert.equal(69, seen)
      assert.equal("enough", fails(head.each, head, items, function() error("enough", 0) end))
      assert.same(held, probe.holds(p).fds)
      assert.equal("root", (select(2, head "/etc/passwd")))
    end))

    it("is given up when its routine is cancelled, and can be used after", apart(function()
      local head = p:prepare(head_of)
      for turns = 0, 6 do
        afar.nursery(function(n)
          n:spawn(function()
            local items = {}
            for i = 1, 200 do items[i] = "/etc/passwd" end
            head:each(items, function() end)
          end)
          for _ = 1, turns do afar.sleep(0) end
          n:cancel()
        end)
        assert.equal("root", (select(2, head "/etc/passwd")))
      end
    end))
  end)

  it("says what it can't be", function()
    local p = afar.here
    assert.matches("prepare: a function was expected, not string", fails(p.prepare, p, "x"))
    assert.matches("how many arguments f takes must be known", tostring(fails(p.prepare, p, function(c, ...) return c, ... end)))
    assert.matches("read_file can't be part of a chain", fails(p.prepare, p, function(c) return c:read_file "/etc/passwd" end))
    assert.matches("attempt to concatenate", fails(p.prepare, p, function(c, path) return c:open("/etc/" .. path) end))
    assert.matches("read: .* expected, not argument 1 of a prepared chain", fails(p.prepare, p, function(_, length)
      return p:open("/etc/passwd"):read(length)
    end))
    local pid = p:prepare(function(c) return c:getpid() end)
    assert.matches("each: a list was expected, not string", fails(pid.each, pid, "/etc/passwd", print))
    assert.matches("each: a function was expected behind the list, not nil", fails(pid.each, pid, {}))
    assert.matches("prepared:each", fails(pid.each, {}, print))
    assert.matches("the chain is too long", fails(p.prepare, p, function(c)
      local first = c:getpid()
      for _ = 1, 300 do c:getpid() end
      c:syscall("kill", first, 0)
    end))
  end)

  it("fails when its process has ended", function()
    local p = afar.here:fork()
    local pid = p:prepare(function(c) return c:getpid() end)
    assert.equal(p.pid, pid())
    p:exit()
    assert.matches("had ended before", tostring(fails(pid)))
  end)
end)
