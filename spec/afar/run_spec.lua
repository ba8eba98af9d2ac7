-- A program, run to its end.

local afar = require "afar"
local probe = require "spec.support.probe"
local sched = require "afar.sched"
local ways = require "spec.support.ways"

describe("run", function()
  ways.each(function(way)
    local before

    before_each(function() before = probe.holds(way.root) end)
    after_each(function() assert.same(before, probe.holds(way.root, before)) end)

    it("gives what was written, and how it ended", function()
      local result = way.root:run { "sh", "-c", "echo out; echo err >&2" }
      assert.equal("out\n", result.stdout)
      assert.equal("err\n", result.stderr)
      assert.equal(0, result.status.code)
      assert.is_true(result.status.ok)
    end)

    it("raises when it fails, with what it said", function()
      local ok, err = pcall(way.root.run, way.root, { "sh", "-c", "echo out; echo something is wrong >&2; exit 3" })
      assert.is_false(ok)
      assert.equal(3, err.status.code)
      assert.equal("out\n", err.stdout)
      assert.equal("something is wrong\n", err.stderr)
      assert.matches("^run%(.*%) in process %d+ on .*: exit code 3; it said: something is wrong$", tostring(err))
      assert.matches("killed by SIGTERM", tostring(select(2, pcall(way.root.run, way.root, { "sh", "-c", "kill $$" }))))
    end)

    it("gives a program /dev/null where it stands for something, and nowhere else", function()
      local function nulls(spec)
        local list = { "sh", "-c", "for fd in /proc/$$/fd/*; do readlink $fd; done | grep -c '^/dev/null$' >&2; :", stdin = spec.stdin, stdout = spec.stdout }
        return tonumber(way.root:run(list).stderr)
      end
      local others = nulls { stdin = "" } -- what the root was started with
      assert.equal(others + 1, nulls {})
      assert.equal(others + 1, nulls { stdin = "", stdout = "null" })
      assert.equal(others + 2, nulls { stdout = "null" })
    end)

    it("raises nothing with check = false", function()
      local result = way.root:run { "sh", "-c", "exit 3", check = false }
      assert.equal(3, result.status.code)
      assert.equal("SIGKILL", way.root:run({ "sh", "-c", "kill -9 $$", check = false }).status.signal)
    end)

    it("works in any process", function()
      way:with_fork(function(p)
        assert.equal("x\n", p:run({ "echo", "x" }).stdout)
        p:chdir "/usr"
        assert.equal("/usr\n", p:run({ "pwd" }).stdout)
        assert.equal("a b", p:run({ "cat", stdin = "a b" }).stdout)
        local other = p:fork()
        assert.equal("y\n", other:run({ "echo", "y" }).stdout)
        other:exit()
      end)
    end)

    it("passes stdin, and nothing when there is none", function()
      assert.equal("", way.root:run({ "cat" }).stdout)
      assert.equal("", way.root:run({ "cat", stdin = "" }).stdout)
      assert.equal("hello\0there\n", way.root:run({ "cat", stdin = "hello\0there\n" }).stdout)
    end)

    it("passes megabytes both ways at once", function()
      local data = ("0123456789abcdef"):rep(200000)
      assert.is_true(way.root:run({ "cat", stdin = data }).stdout == data)
      way:with_fork(function(p) assert.is_true(p:run({ "cat", stdin = data }).stdout == data) end)
    end)

    it("is not held up by a program that reads nothing", function()
      local data = ("x"):rep(1000000)
      assert.equal("x\n", way.root:run({ "echo", "x", stdin = data }).stdout)
      way:with_fork(function(p) assert.equal("x\n", p:run({ "echo", "x", stdin = data }).stdout) end)
    end)

    it("sends output elsewhere where asked", function()
      local fd = way.root:open("/tmp", "O_RDWR|O_TMPFILE")
      local result = way.root:run { "sh", "-c", "echo out; echo err >&2", stdout = fd, stderr = "null" }
      assert.equal("", result.stdout)
      assert.equal("out\n", fd:pread(100, 0))
      result = way.root:run { "sh", "-c", "echo out; echo err >&2", stderr = "stdout" }
      assert.equal("out\nerr\n", result.stdout)
      result = way.root:run { "sh", "-c", "echo out; echo err >&2", stdout = "null" }
      assert.same({ "", "err\n" }, { result.stdout, result.stderr })
      fd:close()
    end)

    it("says that there is no such program", function()
      for _ = 1, 3 do
        local ok, err = pcall(way.root.run, way.root, { "no-such-program" })
        assert.is_false(ok)
        assert.is_true(afar.is_error(err, "ENOENT"))
        assert.matches('no "no%-such%-program" in PATH', tostring(err))
      end
      way:with_fork(function(p) assert.equal("ENOENT", select(2, pcall(p.run, p, { "no-such-program" })).name) end)
    end)

    it("runs many side by side", function()
      local got = {}
      afar.nursery(function(n)
        for i = 1, 20 do
          n:spawn(function() got[i] = way.root:run({ "echo", i }).stdout end)
        end
      end)
      for i = 1, 20 do
        assert.equal(i .. "\n", got[i])
      end
    end)

    it("gives programs that start together the environment of that moment", function()
      local root = way.root
      for round = 1, 5 do
        root.environ.SPEC_ROUND = ("round"):rep(200) .. round
        local got = {}
        afar.nursery(function(n)
          for i = 1, 10 do
            n:spawn(function() got[i] = root:run({ "sh", "-c", "echo $SPEC_ROUND" }).stdout end)
          end
        end)
        for i = 1, 10 do
          assert.equal(root.environ.SPEC_ROUND .. "\n", got[i])
        end
      end
      root.environ.SPEC_ROUND = nil
    end)

    it("ends its program when the time is over", function()
      local ok, err = pcall(way.root.run, way.root, { "sh", "-c", "exec sleep 60", timeout = 0.2 })
      assert.is_false(ok)
      assert.is_true(err.timeout)
      assert.is_true(afar.is_error(err, "timeout"))
      assert.matches("^run%(\"sh %-c exec sleep 60\"%) in process %d+ on .*: not done within 0%.2 s, and ended$", tostring(err))
    end)

    it("ends with all that it has started, if that is asked for", function()
      way:needs "subreapers"
      local from, to = way.root:pipe2()
      local script = "sleep 60 & echo $!; sleep 60; true"
      local pid
      afar.nursery(function(n)
        n:spawn(way.root.run, way.root, { "sh", "-c", script, stdout = to, tree = true })
        pid = tonumber(from:read())
        assert.is_true(probe.runs(pid))
        n:cancel()
      end)
      assert.is_true(probe.soon(function() return not probe.runs(pid) end))
      from:close()
      to:close()
    end)

    it("ends its program when it is cancelled", function()
      way:with_fork(function(p)
        for _, on in ipairs { way.root, p } do
          local from, to = on:pipe2()
          local pid
          afar.nursery(function(n)
            n:spawn(function() on:run { "sh", "-c", "echo $$; exec sleep 60", stdout = to } end)
            pid = tonumber(from:read())
            assert.is_true(probe.runs(pid))
            n:cancel()
          end)
          assert.is_false(probe.runs(pid))
          from:close()
          to:close()
        end
      end)
    end)

    it("does not wait for what its program leaves running", function()
      local result = way.root:run { "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!" }
      local pid = tonumber(result.stdout)
      assert.is_true(probe.runs(pid))
      way.root:kill(pid, "SIGKILL")
      assert.is_true(probe.soon(function() return not probe.runs(pid) end))
    end)
  end)

  it("ends by force what doesn't heed SIGTERM", function()
    local child = afar.here:fork()
    local function stubborn(p)
      local ok, err = pcall(p.run, p, { "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.05; done", timeout = 0.2 })
      assert.is_false(ok)
      assert.is_true(err.timeout)
    end
    afar.nursery(function(n)
      n:spawn(stubborn, afar.here)
      n:spawn(stubborn, child)
    end)
    child:exit()
  end)

  it("that is given up while it fails leaves nothing, at whichever turn of the loop that is", function()
    local p = afar.here:fork()
    pcall(p.run, p, { "/nonexistent" })
    local held = probe.holds(p)
    for turns = 0, 24 do
      pcall(afar.nursery, function(n)
        n:spawn(p.run, p, { "/nonexistent" })
        for _ = 1, turns do sched.turn() end
        n:cancel "given up"
      end)
    end
    assert.same(held, probe.holds(p, held))
    assert.equal("", afar.here:read_file(("/proc/%d/task/%d/children"):format(p.pid, p.pid)))
    p:exit()
  end)

  it("that can't clone leaves nothing", function()
    if afar.here:getuid() ~= 0 then pending "needs root, to become somebody else" end
    local p = afar.here:fork()
    p:syscall("prlimit64", 0, 6, p:ptr(("\0"):rep(16)), 0) -- RLIMIT_NPROC
    p:syscall("setresuid", 65534, 65534, 65534)
    local held = probe.holds(p).fds
    for _ = 1, 3 do
      local ok, err = pcall(p.run, p, { "true" })
      assert.is_false(ok)
      assert.equal("EAGAIN", err.name)
    end
    probe.works(p)
    assert.is_true(probe.fds(p) <= held)
    p:exit()
  end)
end)
