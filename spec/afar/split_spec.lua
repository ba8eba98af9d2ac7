--- Chains that are too long, or refer too far back, to go as one: they go in parts, and nobody notices.

local afar = require "afar"
local probe = require "spec.support.probe"
local requests = require "afar.requests"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").err

local MANY = 1000

describe("a chain of thousands", function()
  ways.each(function(way)
    local p, before, held

    before_each(function()
      before = probe.holds(way.root)
      p = way.root:fork()
      p:getcwd()
      held = probe.holds(p)
    end)
    after_each(function()
      if p:is_alive() then
        assert.same(held, probe.holds(p, held))
        p:exit()
      else
        p.child:wait()
      end
      p = nil
      assert.same(before, probe.holds(way.root, before))
    end)

    local function fill(c, count)
      for _ = 1, count or MANY do c:getpid() end
    end

    it("is performed in order, and keeps its results", function()
      local numbers = p:chain(function(c)
        local numbers = {}
        for i = 1, 3 * MANY do numbers[i] = c:umask(i % 512) end
        c:umask(18)
        return numbers
      end)
      for i = 2, 3 * MANY do assert.equal((i - 1) % 512, numbers[i]) end
    end)

    it("uses a result that is far back, as an argument", function()
      local text, pid = p:chain(function(c)
        local fd = c:open "/etc/passwd"
        fill(c)
        local text = fd:pread(4, 0)
        fill(c)
        local pid = c:getpgid(c:getpid())
        fd:close()
        return text, pid
      end)
      assert.equal("root", text)
      assert.equal("number", type(pid))
    end)

    it("uses more of them than are within reach", function()
      local modes = p:chain(function(c)
        local fds, modes = {}, {}
        for i = 1, 200 do fds[i] = c:open "/etc/passwd" end
        for i = 1, 200 do
          modes[i] = fds[i]:fcntl "F_GETFD"
          fds[i]:close()
        end
        return modes
      end)
      assert.equal(200, #modes)
      for i = 1, 200 do assert.equal(1, modes[i]) end
    end)

    it("ends at a failure, however far back that is", function()
      local err = fails(p.chain, p, function(c)
        local fd, fds = c:open "/etc/passwd", {}
        for i = 1, 150 do fds[i] = c:open "/etc/passwd" end
        fill(c, 300)
        c:mkdir "/etc"
        fill(c)
        c:mkdir "/etc/spec-never"
        for i = 1, 150 do fds[i]:close() end
        fd:close()
      end)
      assert.equal("EEXIST", err.name)
      assert.is_nil(afar.try(p.stat, p, "/etc/spec-never"))
    end)

    --- A request that gives 7 and is expected to give `wanted`; far behind it one that needs its success, and one that needs its failure.
    local function expectation(wanted, between)
      local r = requests.record(p)
      r.args = {}
      local first = r:value(7, { aside = true, expect = wanted })
      local argument = r:value(7, { aside = true, always = true, expect_arg = 1 })
      between(r)
      local ok = r:value(1, { if_ok = first, aside = true })
      local failed = r:value(2, { if_failed = first, aside = true })
      local sum = r:value(argument + 1, { always = true, aside = true })
      r:start()
      assert.is_nil(r:wait())
      return r:result(ok), r:result(failed), r:result(sum)
    end

    it("knows what was expected far back", function()
      local function relayed(r)
        for i = 1, MANY do r:value(i, { always = true, aside = true }) end
      end
      local function in_parts(r)
        local refs = {}
        for i = 1, 200 do refs[i] = r:value(i, { always = true, aside = true }) end
        for i = 1, 200 do r:value(refs[i], { always = true, aside = true }) end
      end
      for _, between in ipairs { relayed, in_parts } do
        assert.same({ 1, -125, 8 }, { expectation(7, between) })
        assert.same({ -125, 2, 8 }, { expectation(5, between) })
      end
    end)

    it("waits in its middle, whatever is behind", function()
      local from, to = p:pipe2()
      local got
      afar.nursery(function(n)
        n:spawn(function()
          got = { p:chain(function(c)
            local first = c:getpid()
            c:umask(18)
            fill(c)
            local text = c:read(from, 10)
            fill(c)
            local last = c:syscall("umask", first)
            fill(c)
            c:syscall("umask", last)
            return first, text, last
          end) }
        end)
        afar.sleep(0)
        assert.equal(p.pid, p:getpid())
        assert.is_nil(got)
        to:write "now"
      end)
      assert.same({ p.pid, "now", 18 }, got)
      from:close()
      to:close()
    end)

    it("waits often", function()
      local from, to = p:pipe2()
      to:write(("0123456789"):rep(20))
      local texts = p:chain(function(c)
        local texts = {}
        for i = 1, 200 do texts[i] = c:read(from, 1) end
        return texts
      end)
      assert.equal(("0123456789"):rep(20), table.concat(texts))
      from:close()
      to:close()
    end)

    it("puts bytes into memory behind a wait", function()
      local r = requests.record(p)
      local from, to = p:pipe2()
      to:write "x"
      r.args = {}
      local at = r:scratch(16)
      r:hold(from.number, 1)
      r:write(at, "01234567")
      local number = r:value(requests.load32(at))
      r:run()
      assert.equal(0x33323130, r:result(number))
      from:close()
      to:close()
    end)

    it("is cancelled in its middle, and gives back what it had taken", function()
      local from, to = p:pipe2()
      for _ = 1, 2 do
        local err = fails(afar.timeout, 0.05, p.chain, p, function(c)
          local fd = c:open "/etc/passwd"
          fill(c)
          c:read(from, 10)
          fill(c)
          c:mkdir "/etc/spec-never"
          fd:close()
        end)
        assert.is_true(err.timeout)
        assert.is_nil(afar.try(p.stat, p, "/etc/spec-never"))
      end
      from:close()
      to:close()
    end)

    it("ends with its process, in its middle", function()
      local err = fails(p.chain, p, function(c)
        fill(c)
        c:syscall("kill", c:getpid(), 9)
        fill(c)
        c:umask(0)
      end)
      assert.equal("eof", err.name)
    end)

    it("ends with its process, while it waits", function()
      local from = p:pipe2()
      local err
      afar.nursery(function(n)
        n:spawn(function()
          err = fails(p.chain, p, function(c)
            fill(c)
            c:read(from, 10)
            fill(c)
          end)
        end)
        probe.settle(p)
        p:getpid()
        p.child:kill "SIGKILL"
      end)
      assert.equal("eof", err.name)
      assert.is_true(err.sent)
    end)
  end)
end)
