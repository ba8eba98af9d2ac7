-- Tables of fds that several processes share, and what becomes of their handles when one of them leaves, ends or executes something.

local afar = require "afar"
local probe = require "spec.support.probe"
local requests = require "afar.requests"
local superuser = require "spec.support.superuser"
local watch = require "afar.watch"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").saying

local P_PID, WEXITED = 1, 4 -- include/uapi/linux/wait.h

for _, name in ipairs { "here", "over pipes" } do
  describe("a table of fds", function()
    ways.over(ways.get(name), function(way)
      local before

      before_each(function() before = probe.holds(way.root) end)
      after_each(function() assert.same(before, probe.holds(way.root, before)) end)

      --- A process with two children that share its table.
      local function family()
        local p = way.root:fork()
        return p, p:clone "CLONE_FILES", p:clone "CLONE_FILES"
      end

      it("is still shared by two children when their parent has left it", function()
        local p, a, b = family()
        local from, to = p:pipe2()
        p:unshare "CLONE_FILES"
        assert.not_equal(p.table, a.table)
        assert.equal(a.table, b.table)
        -- The handles are those of the table: each of its processes can use them, and the parent has copies.
        b:write(to, "from b")
        assert.equal("from b", a:read(from))
        to:write "from whoever is left"
        assert.equal("from whoever is left", from:read())
        fails("the fd belongs to", p.read, p, from)
        local copy = p:inherit(from)
        a:write(to, "to the copy")
        assert.equal("to the copy", copy:read())
        -- What one opens or closes, the other has or has not; the parent's table is its own.
        local file = a:open "/proc/self/stat"
        assert.equal(tostring(b.pid), b:read(b:open "/proc/self/stat"):match "^%d+")
        fails("belongs to", p.read, p, file)
        b:close(file)
        fails("was closed before", a.read, a, file)
        from:close()
        b:write(to, "the copy stays")
        assert.equal("the copy stays", copy:read())
        probe.works(a)
        probe.works(b)
        probe.works(p)
        copy:close()
        p:inherit(to):close()
        to:close()
        assert.equal(1, a:exit(1).code)
        probe.works(b)
        assert.equal(2, b:exit(2).code)
        assert.equal(3, p:exit(3).code)
      end)

      it("shows the end of one also where the pidfd by which that is watched is closed before anybody has looked", function()
        local p, a, b = family()
        p:unshare "CLONE_FILES"
        local r = requests.record(p) -- p does nothing else meanwhile
        r:call("waitid", nil, P_PID, a.pid, 0, WEXITED, 0)
        r:call("close", nil, a.child.pidfd)
        r:start()
        a.child.state.reaped, p.table.internal[a.child.pidfd] = true, nil
        pcall(a.syscall, a, "exit_group", 1)
        r:wait()
        r:check()
        assert.is_true(probe.soon(function() return not a:is_alive() end))
        assert.equal(2, b:exit(2).code)
        p:exit(3)
      end)

      it("may be left while somebody waits among many", function()
        local p, a, b = family()
        local from, to = p:pipe2()
        local events
        afar.nursery(function(n)
          n:spawn(function() events = watch.wait(p, from.number, 1) end)
          afar.sleep(0.05)
          p:unshare "CLONE_FILES"
          a:write(to, "x")
        end)
        assert.equal(1, events)
        a:exit()
        b:exit()
        p:exit()
      end)

      it("shows the end of each of many that end at once", function()
        local p, kids = way.root:fork(), {}
        for i = 1, 40 do kids[i] = p:clone "CLONE_FILES" end -- more than are watched one by one
        afar.nursery(function(n)
          for i = 1, 40 do
            n:spawn(function() assert.equal(i, kids[i]:exit(i).code) end)
          end
        end)
        p:exit(0)
      end)

      it("outlives whoever executes something, and whoever is killed", function()
        local p, a, b = family()
        local from, to = p:pipe2()
        local cat = a:exec { "cat", stdin = from, stdout = "null" }
        assert.equal(1, p:fcntl(to, "F_GETFL"))
        assert.equal(0, b:fcntl(from, "F_GETFL"))
        b.child:kill "SIGKILL"
        assert.equal("SIGKILL", b:wait().signal)
        to:write "x"
        from:close()
        to:close()
        assert.equal(0, cat:wait().code)
        probe.works(p)
        p:exit(0)
      end)

      it("is still shared by two children when their parent has executed something", function()
        for _, first in ipairs { "at once", "after it has left it" } do
          local p, a, b = family()
          local from, to = a:pipe2()
          if first ~= "at once" then p:unshare "CLONE_FILES" end
          local sleep = p:exec { "sleep", "1000" }
          b:write(to, first)
          assert.equal(first, a:read(from))
          fails("the process had become another program", a.exit, a, 1) -- nobody is there any more to await it; but it has ended
          assert.is_false(a:is_alive())
          probe.works(b)
          b:write(to, "still there")
          assert.equal("still there", b:read(from))
          b:close(from)
          b:close(to)
          sleep:kill "SIGKILL"
          sleep:wait()
          assert.is_true(probe.soon(function() return not b:is_alive() end))
        end
      end)

      it("goes with the last one of it, also where that was not known to have ended when it was to close what was another's", function()
        local p = way.root:fork()
        local a = p:clone "CLONE_FILES"
        a.child:kill "SIGKILL"
        assert.is_true(probe.soon(function() return not a:is_alive() end))
        local asked
        rawset(a, "is_alive", function()
          local first = not asked
          asked = true
          return first
        end)
        assert.equal(3, p:exit(3).code)
        assert.is_true(asked)
      end)

      it("is left by both children, one after the other, with copies of their own", function()
        local p, a, b = family()
        local from, to = p:pipe2()
        a:unshare "CLONE_FILES"
        b:unshare "CLONE_FILES"
        assert.not_equal(a.table, b.table)
        a:inherit(to):write "a"
        b:inherit(to):write "b"
        assert.equal("ab", from:read())
        fails("belongs to", a.read, a, b:inherit(from))
        to:close()
        a:close_others {}
        b:close_others {}
        assert.equal("", from:read())
        from:close()
        for _, one in ipairs { a, b, p } do assert.equal(0, one:exit(0).code) end
      end)

      it("is waited in by several, of whom each is told of its own fd", function()
        local p, a, b = family()
        local got = {}
        local one, two = { a:pipe2() }, { b:pipe2() }
        afar.timeout(60, afar.nursery, function(n)
          n:spawn(function() got[1] = b:read(one[1]) end)
          n:spawn(function() got[2] = a:read(two[1]) end)
          n:spawn(function()
            p:write(two[2], "two")
            p:write(one[2], "one")
          end)
        end)
        assert.same({ "one", "two" }, got)
        for _, pipe in ipairs { one, two } do
          pipe[1]:close()
          pipe[2]:close()
        end
        for _, each in ipairs { a, b, p } do each:exit(0) end
      end)
    end)
  end)

  describe("the death signal", function()
    ways.over(ways.get(name), function(way)
      it("stays whatever credentials change, and a process ends with its parent then", function()
        superuser.needed()
        local changes = {
          function(p) p:setuid(1234) end,
          function(p) p:setgid(1234) end,
          function(p) p:setreuid(-1, 1234) end,
          function(p) p:setregid(-1, 1234) end,
          function(p) p:setresuid(1234, 1234, 1234) end,
          function(p) p:setresgid(1234, 1234, 1234) end,
          function(p) p:setfsuid(1234) end,
          function(p) p:setfsgid(1234) end,
          function(p) p:setgroups(0, 0) end,
          function(p) p:capset { effective = { "CAP_KILL" }, permitted = { "CAP_KILL" }, inheritable = {} } end,
          function(p) p:syscall("setresuid", 1234, 1234, 1234) end,
          function(p) p:chain(function(c) c:setresuid(1234, 1234, 1234) end) end,
          function(p) p:unshare "CLONE_NEWUSER" end,
          function(p) p:prctl("PR_SET_NO_NEW_PRIVS", 1) end,
          function(p) p:setsid() end,
        }
        for i, change in ipairs(changes) do
          local parent = way.root:fork()
          local p = parent:fork()
          change(p)
          assert.equal(9, p:prctl "PR_GET_PDEATHSIG", "change " .. i)
          parent.child:kill "SIGKILL"
          parent:wait()
          assert.is_true(probe.soon(function() return not probe.runs(p.pid) end), "change " .. i)
        end
      end)

      it("is kept by what is executed as another user", function()
        superuser.needed()
        local parent = way.root:fork()
        local p = parent:fork()
        p:setresgid(1234, 1234, 1234)
        p:setresuid(1234, 1234, 1234)
        local child = p:exec { "sleep", "1000" }
        parent.child:kill "SIGKILL"
        parent:wait()
        assert.is_true(probe.soon(function() return not probe.runs(child.pid) end))
      end)
    end)
  end)
end
