-- Handles of fds, and reading and writing through them.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").err

describe("an fd", function()
  ways.each(function(way)
    local p, before

    before_each(function()
      before = probe.holds(way.root)
      p = way.root:fork()
    end)
    after_each(function()
      if p:is_alive() then p:exit() end
      assert.same(before, probe.holds(way.root, before))
    end)

    it("is close-on-exec, and above the standard ones", function()
      local from, to = p:pipe2()
      for _, fd in ipairs { from, to, p:open "/", from:dup(), (p:socketpair()) } do
        assert.is_true(fd.number > 2)
        assert.equal(1, fd:fcntl "F_GETFD")
      end
    end)

    it("passes bytes through a pipe, both in values and in memory", function()
      local from, to = p:pipe2()
      assert.equal(5, to:write "hello")
      assert.equal("hel", from:read(3))
      assert.equal("lo", from:read())
      local written, rest = to:write(p:ptr "world!")
      assert.same({ 6, 0 }, { written.size, rest.size })
      written:free()
      local buffer = p:malloc(10)
      local got, left = from:read(buffer)
      assert.equal("world!", got:read())
      assert.equal(4, left.size)
      buffer:free()
      to:close()
      assert.equal("", from:read())
    end)

    it("passes any bytes, any number of them", function()
      local from, to = p:pipe2()
      local parts = {}
      for i = 0, 255 do
        parts[#parts + 1] = string.char(i)
      end
      local data = table.concat(parts):rep(3000)
      local got = {}
      afar.nursery(function(n)
        n:spawn(function()
          assert.equal(#data, to:write(data))
          to:close()
        end)
        repeat
          got[#got + 1] = from:read()
        until got[#got] == ""
      end)
      assert.is_true(table.concat(got) == data)
    end)

    it("passes bytes through a socket pair, both ways", function()
      local a, b = p:socketpair()
      a:write "to b"
      b:write "to a"
      assert.equal("to b", b:read())
      assert.equal("to a", a:read())
      local big = ("x"):rep(500000)
      local count = 0
      afar.nursery(function(n)
        n:spawn(function()
          a:write(big)
          a:close()
        end)
        repeat
          local data = b:read()
          count = count + #data
        until data == ""
      end)
      assert.equal(#big, count)
    end)

    it("that nobody reads is no death to who writes", function()
      local from, to = p:pipe2()
      from:close()
      assert.equal("EPIPE", fails(to.write, to, "x").name)
      local a, b = p:socketpair()
      b:close()
      assert.equal("EPIPE", fails(a.write, a, "x").name)
      probe.works(p)
    end)

    it("reads and writes at offsets, and has a position", function()
      local fd = p:open("/tmp", "O_RDWR|O_TMPFILE")
      assert.equal("", fd:pread(10, 0))
      assert.equal(3, fd:pwrite("abc", 1))
      assert.equal("\0abc", fd:pread(10, 0))
      assert.equal("", fd:pread(10, 100))
      assert.equal("bc", fd:pread(10, 2))
      assert.equal(4, fd:fstat().st_size)
      assert.equal(2, fd:lseek(-2, "SEEK_END"))
      assert.equal("bc", fd:read())
      assert.equal(0, fd:lseek(0))
      fd:write "X"
      assert.equal("Xabc", fd:pread(10, 0))
      local got = fd:pread(p:malloc(3), 1)
      assert.equal("abc", got:read())
      got:free()
      local written = fd:pwrite(p:ptr "yz", 2)
      assert.equal(2, written.size)
      written:free()
      assert.equal("Xayz", fd:pread(10, 0))
      fd:close()
    end)

    it("has copies, each closed by itself", function()
      local from, to = p:pipe2()
      local other = to:dup()
      assert.not_equal(to.number, other.number)
      to:close()
      other:write "x"
      assert.equal("x", from:read())
      local moved = other:dup2(40)
      assert.equal(40, moved.number)
      other:close()
      moved:write "y"
      assert.equal("y", from:read())
      moved:close()
      assert.equal("", from:read())
    end)

    it("takes another's place", function()
      local from, to = p:pipe2()
      local fd = p:open "/"
      local new = to:dup2(fd)
      assert.equal(fd.number, new.number)
      assert.matches("was closed before", tostring(fails(fd.fstat, fd)))
      to:close()
      new:write "x"
      assert.equal("x", from:read())
      assert.equal(new, new:dup2(new))
      assert.equal("EBUSY", fails(to.dup2, new, p.carrier).name)
      assert.is_true(p:is_alive())
    end)

    it("has flags", function()
      local from = p:pipe2()
      from:fcntl("F_SETFL", "O_NONBLOCK")
      assert.equal("O_NONBLOCK", p.machine.sys:names(from:fcntl "F_GETFL", "O_"):match "O_NONBLOCK")
      local copy = from:fcntl("F_DUPFD_CLOEXEC", 30)
      assert.equal(30, copy.number)
      copy:close()
    end)

    it("that is closed is closed", function()
      local fd = p:open "/"
      local number = fd.number
      fd:close()
      fd:close()
      assert.matches("was closed before", tostring(fails(fd.fstat, fd)))
      assert.equal("EBADF", fails(fd.read, fd).name)
      assert.equal("EBADF", fails(p.syscall, p, "fchdir", number).name)
      local again = p:open "/"
      assert.equal(number, again.number)
      assert.matches("was closed before", tostring(fails(fd.fstat, fd)))
      assert.equal("directory", again:fstat().type)
    end)

    it("that nobody holds any more is closed", function()
      local held = probe.fds(p)
      local function waste() p:pipe2() end
      waste()
      assert.is_true(probe.soon(function()
        collectgarbage()
        collectgarbage()
        p:getpid()
        return probe.fds(p) == held
      end))
    end)

    it("that is closed ends who waits for it", function()
      local from, to = p:pipe2()
      local err
      afar.nursery(function(n)
        n:spawn(function() err = fails(from.read, from) end)
        probe.settle(p)
        from:close()
      end)
      assert.equal("EBADF", err.name)
      assert.matches("the fd was closed meanwhile", tostring(err))
      to:close()
    end)

    it("is waited for without anybody else's waiting", function()
      local from, to = p:pipe2()
      local got
      afar.nursery(function(n)
        n:spawn(function() got = from:read() end)
        for _ = 1, 10 do assert.equal(p.pid, p:getpid()) end
        assert.is_nil(got)
        to:write "x"
      end)
      assert.equal("x", got)
    end)

    it("that is waited for costs nothing when the wait is cancelled", function()
      local from, to = p:pipe2()
      pcall(afar.timeout, 0.01, from.read, from)
      local held = probe.holds(p)
      for _ = 1, 5 do
        assert.is_true(fails(afar.timeout, 0.01, from.read, from).timeout)
      end
      assert.same(held, probe.holds(p, held))
      to:write "still there"
      assert.equal("still there", from:read())
    end)

    it("gives each of many readers a part", function()
      local from, to = p:pipe2()
      local got = {}
      afar.nursery(function(n)
        for _ = 1, 5 do
          n:spawn(function()
            local byte = from:read(1)
            got[#got + 1] = byte
          end)
        end
        afar.sleep(0.01)
        to:write "abcde"
      end)
      table.sort(got)
      assert.equal("abcde", table.concat(got))
    end)
  end)

  describe("that is misused", function()
    local p

    before_each(function() p = afar.here:fork() end)
    after_each(function() p:exit() end)

    it("says so", function()
      local fd = p:open "/etc/passwd"
      assert.matches('an fd has no method "raed" %(did you mean "read"%?%)', tostring(fails(function() fd:raed() end)))
      assert.matches("a number of bytes or a pointer was expected, not %-1", tostring(fails(fd.read, fd, -1)))
      assert.matches("a number of bytes or a pointer was expected, not x", tostring(fails(fd.read, fd, "x")))
      assert.matches("a string or a pointer was expected, not table", tostring(fails(fd.write, fd, {})))
      assert.matches("an fd was expected, not string", tostring(fails(p.read, p, "x")))
      assert.matches("%-1 is no fd", tostring(fails(p.syscall, p, "fchdir", fd) and fails(p.fstat, p, -1)))
      assert.equal("EBADF", fails(fd.write, fd, "x").name)
      assert.matches("^write%(fd %d+, \"x\"%) in process %d+ on here: Bad file descriptor %(EBADF%)", tostring(fails(fd.write, fd, "x")))
    end)

    it("leaves no memory", function()
      local fd = p:open "/etc/passwd"
      local held = probe.holds(p)
      for _ = 1, 10 do
        fails(p.open, p, "/etc/passwd", "O_NONSENSE")
        fails(p.mkdir, p, "/tmp/x", "0999")
        fails(p.rename, p, "/tmp/x", {})
        fails(p.chain, p, function(c)
          c:open "/etc/passwd"
          error "no"
        end)
        fails(fd.pwrite, fd, "x", {})
      end
      assert.same(held, probe.holds(p, held))
    end)

    it("leaves no memory when its routine was cancelled before", function()
      local fd, held = p:open "/etc/passwd", nil
      local calls = {
        function() fd:read(100) end,
        function() fd:write "x" end,
        function() p:stat "/" end,
        function() p:open "/" end,
        function() p:read_file "/etc/passwd" end,
        function() p:run { "true" } end,
        function() p:fork() end,
        function() p:chain(function(c) c:open("/"):close() end) end,
      }
      for round = 1, 2 do
        for i, call in ipairs(calls) do
          local ended
          afar.nursery(function(n)
            n:spawn(function()
              n:cancel()
              call()
              ended = "call " .. i
            end)
          end)
          assert.is_nil(ended, i)
        end
        if round == 1 then held = probe.holds(p) end
      end
      assert.same(held, probe.holds(p, held))
    end)
  end)
end)
