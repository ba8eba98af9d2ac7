-- How processes are made, and what they share.

local afar = require "afar"
local lfs = require "lfs"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local message = require("spec.support.raised").message

--- What sockets, epolls and pipes a process has, but for one fd.
local function sockets(p, but)
  p:getpid() -- it has begun
  local found = {}
  for name in lfs.dir(("/proc/%d/fd"):format(p.pid)) do
    local target = lfs.symlinkattributes(("/proc/%d/fd/%s"):format(p.pid, name), "target") or ""
    local is_ours = target:find "^socket:" or target:find "eventpoll" or tonumber(name) and tonumber(name) >= 64
    if is_ours and name ~= tostring(but) then found[name] = target end
  end
  return found
end

describe("a clone", function()
  ways.each(function(way)
    local before

    before_each(function() before = probe.holds(way.root) end)
    after_each(function() assert.same(before, probe.holds(way.root, before)) end)

    it("works, and so do its own", function()
      for _ = 1, 5 do
        local child = way.root:fork()
        local grandchild = child:fork()
        probe.works(grandchild)
        probe.works(child)
        assert.equal(0, grandchild:exit().code)
        probe.works(child)
        assert.equal(0, child:exit(0).code)
      end
    end)

    it("works beside its siblings", function()
      local children = {}
      afar.nursery(function(n)
        for i = 1, 8 do
          n:spawn(function()
            children[i] = way.root:fork()
            probe.works(children[i])
          end)
        end
      end)
      for _, child in ipairs(children) do
        assert.equal(child.pid, child:getpid())
        child:exit()
      end
    end)

    it("has fds of its own, none of them its parent's carrier or another's", function()
      local other = way.root:fork()
      way:with_fork(function(p)
        assert.same({}, sockets(p, p.carrier))
        local grandchild = p:fork()
        assert.same({}, sockets(grandchild, grandchild.carrier))
        grandchild:exit()
      end)
      other:exit()
    end)

    it("has a copy of its parent's fds, which each closes by itself", function()
      local from, to = way.root:pipe2()
      way:with_fork(function(p)
        local own = p:inherit(to)
        assert.equal(to.number, own.number)
        own:write "from the child"
        own:close()
        assert.equal("from the child", from:read())
        to:write "from the parent"
        assert.equal("from the parent", p:inherit(from):read())
      end)
      from:close()
      to:close()
    end)

    it("refuses the fds of others", function()
      local fd = way.root:open "/"
      way:with_fork(function(p)
        local own = p:open "/"
        local text = message(p.syscall, p, "fchdir", fd)
        assert.matches("the fd belongs to fd table %d+ %(the root.*%), the process to fd table %d+ %(a copy of fd table", text)
        assert.matches("process:inherit%(fd%) gives a fork's copy", text)
        assert.matches("the fd belongs to", message(way.root.syscall, way.root, "fchdir", own))
        assert.matches("it was not open in the table", message(p.inherit, p, way.root:open "/"))
      end)
      fd:close()
    end)

    it("has a working directory and a umask of its own", function()
      local here = way.root:getcwd()
      way:with_fork(function(p)
        assert.equal(here, p:getcwd())
        p:chdir "/usr"
        local mask = p:umask(63)
        assert.equal("/usr", p:getcwd())
        assert.equal(here, way.root:getcwd())
        assert.equal(mask, way.root:umask(mask))
      end)
    end)

    it("ends with its parent", function()
      local child = way.root:fork()
      local grandchild = child:fork()
      local from = grandchild:pipe2()
      local ok, err
      afar.nursery(function(n)
        n:spawn(function()
          ok, err = pcall(from.read, from)
        end)
        probe.settle(grandchild)
        child:exit()
      end)
      assert.is_false(ok)
      assert.equal("eof", err.name)
      assert.is_true(probe.soon(function() return not probe.runs(grandchild.pid) end))
      assert.is_true(probe.soon(function() return not grandchild:is_alive() end))
    end)

    it("refuses what would break it", function()
      for _, flags in ipairs { "CLONE_THREAD", "CLONE_VFORK", "CLONE_SETTLS", "CLONE_FILES|CLONE_THREAD", 17 } do
        assert.matches("only flags for what a process shares", message(way.root.clone, way.root, flags))
      end
      assert.matches('no .*CLONE_NO', message(way.root.clone, way.root, "CLONE_NO"))
    end)

    describe("that shares the table", function()
      it("has the same fds, both ways", function()
        way:needs "CLONE_FILES"
        local p = way.root:clone "CLONE_FILES"
        local from, to = p:pipe2()
        way.root:write(to, "hello")
        assert.equal("hello", p:read(from))
        from:close()
        assert.matches("was closed before", message(way.root.read, way.root, from))
        p:exit()
        -- Its handles live on in those who share the table.
        assert.equal(1, way.root:fcntl(to, "F_GETFL"))
        to:close()
      end)

      it("can nest, and ends without a trace", function()
        way:needs "CLONE_FILES"
        local child = way.root:clone "CLONE_FILES"
        local grandchild = child:clone "CLONE_FILES"
        probe.works(grandchild)
        probe.works(child)
        assert.equal(3, grandchild:exit(3).code)
        assert.equal(0, child:exit(0).code)
        probe.works(way.root)
      end)

      it("has its calls fail when it is killed", function()
        way:needs "CLONE_FILES"
        local p = way.root:clone "CLONE_FILES"
        local from, to = p:pipe2()
        local ok, err
        afar.nursery(function(n)
          n:spawn(function()
            ok, err = pcall(p.read, p, from)
          end)
          probe.settle(p)
          p.child:kill "SIGKILL"
        end)
        assert.is_false(ok)
        assert.equal("eof", err.name)
        assert.equal("SIGKILL", p:wait().signal)
        from:close()
        to:close()
      end)
    end)

    it("shares a working directory where asked", function()
      way:needs "CLONE_FS"
      way:with_fork(function(p)
        local child = p:clone "CLONE_FS"
        child:chdir "/usr"
        assert.equal("/usr", p:getcwd())
        child:exit()
      end)
    end)

    it("has new namespaces where asked", function()
      way:needs "namespaces"
      local p = way.root:clone "CLONE_NEWUSER|CLONE_NEWPID|CLONE_NEWNET|CLONE_NEWUTS"
      assert.equal(1, p:getpid())
      assert.equal(1, p.pid)
      probe.works(p)
      local child = p:fork()
      assert.equal(2, child:getpid())
      assert.equal(5, child:exit(5).code)
      assert.equal("SIGKILL", (function()
        p.child:kill "SIGKILL"
        return p:wait().signal
      end)())
    end)

    it("that fails leaves nothing, and its process works on", function()
      way:needs "CLONE_FS"
      way:with_fork(function(p)
        for _, on in ipairs { way.root, p } do
          local held = probe.holds(on)
          local ok, err = pcall(on.clone, on, "CLONE_NEWUSER|CLONE_FS")
          assert.is_false(ok)
          assert.equal("EINVAL", err.name)
          assert.matches("clone%(.*CLONE_NEWUSER.*%) in process %d+ on .*: Invalid argument %(EINVAL%)", tostring(err))
          probe.works(on)
          assert.same(held, probe.holds(on, held))
        end
        -- What fails beside what succeeds: each gets the right carrier.
        afar.nursery(function(n)
          for i = 1, 10 do
            n:spawn(function()
              if i % 2 == 0 then return assert.is_nil(afar.try(p.clone, p, "CLONE_NEWUSER|CLONE_FS")) end
              local child = p:fork()
              assert.equal(child.pid, child:getpid())
              child:exit()
            end)
          end
        end)
      end)
    end)

    it("that nobody holds any more ends, and is reaped", function()
      local function start() return way.root:fork().pid end
      local pid = start()
      assert.is_true(probe.soon(function()
        collectgarbage()
        collectgarbage()
        return probe.status(pid, "State") == nil
      end))
    end)
  end)
end)
