-- Looking on at the system calls of a process.

local afar = require "afar"
local probe = require "spec.support.probe"
local raised = require "spec.support.raised"
local ways = require "spec.support.ways"

describe("a trace", function()
  ways.each(function(way)
    local p, before, lines

    before_each(function()
      before = probe.holds(way.root)
      p, lines = way.root:fork(), {}
      p:trace(function(call) lines[#lines + 1] = tostring(call):gsub(" in process %d+ on [%w-]+ =", " =") end)
    end)
    after_each(function()
      p:exit()
      assert.same(before, probe.holds(way.root, before))
    end)

    it("tells each call with its result, and what failed with its error", function()
      local parent = p:getppid()
      local fd = p:open("/etc/passwd", "O_RDONLY")
      assert.equal("root", fd:read(4))
      fd:close()
      raised.err(p.unlink, p, "/no/such")
      local n = fd.number
      local want = {
        "getppid() = " .. parent, 'open("/etc/passwd", "O_RDONLY") = ' .. n, ("read(fd %d, 4) = 4"):format(n), ("close(fd %d) = 0"):format(n),
        'unlink("/no/such") = -1 ENOENT',
      }
      local told = {}
      for _, line in ipairs(lines) do
        if not line:find "^fstat" and not line:find "^poll" then told[#told + 1] = line end
      end
      assert.same(want, told)
    end)

    it("tells the calls of a chain in their order, but not those that weren't performed", function()
      raised.err(p.chain, p, function(c)
        c:getuid()
        c:chdir "/no/such"
        c:getgid()
      end)
      assert.same({ "getuid() = " .. way.root:getuid(), "chdir() = -1 ENOENT" }, lines)
    end)

    it("tells nothing of other processes, nor of what who looks on does, nor after its end", function()
      local count = 0
      p:trace(function(call)
        count = count + 1
        assert.equal(p, call.process)
        assert.same({ "getppid", 0 }, { call.call, call.args.n })
        p:getpid()
        if count == 2 then p:trace(false) end
      end)
      way.root:getppid()
      for _ = 1, 4 do p:getppid() end
      assert.equal(2, count)
    end)
  end)

  it("wants a function, and raises what that raises", function()
    local p = afar.here:fork()
    assert.matches("trace: a function was expected, not number", (raised.message(p.trace, p, 1)))
    p:trace(function() error("enough", 0) end)
    assert.equal("enough", raised.err(p.getppid, p))
    p:trace(false)
    assert.equal(afar.here.pid, p:getppid())
    p:exit()
  end)
end)
