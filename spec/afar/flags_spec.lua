-- Which flags of clone go together: all sets of up to three, and of all that may, against what the kernel's manpage says.

local afar = require "afar"
local probe = require "spec.support.probe"
local superuser = require "spec.support.superuser"
local ways = require "spec.support.ways"

local NAMESPACES = {
  CLONE_NEWCGROUP = "cgroup", CLONE_NEWIPC = "ipc", CLONE_NEWNET = "net", CLONE_NEWNS = "mnt", CLONE_NEWPID = "pid", CLONE_NEWTIME = "time_for_children",
  CLONE_NEWUSER = "user", CLONE_NEWUTS = "uts",
}
local SHARED = { "CLONE_FILES", "CLONE_FS", "CLONE_SIGHAND", "CLONE_SYSVSEM", "CLONE_PARENT", "CLONE_INTO_CGROUP" }

--- The last one is refused by afar: the kernel would let the parent lose its children's ends.
local EXCLUDE = {
  { "CLONE_FS", "CLONE_NEWNS" }, { "CLONE_FS", "CLONE_NEWUSER" }, { "CLONE_SYSVSEM", "CLONE_NEWIPC" }, { "CLONE_SIGHAND", "CLONE_NEWPID" },
}

local function all_flags()
  local list = {}
  for name in pairs(NAMESPACES) do list[#list + 1] = name end
  for _, name in ipairs(SHARED) do list[#list + 1] = name end
  table.sort(list)
  return list
end

--- Each set of one to `most` of the flags.
local function sets(list, most)
  local found = {}
  local function add(set, from)
    if #set > 0 then found[#found + 1] = set end
    if #set == most then return end
    for i = from, #list do
      local more = { unpack(set) }
      more[#more + 1] = list[i]
      add(more, i + 1)
    end
  end
  add({}, 1)
  return found
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set
end

--- The two of the set that exclude each other, as an error says it; nil: the kernel allows it.
local function conflict(set)
  for _, pair in ipairs(EXCLUDE) do
    if set[pair[1]] and set[pair[2]] then return ("%s and %s exclude each other"):format(pair[1], pair[2]) end
  end
end

--- What stands for each namespace of a process, by flag.
local function namespaces(p)
  local flags, links = {}, {}
  for flag in pairs(NAMESPACES) do flags[#flags + 1] = flag end
  local got = { p:chain(function(c)
    local all = {}
    for i, flag in ipairs(flags) do all[i] = c:readlink("/proc/self/ns/" .. NAMESPACES[flag]) end
    return unpack(all)
  end) }
  for i, flag in ipairs(flags) do links[flag] = got[i] end
  return links
end

--- A cgroup that is removed at the end, or nil.
local function cgroup()
  local base = pcall(afar.here.stat, afar.here, "/sys/fs/cgroup/unified/cgroup.procs") and "/sys/fs/cgroup/unified" or "/sys/fs/cgroup"
  local path = base .. "/afar-flags-" .. afar.here.pid
  return pcall(afar.here.mkdir, afar.here, path) and path or nil
end

--- What the child has of the parent, and what is its own, must be what was asked for.
local function check(p, outside, set, names, group)
  local child = p:clone(names, set.CLONE_INTO_CGROUP and { cgroup = group } or nil)
  local said = table.concat(names, "|")
  local inside = namespaces(child)
  for flag in pairs(NAMESPACES) do
    assert.equal(set[flag] or false, inside[flag] ~= outside[flag], said .. ": " .. flag)
  end
  assert.equal(set.CLONE_FILES or false, child.table == p.table, said)
  child:chdir(set.CLONE_FS and "/usr" or "/tmp")
  assert.equal(set.CLONE_FS and "/usr" or "/", p:getcwd(), said)
  p:chdir "/"
  local parent = set.CLONE_PARENT and p.parent or p
  assert.equal(set.CLONE_NEWPID and 0 or parent.pid, child:syscall "getppid", said)
  assert.equal(parent, child.parent)
  if set.CLONE_INTO_CGROUP and not set.CLONE_NEWCGROUP then assert.matches("afar%-flags", child:read_file "/proc/self/cgroup", 1, false) end
  assert.equal(3, child:exit(3).code, said)
end

--- What excludes each other left out, as much as may be.
local function largest()
  local all, left = all_flags(), {}
  for _, without in ipairs { { "CLONE_FS", "CLONE_SYSVSEM", "CLONE_SIGHAND" }, { "CLONE_FS", "CLONE_NEWIPC", "CLONE_NEWPID" },
    { "CLONE_NEWNS", "CLONE_NEWUSER", "CLONE_SYSVSEM", "CLONE_NEWPID" } } do
    local out, set = set_of(without), {}
    for _, name in ipairs(all) do
      if not out[name] then set[#set + 1] = name end
    end
    left[#left + 1] = set
  end
  return left
end

local function check_all(p, group, most)
  local outside, own = namespaces(p), group and p:inherit(group)
  local list, allowed, refused = sets(all_flags(), most), 0, 0
  for _, set in ipairs(largest()) do list[#list + 1] = set end
  for _, names in ipairs(list) do
    local set = set_of(names)
    local why = conflict(set)
    if not set.CLONE_INTO_CGROUP or group then
      if why then
        local ok, err = pcall(p.clone, p, names, set.CLONE_INTO_CGROUP and { cgroup = own } or nil)
        assert.is_false(ok, table.concat(names, "|"))
        assert.matches(why, tostring(err), 1, true)
        refused = refused + 1
      else
        check(p, outside, set, names, own)
        allowed = allowed + 1
      end
    end
  end
  return allowed, refused
end

describe("flags of clone", function()
  for name, most in pairs { here = 3, ["over pipes"] = 2 } do
    ways.over(ways.get(name), function(way)
      it("go together wherever the kernel allows it; else the error says which do not", function()
        superuser.needed()
        local before = probe.holds(way.root)
        local path = cgroup()
        local group = path and way.root:open(path, "O_RDONLY|O_DIRECTORY")
        way:with_fork(function(p)
          p:chdir "/"
          local allowed, refused = check_all(p, group, most)
          assert.is_true(allowed > (most == 3 and 250 or 70))
          assert.is_true(refused >= (most == 3 and 40 or 4))
        end)
        if group then group:close() end
        assert.is_true(not path or probe.soon(function() return pcall(afar.here.rmdir, afar.here, path) end))
        assert.same(before, probe.holds(way.root, before))
      end)

      it("that its place allows nobody say so", function()
        superuser.needed()
        local init = way.root:clone "CLONE_NEWPID"
        local ok, err = pcall(init.clone, init, "CLONE_PARENT")
        assert.is_false(ok)
        assert.equal("EINVAL", err.name)
        assert.matches("the init of a pid namespace has no parent to give its children", tostring(err), 1, true)
        init:exit(0)
        ok, err = pcall(way.root.clone, way.root, "CLONE_PARENT")
        assert.is_false(ok)
        assert.matches("a root's parent is the host", tostring(err), 1, true)
        ok, err = pcall(way.root.clone, way.root, "CLONE_INTO_CGROUP")
        assert.is_false(ok)
        assert.matches("the option cgroup = fd of the cgroup's folder is missing", tostring(err), 1, true)
      end)
    end)
  end
end)
