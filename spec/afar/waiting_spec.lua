-- Waiting: stops, continuations, any of several; whole trees ended.

local afar = require "afar"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").saying

local function sleeper(p, seconds) return p:fork():exec { "sleep", seconds or "100" } end

describe("waiting", function()
  for _, name in ipairs { "here", "over pipes" } do
    ways.over(ways.get(name), function(way)
      it("tells stop, continuation and end, to several at once", function()
        local a, b = sleeper(way.root), sleeper(way.root)
        local seen = {}
        afar.timeout(60, afar.nursery, function(n)
          for _, child in ipairs { a, b } do
            n:spawn(function()
              local list = {}
              seen[child] = list
              list[1] = child:wait { stopped = true }
              child:kill "SIGCONT"
              list[2] = child:wait { continued = true }
              child:kill "SIGKILL"
              list[3] = child:wait { stopped = true, continued = true }
            end)
          end
          afar.sleep(0.05)
          a:kill "SIGSTOP"
          b:kill "SIGSTOP"
        end)
        for _, child in ipairs { a, b } do
          assert.equal("SIGSTOP", seen[child][1].stopped)
          assert.is_true(seen[child][2].continued)
          assert.equal("SIGKILL", seen[child][3].signal)
        end
        assert.is_nil(way.root:sigprocmask().SIGCHLD)
      end)

      it("misses no stop that comes while it looks", function()
        local other, child = sleeper(way.root), sleeper(way.root)
        afar.nursery(function(n)
          n:spawn(other.wait, other, { stopped = true }) -- so that somebody listens all the time
          afar.sleep(0.05)
          for _ = 1, 300 do
            n:spawn(child.kill, child, "SIGSTOP")
            assert.equal("SIGSTOP", afar.timeout(60, child.wait, child, { stopped = true }).stopped)
            child:kill "SIGCONT"
          end
          child:kill "SIGKILL"
          other:kill "SIGKILL"
        end)
        child:wait()
      end)

      it("for one of several gives the first that ends, and leaves the others alone", function()
        local long, short = sleeper(way.root), sleeper(way.root, "0.05")
        local child, status = afar.wait_any { long, short }
        assert.equal(short, child)
        assert.is_true(status.ok)
        assert.is_nil(long.status)
        assert.equal(short, (afar.wait_any { long, short }))
        long:kill()
        assert.equal("SIGTERM", afar.wait_any({ long }).status.signal)
      end)

      it("ends at a timeout, and can be done again", function()
        local child = sleeper(way.root)
        assert.is_true(select(2, pcall(afar.timeout, 0.05, afar.wait_any, { child })).timeout)
        assert.is_true(select(2, pcall(afar.timeout, 0.05, child.wait, child, { stopped = true })).timeout)
        child:kill "SIGKILL"
        assert.equal("SIGKILL", child:wait().signal)
      end)
    end)
  end

  it("refuses nonsense", function()
    local child = sleeper(afar.here)
    fails('no option "stoped"; did you mean "stopped"', child.wait, child, { stoped = true })
    fails("list of children", afar.wait_any, {})
    child:kill()
    child:wait()
  end)
end)

describe("a whole tree", function()
  local TREE = "(sleep 1000 & sleep 1000 & wait) & (setsid sleep 1000 &) ; echo ready; sleep 1000"

  local function grow(parent, ...)
    local from, to = parent:pipe2()
    local p = parent:clone(...)
    local child = p:exec { "sh", "-c", TREE, stdout = p:inherit(to) }
    to:close()
    assert.equal("ready\n", from:read())
    return child, from
  end

  --- Every one of the tree has the pipe: its end is theirs.
  local function all_gone(from)
    assert.equal("", afar.timeout(60, from.read, from))
    from:close()
  end

  it("ends with its pid namespace", function()
    superuser.needed()
    local child, from = grow(afar.here, "CLONE_NEWPID")
    local status, how = child:kill_tree()
    assert.equal("SIGKILL", status.signal)
    assert.equal("pid namespace", how)
    all_gone(from)
  end)

  it("ends by its parent, a subreaper", function()
    local p = afar.here:fork()
    p:prctl("PR_SET_CHILD_SUBREAPER", 1)
    local child, from = grow(p)
    local other = sleeper(p)
    local status, how = child:kill_tree()
    assert.equal("SIGKILL", status.signal)
    assert.equal("subreaper", how)
    all_gone(from)
    assert.is_true(probe.runs(other.pid))
    other:kill()
    other:wait()
    p:exit(0)
  end)

  it("ends by its cgroup, where there is one", function()
    local root = "/sys/fs/cgroup/unified"
    if not pcall(afar.here.stat, afar.here, root .. "/cgroup.procs") then root = "/sys/fs/cgroup" end
    local path = root .. "/afar-spec-" .. afar.here.pid
    if not pcall(afar.here.mkdir, afar.here, path) then return pending "no cgroup can be made here" end
    local cgroup = afar.here:open(path, "O_RDONLY|O_DIRECTORY")
    local p = afar.here:clone(0, { cgroup = cgroup })
    assert.matches("afar%-spec", p:read_file "/proc/self/cgroup")
    p:exit(0)
    local child, from = grow(afar.here, 0, { cgroup = cgroup })
    local _, how = child:kill_tree()
    assert.equal("cgroup", how)
    all_gone(from)
    cgroup:close()
    assert.is_true(probe.soon(function() return pcall(afar.here.rmdir, afar.here, path) end))
  end)
end)

describe("the limit of fds", function()
  it("ends what can be cloned with a clear error, and all that are there work on", function()
    local h = afar.here:bootstrap { "sh", "-c", "ulimit -n 100; exec " .. "sh -c \"$0\"", afar.SCRIPT }
    local kids, err = {}, nil
    for i = 1, 120 do
      local ok, kid = pcall(h.fork, h)
      if not ok then
        err = kid
        break
      end
      kids[i] = kid
    end
    assert.matches("RLIMIT_NOFILE", tostring(err), 1, true)
    assert.equal("EMFILE", err.name)
    assert.is_true(#kids > 10)
    for _, kid in ipairs(kids) do
      assert.equal(kid.pid, kid:getpid())
      kid:exit(0)
    end
    assert.equal("x\n", h:run({ "echo", "x" }).stdout)
    h:disconnect()
  end)
end)
