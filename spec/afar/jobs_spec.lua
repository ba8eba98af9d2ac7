-- Process groups, sessions, and the terminals that control them.

local afar = require "afar"
local probe = require "spec.support.probe"
local ways = require "spec.support.ways"

local raised = require "spec.support.raised"
local fails = raised.saying

--- Both sides of a new terminal, in p.
local function terminal(p)
  local master = p:open("/dev/ptmx", "O_RDWR|O_NOCTTY|O_NONBLOCK")
  master:ioctl("TIOCSPTLCK", p:ptr "\0\0\0\0")
  local index = p:malloc "uint32_t"
  master:ioctl("TIOCGPTN", index)
  local peer = p:open("/dev/pts/" .. tonumber(index:read()), "O_RDWR|O_NOCTTY")
  return master, peer
end

for _, name in ipairs { "here", "over pipes" } do
  describe("process groups", function()
    ways.over(ways.get(name), function(way)
      local before

      before_each(function() before = probe.holds(way.root) end)
      after_each(function() assert.same(before, probe.holds(way.root, before)) end)

      it("are the process's own, or those of its children", function()
        way:with_fork(function(p)
          assert.equal(way.root:getpgid(), p:getpgid())
          local a, b, c = p:fork(), p:fork(), p:fork()
          p:setpgid(a)
          p:setpgid(b, a)
          c:setpgid(0, a.pid)
          assert.same({ a.pid, a.pid, a.pid }, { a:getpgid(), p:getpgid(b), p:getpgid(c.child) })
          assert.equal(p:getsid(), p:getsid(a))
          p:setpgid()
          assert.equal(p.pid, p:getpgid(0))
          for _, one in ipairs { a, b, c } do one:exit(0) end
        end)
      end)

      it("get a signal as a whole, and nobody else does", function()
        way:with_fork(function(p)
          local leader, member, other = p:fork(), p:fork(), p:fork()
          p:setpgid(leader)
          p:setpgid(member, leader)
          p:setpgid(other)
          p:kill(-leader.pid, "SIGKILL")
          assert.equal("SIGKILL", leader:wait().signal)
          assert.equal("SIGKILL", member:wait().signal)
          assert.equal(other.pid, other:getpid())
          other:exit(0)
        end)
      end)

      it("are refused with a reason", function()
        way:with_fork(function(p)
          local child, leader = p:fork(), p:fork()
          local grandchild = child:fork()
          assert.equal(leader.pid, leader:setsid())
          assert.equal(leader.pid, leader:getsid())
          assert.equal("EPERM", fails("a fork of it does not", leader.setsid, leader).name)
          assert.equal("EPERM", fails("a session's leader stays in its group", p.setpgid, p, leader).name)
          assert.equal("EPERM", fails("must be one of the same session", p.setpgid, p, child, leader).name)
          assert.equal("ESRCH", fails("that of its children", p.setpgid, p, grandchild).name)
          assert.equal("EPERM", fails("must be one of the same session", p.setpgid, p, child, 2 ^ 22).name)
          local running = child:fork():exec { "sleep", "100" }
          assert.equal("EACCES", fails("has executed something already", child.setpgid, child, running).name)
          running:kill()
          running:wait()
          fails("-5 is no pid", p.setpgid, p, -5)
          fails("no pid", p.setpgid, p, 0, 1.5)
          fails("a process, a child or a pid was expected, not string", p.setpgid, p, "1")
          if way.name ~= "here" then fails("it is on here", p.setpgid, p, afar.here) end
          grandchild:exit(0)
          child:exit(0)
          fails("has ended, and its pid may be another's", p.setpgid, p, child.child)
          leader:exit(0)
        end)
      end)
    end)
  end)

  describe("a controlling terminal", function()
    ways.over(ways.get(name), function(way)
      it("belongs to a session, and has one group in its foreground", function()
        way:with_fork(function(p)
          local master, peer = terminal(p)
          assert.equal("ENOTTY", fails("not the controlling terminal of this process", peer.tcgetpgrp, peer).name)
          assert.equal("ENOTTY", fails("not the controlling terminal of this process", peer.tcsetpgrp, peer, p).name)
          assert.equal("ENOTTY", fails("not the controlling terminal of this process", peer.tcgetsid, peer).name)
          assert.equal("EPERM", raised.err(peer.ioctl, peer, "TIOCSCTTY", 0).name) -- it leads no session
          p:setsid()
          peer:ioctl("TIOCSCTTY", 0)
          assert.equal(p.pid, peer:tcgetsid())
          assert.equal(p.pid, peer:tcgetpgrp())

          local job = p:fork()
          p:setpgid(job)
          peer:tcsetpgrp(job)
          assert.equal(job.pid, peer:tcgetpgrp())
          peer:tcsetpgrp(p) -- from the background: the signal that this sends is blocked
          assert.equal(p.pid, peer:tcgetpgrp())
          assert.equal("ESRCH", fails("no such group", peer.tcsetpgrp, peer, 2 ^ 22).name)
          fails("0 is no process group", peer.tcsetpgrp, peer, 0)

          -- Ctrl-C goes to the group in the foreground, and to it alone.
          peer:tcsetpgrp(job)
          job:sigprocmask("SIG_UNBLOCK", "SIGINT")
          master:write "\3"
          assert.equal("SIGINT", job:wait().signal)
          assert.equal(p.pid, p:getpid())
          peer:close()
          master:close()
        end)
      end)

      it("hangs up on its foreground when the session's leader gives it up", function()
        way:with_fork(function(p)
          local leader = p:fork()
          local master, peer = terminal(leader)
          leader:setsid()
          peer:ioctl("TIOCSCTTY", 0)
          local job = leader:fork()
          leader:setpgid(job)
          peer:tcsetpgrp(job)
          job:sigprocmask("SIG_UNBLOCK", "SIGHUP")
          local status
          afar.timeout(60, afar.nursery, function(n)
            n:spawn(function() status = job:wait() end)
            leader:ioctl(peer, "TIOCNOTTY", 0) -- as its end would: the foreground gets SIGHUP, then SIGCONT
          end)
          assert.equal("SIGHUP", status.signal)
          assert.equal("ENOTTY", raised.err(peer.tcgetsid, peer).name)
          peer:close()
          master:close()
          leader:exit(0)
        end)
      end)
    end)
  end)
end

describe("ioctl", function()
  it("takes names, numbers and pointers, and nothing else", function()
    local from, to = afar.here:pipe2()
    to:write "four"
    local count = afar.here:malloc "int32_t"
    assert.equal(0, from:ioctl("FIONREAD", count))
    assert.equal(4, count:read())
    fails('there is no constant "FIONREED" (did you mean "FIONREAD"?)', from.ioctl, from, "FIONREED", count)
    fails("a number or a pointer was expected, not string; p:ptr(value, type)", from.ioctl, from, "FIONREAD", "four")
    assert.equal("ENOTTY", raised.err(from.ioctl, from, "TIOCGWINSZ", count).name)
    from:close()
    to:close()
  end)
end)
