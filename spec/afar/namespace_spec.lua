-- Namespaces: made at clone, left and joined later; ids of user namespaces; and the table of fds that a process leaves.

local afar = require "afar"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local fails = require("spec.support.raised").saying

local function ns(p, kind) return p:readlink("/proc/self/ns/" .. kind) end

local KINDS = {
  CLONE_NEWCGROUP = "cgroup", CLONE_NEWIPC = "ipc", CLONE_NEWNET = "net", CLONE_NEWNS = "mnt", CLONE_NEWPID = "pid", CLONE_NEWUSER = "user",
  CLONE_NEWUTS = "uts",
}

--- A fork that is nobody special: user and group 1234.
local function unprivileged(root)
  local p = root:fork()
  p:setresgid(1234, 1234, 1234)
  p:setresuid(1234, 1234, 1234)
  return p
end

for _, name in ipairs { "here", "over pipes" } do
  describe("namespaces", function()
    ways.over(ways.get(name), function(way)
      it("are new at clone, each and all", function()
        superuser.needed()
        local all = {}
        for flag, kind in pairs(KINDS) do
          local p = way.root:clone(flag)
          assert.not_equal(ns(way.root, kind), ns(p, kind))
          p:exit(0)
          all[#all + 1] = flag
        end
        local p = way.root:clone(all)
        for _, kind in pairs(KINDS) do assert.not_equal(ns(way.root, kind), ns(p, kind)) end
        assert.equal("0\n", p:run({ "id", "-u" }).stdout)
        p:exit(0)
      end)

      it("give an unprivileged process the ids that it asks for", function()
        superuser.needed()
        local u = unprivileged(way.root)
        local p = u:clone "CLONE_NEWUSER"
        assert.equal(0, p:getuid())
        assert.equal(0, p:getgid())
        assert.equal("deny\n", p:read_file "/proc/self/setgroups")
        p:exit(0)
        p = u:clone("CLONE_NEWUSER|CLONE_NEWNET", { uid_map = 77, gid_map = 78 })
        assert.same({ 77, 78 }, { p:getuid(), p:getgid() })
        p:exit(0)
        p = u:clone("CLONE_NEWUSER", { uid_map = false, gid_map = false })
        assert.equal(65534, p:getuid())
        p:exit(0)
        local before = u:prctl "PR_GET_DUMPABLE"
        u:unshare "CLONE_NEWUSER|CLONE_NEWUTS"
        assert.equal(0, u:getuid())
        assert.equal(before, u:prctl "PR_GET_DUMPABLE")
        assert.equal(9, u:prctl "PR_GET_PDEATHSIG")
        u:syscall("sethostname", "inner", 5)
        u:exit(0)
      end)

      it("take ranges of ids from a privileged parent", function()
        superuser.needed()
        local map = { { 0, 100000, 10 }, { 10, 200000, 5 } }
        local p = way.root:clone("CLONE_NEWUSER", { uid_map = map, gid_map = map })
        assert.matches("0 +100000 +10%s+10 +200000 +5", p:read_file "/proc/self/uid_map")
        p:setresgid(3, 3, 3)
        p:setresuid(3, 3, 3)
        assert.equal(3, p:getuid())
        p:exit(0)
      end)

      it("take the ranges that newuidmap allows a user, and no others", function()
        if not pcall(way.root.run, way.root, { "sh", "-c", "command -v newuidmap && test -w /etc/subuid" }) then
          return pending "newuidmap (package uidmap) and root are needed"
        end
        local user = "afar-map-" .. way.root.pid
        way.root:run { "useradd", "-M", "-d", "/nonexistent", "-s", "/bin/sh", user }
        local u
        local ok, err = pcall(function()
          way.root:run { "usermod", "--add-subuids", "300000-300999", "--add-subgids", "300000-300999", user }
          local passwd = way.root:read_file "/etc/passwd"
          local uid, gid = passwd:match("\n" .. user:gsub("%-", "%%-") .. ":[^:]*:(%d+):(%d+)")
          uid, gid = tonumber(uid), tonumber(gid)
          u = way.root:fork()
          u:setgroups(0, 0)
          u:setresgid(gid, gid, gid)
          u:setresuid(uid, uid, uid)
          local uids, gids = { { 0, uid, 1 }, { 1, 300000, 1000 } }, { { 0, gid, 1 }, { 1, 300000, 1000 } }
          local p = u:clone("CLONE_NEWUSER", { uid_map = uids, gid_map = gids })
          assert.matches("0 +" .. uid .. " +1%s+1 +300000 +1000", p:read_file "/proc/self/uid_map")
          assert.matches("0 +" .. gid .. " +1%s+1 +300000 +1000", p:read_file "/proc/self/gid_map")
          p:setresgid(7, 7, 7)
          p:setresuid(7, 7, 7)
          assert.matches("^300006%s", probe.status(p.pid, "Uid")) -- as seen from outside
          p:exit(0)
          fails("newuidmap refused", u.clone, u, "CLONE_NEWUSER", { uid_map = { { 0, uid, 1 }, { 1, 400000, 1000 } }, gid_map = gids })
        end)
        if u then u:exit(0) end
        -- What was killed amid its birth may be just ending.
        assert.is_true(probe.soon(function() return pcall(way.root.run, way.root, { "userdel", user }) end))
        if not ok then error(err, 0) end
      end)

      it("are joined: those of another process, by name or by fd", function()
        superuser.needed()
        local a, b = way.root:clone "CLONE_NEWUTS|CLONE_NEWNET|CLONE_NEWIPC", way.root:fork()
        b:setns(a, "CLONE_NEWUTS|CLONE_NEWNET")
        assert.equal(ns(a, "uts"), ns(b, "uts"))
        assert.equal(ns(a, "net"), ns(b, "net"))
        assert.not_equal(ns(a, "ipc"), ns(b, "ipc"))
        local file = b:open(("/proc/%d/ns/ipc"):format(a.pid))
        b:setns(file, "CLONE_NEWIPC")
        assert.equal(ns(a, "ipc"), ns(b, "ipc"))
        fails("which namespaces?", b.setns, b, a)
        fails("was expected", b.setns, b, {}, "CLONE_NEWNET")
        file:close()
        a:exit(0)
        b:exit(0)
      end)

      it("of pids are those of the next children", function()
        superuser.needed()
        local p = way.root:fork()
        p:unshare "CLONE_NEWPID"
        local first = p:fork()
        local second = p:fork()
        assert.same({ 1, 2 }, { first.pid, second.pid })
        assert.equal(first.pid, first:getpid())
        local q = way.root:fork()
        q:setns(first, "CLONE_NEWPID")
        local third = q:fork()
        assert.equal(3, third:getpid())
        assert.equal(ns(first, "pid"), ns(third, "pid"))
        first.child:kill "SIGKILL"
        for _, one in ipairs { second, third, first } do assert.equal("SIGKILL", one:wait().signal) end
        q:exit(0)
        p:exit(0)
      end)

      it("of time are those of what is executed, and have their own clocks", function()
        superuser.needed()
        local p = way.root:clone "CLONE_NEWTIME"
        local offsets = p:open("/proc/self/timens_offsets", "O_WRONLY")
        offsets:write "monotonic 100000 0\n"
        offsets:close()
        assert.not_equal(ns(p, "time"), p:readlink "/proc/self/ns/time_for_children")
        p:exit(0)
      end)

      it("that are refused say why", function()
        superuser.needed()
        fails("CLONE_FS and CLONE_NEWNS exclude each other", way.root.clone, way.root, "CLONE_FS|CLONE_NEWNS")
        local u = unprivileged(way.root)
        fails("CAP_SYS_ADMIN", u.clone, u, "CLONE_NEWNET")
        fails("newuidmap", u.clone, u, "CLONE_NEWUSER", { uid_map = { { 0, 100000, 10 } }, gid_map = 0 })
        assert.equal(u.pid, u:getpid())
        u:exit(0)
        fails("were expected", way.root.unshare, way.root, "CLONE_VM")
        fails("no option", way.root.unshare, way.root, "CLONE_NEWUTS", { uidmap = 0 })
        fails("a root's table", way.root.unshare, way.root, "CLONE_FILES")
      end)

      it("end with their init, and all in them", function()
        superuser.needed()
        local from, to = way.root:pipe2()
        local init = way.root:clone "CLONE_NEWPID"
        local child = init:fork()
        local held = init:inherit(to)
        local cat = child:exec { "sleep", "1000", stdout = child:inherit(to) }
        assert.is_not_nil(held)
        to:close()
        init:exit(0)
        assert.equal("", afar.timeout(60, from.read, from))
        assert.is_not_nil(cat)
        from:close()
      end)
    end)
  end)

  describe("a shared table of fds", function()
    ways.over(ways.get(name), function(way)
      it("is left by unshare, with the fds of both right", function()
        local p = way.root:clone "CLONE_FILES"
        local from, to = p:pipe2()
        local carrier = ("/proc/%d/fd/%d"):format(way.root.pid, p.carrier)
        local socket = afar.here:readlink(carrier)
        p:unshare "CLONE_FILES"
        assert.not_equal(way.root.table, p.table)
        assert.is_true(probe.soon(function() return afar.try(afar.here.readlink, afar.here, carrier) ~= socket end)) -- it has gone
        fails("belongs to", p.read, p, from)
        local own = p:inherit(from)
        to:write "x"
        assert.equal("x", own:read())
        to:close()
        p:inherit(from):close()
        from:close()
        p:close_others {}
        local status = p:exit(7)
        assert.equal(7, status.code)
      end)

      it("is left by a process whose own children stay", function()
        local p = way.root:fork()
        local child = p:clone "CLONE_FILES"
        p:unshare "CLONE_FILES"
        local kid = p:fork()
        assert.equal(kid.pid, kid:getpid())
        kid:exit(0)
        assert.equal(child.pid, child:getpid())
        assert.equal(0, child:exit(0).code)
        p:exit(0)
      end)
    end)
  end)
end
