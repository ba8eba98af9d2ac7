--- p:chain: many calls as one, which may use each other's results.

local afar = require "afar"
local ways = require "spec.support.ways"
local probe = require "spec.support.probe"

local function message(f, ...)
  local ok, err = pcall(f, ...)
  assert(not ok, "it should have failed")
  return tostring(err), err
end

ways.each(function(way)
  describe("a chain", function()
    local p
    setup(function() p = way.root end)

    it("gives what its function returns, with the values in the place of what stood for them", function()
      local pid, three, uid, none = p:chain(function(c) return c:getpid(), 3, c:getuid(), nil end)
      assert.equal(p.pid, pid)
      assert.equal(3, three)
      assert.equal(0, uid)
      assert.is_nil(none)
      assert.equal("nothing", p:chain(function() return "nothing" end))
    end)

    it("uses the result of one call in another", function()
      local text, size = p:chain(function(c)
        local fd = c:open("/tmp", "O_TMPFILE|O_RDWR", "0600")
        fd:write "some text"
        local size = fd:lseek(0, "SEEK_END")
        local text = fd:pread(100, 5)
        fd:close()
        return text, size
      end)
      assert.equal("text", text)
      assert.equal(9, size)
    end)

    it("gives handles that outlive it", function()
      local from, to = p:chain(function(c)
        local from, to = c:pipe2()
        return from, to
      end)
      to:write "x"
      assert.equal("x", from:read())
      from:close()
      to:close()
    end)

    it("ends at the first failure, and closes what it opened", function()
      local before = probe.fds(p.pid)
      local text, err = message(p.chain, p, function(c)
        local fd = c:open "/etc/passwd"
        c:mkdir "/no/such/place"
        local more = c:open "/etc/hosts"
        more:close()
        fd:close()
        return fd
      end)
      assert.matches("^mkdir%(", text)
      assert.equal("ENOENT", err.name)
      assert.equal(before, probe.fds(p.pid))
    end)

    it("may be long", function()
      local results = { p:chain(function(c)
        local all = {}
        for i = 1, 200 do all[i] = c:getppid() end
        return unpack(all)
      end) }
      assert.equal(200, #results)
      assert.equal(results[1], results[200])
      local texts = { p:chain(function(c)
        local all = {}
        for i = 1, 60 do
          local fd = c:open "/etc/hostname"
          all[i] = fd:pread(100, 0)
          fd:close()
        end
        return unpack(all)
      end) }
      assert.equal(60, #texts)
      assert.equal(texts[1], texts[60])
    end)

    it("says what can't be part of it", function()
      assert.matches("run can't be part of a chain", message(p.chain, p, function(c) c:run { "true" } end))
      assert.matches('no method "opne" %(did you mean "open"%?%)', message(p.chain, p, function(c) c:opne "/" end))
      assert.matches('a placeholder has no method "foo"', message(p.chain, p, function(c) c:open("/"):foo() end))
      local stray
      p:chain(function(c) stray = c:getpid() end)
      assert.matches("another chain", message(p.chain, p, function(c) c:syscall("getpriority", 0, stray) end))
      assert.matches("mine", message(p.chain, p, function() error "mine" end))
    end)
  end)
end)
