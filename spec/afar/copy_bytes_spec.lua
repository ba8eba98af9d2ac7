-- Copying between two fds of one process: whatever they are, no byte comes to the host, and nobody else waits.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local SIZE = 3000001

local failure = require("spec.support.raised").err

describe("copy_bytes", function()
  ways.each(function(way)
    local p, dir

    before_each(function()
      p = way.root:fork()
      dir = way.root:run({ "mktemp", "-d" }).stdout:gsub("\n", "")
      way.root:run { "sh", "-c", 'head -c "$1" /dev/urandom > "$2/from"', "sh", SIZE, dir }
    end)
    after_each(function()
      p:exit()
      way.root:run { "rm", "-rf", dir }
    end)

    local function source() return p:open(dir .. "/from") end
    local function target(flags) return p:open(dir .. "/to", "O_RDWR|O_CREAT|O_TRUNC" .. (flags or "")) end
    local function check() way.root:run { "cmp", dir .. "/from", dir .. "/to" } end

    --- From the file through `first`, `second` ... to the other file; each a pair: what is written to, what that comes out of.
    local function through(...)
      local pairs_, counts = { ... }, {}
      afar.nursery(function(n)
        local from = source()
        for i = 1, #pairs_ + 1 do
          local to = pairs_[i] and pairs_[i][1] or target()
          local this = from
          n:spawn(function()
            counts[i] = p:copy_bytes(this, to)
            to:close()
          end)
          from = pairs_[i] and pairs_[i][2]
        end
      end)
      for _, count in ipairs(counts) do assert.equal(SIZE, count) end
      check()
    end

    it("copies a file", function()
      assert.equal(SIZE, p:copy_bytes(source(), target()))
      check()
    end)

    it("copies to the end of a file, which only write does", function()
      assert.equal(SIZE, p:copy_bytes(source(), target "|O_APPEND"))
      check()
    end)

    it("copies through pipes and sockets", function()
      way:needs "processes that share fds: a copy blocks its process there, and these wait for each other"
      local function pipe()
        local from, to = p:pipe2()
        return { to, from }
      end
      local function sockets() return { p:socketpair() } end
      local function nonblocking()
        local a, b = p:socketpair("AF_UNIX", "SOCK_STREAM|SOCK_NONBLOCK")
        return { a, b }
      end
      through(pipe())
      through(sockets())
      through(pipe(), pipe(), sockets(), sockets(), pipe())
      through(nonblocking(), nonblocking(), pipe(), nonblocking())
    end)

    it("copies what seems to be empty, and isn't", function()
      local fd = p:open "/proc/self/status"
      local to = target()
      assert.is_true(p:copy_bytes(fd, to) > 100)
      assert.matches("Name:", to:pread(100, 0))
    end)

    it("copies as much as it is told to, from where the files stand", function()
      local from, to = source(), target()
      from:lseek(1000)
      to:write "head"
      assert.equal(0, p:copy_bytes(from, to, 0))
      assert.equal(1000001, p:copy_bytes(from, to, 1000001))
      assert.equal(1001001, from:lseek(0, "SEEK_CUR"))
      assert.equal(1000005, to:fstat().st_size)
      assert.equal(from:pread(50, 1000), to:pread(50, 4))
      assert.equal(70000, p:copy_bytes(p:open "/dev/zero", to, 70000))
    end)

    it("copies nothing at the end", function()
      local from, to = p:pipe2()
      to:close()
      assert.equal(0, p:copy_bytes(from, target()))
    end)

    it("raises what the kernel says, and how far it came", function()
      local from, to = p:pipe2()
      from:close()
      local err = failure(p.copy_bytes, p, source(), to)
      assert.equal("EPIPE", err.name)
      assert.equal(0, err.copied)
      err = failure(p.copy_bytes, p, source(), p:open "/dev/full")
      assert.is_true(err.name == "EBADF") -- open for reading only
      assert.equal("ENOSPC", failure(p.copy_bytes, p, source(), p:open("/dev/full", "O_WRONLY")).name)
      assert.equal("EISDIR", failure(p.copy_bytes, p, p:open "/etc", target()).name)
    end)

    it("can be cut short, and nobody waits for it meanwhile", function()
      way:needs "processes that share fds, so a copy there can't be ended"
      local from, to = p:pipe2()
      local fd = target()
      local err = failure(afar.nursery, function(n)
        n:spawn(p.copy_bytes, p, from, fd)
        to:write "abc"
        assert.is_true(probe.soon(function() return fd:fstat().st_size == 3 end))
        assert.equal(p.pid, p:getpid())
        afar.timeout(0.05, afar.sleep, 60)
      end)
      assert.is_true(err.timeout)
      assert.equal("abc", fd:pread(10, 0))
    end)

    it("leaves nothing behind", function()
      local function use()
        local from, to = source(), target()
        p:copy_bytes(from, to, 100000)
        local a, b = p:socketpair()
        local c, d = p:socketpair()
        a:write "x"
        a:close()
        p:copy_bytes(b, c)
        pcall(p.copy_bytes, p, from, to, "x")
        pcall(p.copy_bytes, p, to, p:open "/dev/full")
        for _, fd in ipairs { from, to, b, c, d } do fd:close() end
      end
      use()
      local before = probe.holds(p)
      for _ = 1, 5 do use() end
      assert.is_true(probe.soon(function()
        local now = probe.holds(p)
        return now.fds <= before.fds and now.memory <= before.memory
      end))
    end)
  end)

  it("refuses bad input before any call", function()
    local p = afar.here
    local fd = p:open "/etc/hosts"
    assert.matches("a number of bytes was expected, not x", failure(p.copy_bytes, p, fd, fd, "x"))
    assert.matches("a number of bytes was expected, not %-1", failure(p.copy_bytes, p, fd, fd, -1))
    assert.matches("an fd was expected, not nil", tostring(failure(p.copy_bytes, p, fd)))
    local q = p:fork()
    assert.matches("the fd belongs to fd table", tostring(failure(p.copy_bytes, p, fd, q:open "/dev/null")))
    q:exit()
  end)
end)
