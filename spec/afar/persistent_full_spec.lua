-- Persistent processes where something is full: an error, and what was there before is as it was.

local afar = require "afar"
local probe = require "spec.support.probe"
local raised = require "spec.support.raised"
local superuser = require "spec.support.superuser"

local RLIMIT_NOFILE, RLIMIT_AS = 7, 9
local UNLIMITED = 2 ^ 64 - 1

local function u64(number)
  if number == UNLIMITED then return ("\255"):rep(8) end
  local bytes = {}
  for i = 1, 8 do
    bytes[i] = string.char(number % 256)
    number = math.floor(number / 256)
  end
  return table.concat(bytes)
end

--- Only the soft limit: it can be raised again.
local function limit(p, resource, soft)
  local hard = p:malloc(16)
  p:syscall("prlimit64", 0, resource, 0, hard)
  p:syscall("prlimit64", 0, resource, p:ptr(u64(soft) .. hard:read():sub(9, 16)), 0)
end

describe("a persistent process", function()
  local dir, path

  before_each(function()
    dir = afar.here:mkdtemp "/tmp/persistent-XXXXXX"
    path = dir .. "/socket"
  end)
  after_each(function() afar.here:remove_tree(dir, { force = true }) end)

  describe("with no memory left", function()
    it("refuses to keep more, and keeps what it kept", function()
      local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
      root:persistent(path)
      root.kept.state = { "before" }
      root.kept.child = root:fork():exec { "sleep", "1000" }
      limit(root, RLIMIT_AS, 1) -- what there is stays
      assert.equal("ENOMEM", raised.err(function() root.kept.state = ("x"):rep(50e6) end).name)
      assert.same({ "before" }, root.kept.state)
      root.kept.small = 1 -- there is room for that
      root:disconnect()
      local p = afar.reconnect(path)
      assert.same({ "before" }, p.kept.state)
      assert.equal(1, p.kept.small)
      assert.is_true(probe.runs(p.kept.child.pid))
      limit(p, RLIMIT_AS, UNLIMITED)
      p.kept.state = ("x"):rep(1e6)
      assert.equal(1e6, #p.kept.state)
      p:exit()
    end)

    it("in its cgroup goes on: what has eaten it is ended", function()
      superuser.needed()
      local groups = {
        { "/sys/fs/cgroup/afar-spec-" .. afar.here.pid, "memory.max" },
        { "/sys/fs/cgroup/memory/afar-spec-" .. afar.here.pid, "memory.limit_in_bytes" },
      }
      local group, most
      for _, one in ipairs(groups) do
        if not group and afar.try(afar.here.mkdir, afar.here, one[1]) then
          if afar.try(afar.here.stat, afar.here, one[1] .. "/" .. one[2]) then
            group, most = one[1], one[2]
          else
            afar.here:rmdir(one[1])
          end
        end
      end
      if not group then return pending "no cgroup with a memory controller can be made here" end
      local root = afar.here:bootstrap { "sh", "-c", afar.SCRIPT }
      root:write_file(group .. "/cgroup.procs", tostring(root.pid))
      root:write_file(group .. "/" .. most, tostring(24e6))
      root:persistent(path)
      root.kept.state = ("x"):rep(1e5)
      local eater = root:fork():exec { "sh", "-c", "x=x; while :; do x=$x$x; done", stderr = "null" }
      root.kept.eater = eater
      for i = 1, 20 do root.kept.count = i end
      assert.equal("SIGKILL", eater:wait().signal)
      assert.equal(20, root.kept.count)
      root:disconnect()
      local p = afar.reconnect(path)
      assert.equal(20, p.kept.count)
      assert.equal(1e5, #p.kept.state)
      p:exit()
      assert.is_true(probe.soon(function() return afar.try(afar.here.rmdir, afar.here, group) end))
    end)
  end)

  it("needs no disk: where that is full it goes on, and what was not persistent yet stays as it is", function()
    superuser.needed()
    local p = afar.here:fork()
    p:unshare "CLONE_NEWNS"
    p:mount("none", "/", nil, "MS_REC|MS_PRIVATE")
    p:mount("tmpfs", dir, "tmpfs", nil, "size=4k,nr_inodes=3,mode=0700")
    p:persistent(path)
    p.kept.state = 1
    p:write_file(dir .. "/full", ("x"):rep(4096))
    assert.equal("ENOSPC", raised.err(p.write_file, p, dir .. "/more", "x").name)
    local q = p:fork()
    assert.equal("ENOSPC", raised.err(q.persistent, q, dir .. "/another").name)
    probe.works(q)
    assert.equal(p.pid, q:getppid())
    q:exit(0)
    p.kept.state = ("x"):rep(100000)
    p.kept.child = p:fork():exec { "sleep", "1000" }
    local again = p:fork()
    local r = again:reconnect(path)
    assert.equal(100000, #r.kept.state)
    assert.is_true(probe.runs(r.kept.child.pid))
    r:exit()
    assert.is_true(probe.soon(function() return not again:is_alive() end)) -- it was its child
  end)

  it("is none where its table of fds is full; that is said, and it is as it was", function()
    local p = afar.here:fork()
    local fds = probe.fds(p)
    limit(p, RLIMIT_NOFILE, 64)
    local taken = {}
    repeat
      local ok, number = pcall(p.syscall, p, "dup", 0)
      taken[#taken + 1] = ok and number or nil
    until not ok
    local err = raised.err(p.persistent, p, path)
    assert.equal("EMFILE", err.name)
    assert.is_nil(afar.try(afar.here.lstat, afar.here, path))
    assert.is_true(p:is_alive())
    for _, number in ipairs(taken) do p:syscall("close", number) end
    assert.equal(fds, probe.fds(p))
    p:persistent(path)
    p.kept.state = 1
    probe.works(p)
    p:exit()
  end)
end)
