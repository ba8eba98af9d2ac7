-- Programs that are run without a carrier of their own: what else their parent does meanwhile, and what becomes of them.

local afar = require "afar"
local lfs = require "lfs"
local probe = require "spec.support.probe"
local raised = require "spec.support.raised"
local sched = require "afar.sched"
local tasks = require "afar.task"
local ways = require "spec.support.ways"

--- A program runs in p until `f(pid)` has returned, and then ends by itself. Returns how it ended.
local function while_one_runs(p, f)
  local from, to = p:pipe2()
  local said, says = p:pipe2()
  local result
  afar.nursery(function(n)
    n:spawn(function() result = p:run { "sh", "-c", "echo $$; exec cat", stdin = from, stdout = says, stderr = "null" } end)
    f(tonumber(said:read()), from, to, said, says)
    to:close()
  end)
  for _, fd in ipairs { from, said, says } do fd:close() end
  return result.status
end

local function host_fds()
  local count = 0
  for _ in lfs.dir "/proc/self/fd" do count = count + 1 end
  return count
end

describe("a program that a process runs", function()
  for _, name in ipairs { "here", "over pipes", "over ssh" } do
    ways.over(ways.get(name), function(way)
      local before

      before_each(function() before = probe.holds(way.root) end)
      after_each(function() assert.same(before, probe.holds(way.root, before)) end)

      it("takes no fd of the host, nor a channel", function()
        way:with_fork(function(p)
          for _, on in ipairs { way.root, p } do
            on:run { "true" }
            local held = host_fds()
            assert.is_true(while_one_runs(on, function() assert.equal(held, host_fds()) end).ok)
          end
        end)
      end)

      it("dies with its parent, and who waits hears of that", function()
        local p, pid, err = way.root:fork(), nil, nil
        local from, to = p:pipe2()
        afar.nursery(function(n)
          n:spawn(function() err = raised.err(p.run, p, { "sh", "-c", "echo $$; exec sleep 60", stdout = to, stderr = "null" }) end)
          pid = tonumber(from:read())
          p.child:kill "SIGKILL"
        end)
        assert.equal("eof", err.name)
        assert.matches('^run%("sh %-c ', tostring(err))
        p:wait()
        if name ~= "over ssh" then assert.is_true(probe.soon(function() return not probe.runs(pid) end)) end
        afar.sleep(1.2) -- its memory is given back only once it is surely gone
      end)

      it("says what could not be done before, and leaves nothing", function()
        local dir = way.root:mkdtemp "/tmp/program-XXXXXX"
        way.root:write_file(dir .. "/text", "not executable", { mode = "0600" })
        way:with_fork(function(p)
          for _, on in ipairs { way.root, p } do
            local function err(spec) return raised.err(on.run, on, spec) end
            assert.matches("^chdir%(\"/nowhere\"%)", tostring(err { "true", cwd = "/nowhere" }))
            assert.matches("^execve%(.*EACCES", tostring(err { dir .. "/text" }))
            assert.matches("^execve%(.*EACCES", tostring(err { "./text", cwd = dir }))
            assert.equal("EACCES", err({ "text", env = { PATH = dir } }).name)
            assert.equal("ENOENT", err({ "texts", env = { PATH = dir .. ":/nowhere" } }).name)
            assert.equal("ENOENT", err({ "./texts", cwd = dir, stdin = "x" }).name)
            assert.equal("EBADF", err({ "true", stdout = 999 }).name)
            assert.equal("in\n", on:run({ "sh", "-c", "echo in", cwd = dir, stderr = "null" }).stdout)
          end
        end)
        way.root:remove_tree(dir)
      end)

      it("may be one of many that run at once", function()
        way:with_fork(function(p)
          for _, on in ipairs { way.root, p } do
            local from, to = on:pipe2()
            local said, says = on:pipe2()
            local ended, heard = 0, 0
            afar.nursery(function(n)
              for _ = 1, 70 do
                n:spawn(function()
                  on:run { "sh", "-c", "echo; exec cat", stdin = from, stdout = says, stderr = "null" }
                  ended = ended + 1
                end)
              end
              while heard < 70 do heard = heard + #said:read() end
              assert.equal(0, ended)
              to:close()
            end)
            assert.equal(70, ended)
            for _, fd in ipairs { from, said, says } do fd:close() end
          end
        end)
      end)

      it("is run as ever by a stub that knows nothing of scripts", function()
        local facts = way.root.machine.hello
        local features = facts.features
        facts.features = features % 2 ^ 8
        local ok, result = pcall(way.root.run, way.root, { "echo", "x" })
        local bad = raised.err(way.root.run, way.root, { "/nonexistent" })
        facts.features = features
        assert.is_true(ok)
        assert.equal("x\n", result.stdout)
        assert.equal("ENOENT", bad.name)
      end)
    end)
  end

  it("is not taken for an orphan that kill_tree has to end", function()
    local p = afar.here:fork()
    p:prctl("PR_SET_CHILD_SUBREAPER", 1)
    local status = while_one_runs(p, function(pid)
      p:fork():exec({ "sleep", "60" }):kill_tree()
      assert.is_true(probe.runs(pid))
    end)
    assert.is_true(status.ok)
    p:exit()
  end)

  it("is awaited though its parent closes all that it does not need", function()
    for _, p in ipairs { afar.here:fork(), afar.here:fork() } do
      local status = while_one_runs(p, function(_, ...)
        p:close_others { ... }
        p:close_range(20)
      end)
      assert.is_true(status.ok)
      p:exit()
    end
  end)

  it("is awaited though its parent leaves the table of fds that it has shared", function()
    local p = afar.here:fork()
    local q = p:clone "CLONE_FILES"
    local held = probe.fds(p)
    local status = while_one_runs(q, function(_, _, to)
      q:unshare "CLONE_FILES"
      q:inherit(to):close()
    end)
    assert.is_true(status.ok)
    q:exit()
    assert.is_true(probe.fds(p) <= held)
    p:exit()
  end)

  it("is awaited though its parent becomes persistent, be it a root or not", function()
    local dir = afar.here:mkdtemp "/tmp/program-XXXXXX"
    local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT, name = "kept" }
    local roots_child = root:fork()
    for i, p in ipairs { roots_child, root } do
      local status = while_one_runs(p, function(pid)
        p:persistent(("%s/%d"):format(dir, i))
        assert.is_true(probe.runs(pid))
        for _, free in ipairs(p:unclaimed()) do assert.is_nil(free.child) end
      end)
      assert.is_true(status.ok)
    end
    roots_child:exit()
    root:exit()
    afar.here:remove_tree(dir)
  end)

  it("that is given up at whichever turn of the loop ends, and leaves nothing", function()
    for _, spec in ipairs { { "sleep", "60" }, { "sleep", "60", stdout = "null", stderr = "null" }, { "true", stdout = "null", stderr = "null" } } do
      for _, p in ipairs { afar.here:fork(), afar.here:fork():fork() } do
        pcall(p.run, p, { "true" })
        local held = probe.holds(p)
        for turns = 0, 12 do
          pcall(afar.nursery, function(n)
            n:spawn(p.run, p, spec)
            for _ = 1, turns do sched.turn() end
            n:cancel "given up"
          end)
        end
        assert.same(held, probe.holds(p, held))
        assert.equal("", afar.here:read_file(("/proc/%d/task/%d/children"):format(p.pid, p.pid)))
        p:exit()
      end
    end
  end)

  it("whose answers are nonsense is not believed", function()
    local function chain()
      local all = tasks.chain()
      for _ = 1, 3 do all:add(5, 0, 2, 0, 0, 0, 0, 1) end
      all:add(5, 0, 0, 0, 0, 0, 0, 1)
      assert.equal(4 * 64, #all:script())
      return all
    end
    local function reply(tag, length, result) return string.char(tag, 0, 0, 0, length, 0, 0, 0, result, 0, 0, 0, 0, 0, 0, 0) end
    local all = chain()
    assert.is_true(all:take_replies(reply(1, 0, 7) .. reply(3, 0, 9)))
    assert.same({ 0, 7, 0, 9 }, { all:result(1), all:result(2), all:result(3), all:result(4) })
    assert.is_true(chain():take_replies "")
    for _, bytes in ipairs {
      reply(4, 0, 1), reply(1, 0, 1) .. reply(1, 0, 1), reply(2, 0, 1) .. reply(1, 0, 1), reply(1, 1, 1), reply(1, 0, 1) .. "x", "x", ("\255"):rep(16),
      reply(3, 0, 1) .. reply(3, 0, 1),
    } do
      assert.is_false(chain():take_replies(bytes))
    end
    assert.has_error(function() all:script() end)
  end)
end)
