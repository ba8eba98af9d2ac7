--- Memory of processes: pointers, and what allocates it.

local afar = require "afar"
local ffi = require "ffi"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

ways.each(function(way)
  describe("a pointer", function()
    local p
    setup(function() p = way.root end)

    it("is written and read", function()
      local ptr = p:malloc(100)
      assert.equal(100, ptr.size)
      ptr:write "hello"
      ptr:write(" world", 5)
      assert.equal("hello world", ptr:bytes(0, 11))
      assert.equal("world", ptr:bytes(6, 5))
      local long = ("0123456789abcdef"):rep(8000)
      assert.is_true(p:ptr(long):read() == long)
    end)

    it("has a type", function()
      local number = p:ptr(-5, "int32_t")
      assert.equal(4, number.size)
      assert.equal("\251\255\255\255", number:bytes(0, 4))
      local time = p:malloc "timespec"
      p:syscall("clock_gettime", 0, time)
      local now = time:read()
      assert.is_true(math.abs(tonumber(now.tv_sec) - os.time()) < 60)
      time:write { tv_sec = 7, tv_nsec = 9 }
      assert.equal(7, tonumber(time:read().tv_sec))
      local array = p:malloc("int32_t", 3)
      array:write(ffi.new("int32_t[3]", 1, 2, 3))
      assert.equal(3, array:read()[2])
    end)

    it("is what a call fills, in part", function()
      local from, to = p:pipe2()
      to:write "abc"
      local buffer = p:malloc(10)
      local filled, rest = from:read(buffer)
      assert.equal(3, filled.size)
      assert.equal(7, rest.size)
      assert.equal("abc", filled:read())
      local written, left = to:write(filled)
      assert.equal(3, written.size)
      assert.equal(0, left.size)
      assert.equal("abc", from:read())
      from:close()
      to:close()
    end)

    it("is split and merged", function()
      local ptr = p:ptr "leftright"
      local left, right = ptr:split(4)
      assert.equal("left", left:read())
      assert.equal("right", right:read())
      assert.matches("split, merged or moved", message(ptr.read, ptr))
      local whole = left + right
      assert.equal("leftright", whole:read())
      assert.matches("split, merged or moved", message(left.read, left))
      assert.matches("only neighbours", message(function() return p:malloc(4) + p:malloc(4) end))
      assert.matches("beyond the memory's end", message(whole.split, whole, 10))
    end)

    it("can't be used when it was freed, but shown", function()
      local ptr = p:ptr "text"
      ptr:free()
      ptr:free()
      assert.matches("^pointer to 4 bytes at 0x%x+ of process", tostring(ptr))
      assert.matches("^read%(.*%) in process %d+ on .*: the memory was freed before$", message(ptr.read, ptr))
      assert.matches("was freed before", message(p.syscall, p, "write", 1, ptr, 4))
    end)

    it("says what is beyond its end", function()
      local ptr = p:malloc(8)
      assert.matches("beyond the memory's end", message(ptr.bytes, ptr, 4, 5))
      assert.matches("9 bytes don't fit into 8", message(ptr.write, ptr, "123456789"))
      assert.matches("no size in bytes", message(p.malloc, p, 0))
      assert.matches("the type is larger", message(ptr.cast, ptr, "int32_t[3]"))
      assert.matches("a string or a cdata was expected", message(ptr.write, ptr, true))
    end)

    it("belongs to its address space", function()
      if way.name == "here" then return end
      local ptr = afar.here:malloc(8)
      assert.matches("another address space", message(p.syscall, p, "read", 0, ptr, 8))
    end)

    it("gives its memory back when it is collected", function()
      local before = probe.holds(p)
      for _ = 1, 100 do p:malloc(5000) end
      assert.is_true(p.space.heap:used() > before.memory)
      assert.same(before, probe.holds(p, before))
    end)

    it("to a bad address is an error, not the end", function()
      assert.matches("%(EFAULT%)", message(p.syscall, p, "read", p:open "/etc/passwd", 8, 100))
      assert.matches("%(EFAULT%)", message(p.syscall, p, "newfstatat", -100, 4096, 4096, 0))
      assert.equal(p.pid, p:getpid())
    end)
  end)
end)
