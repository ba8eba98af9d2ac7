--- p:enter_container: a process in a root file system of its own, such as p:copy_tree has brought there; without any privilege. See
--- user_namespaces(7), pid_namespaces(7), pivot_root(2).

local bit = require "bit"
local errors = require "afar.error"
local nearest = require "afar.nearest"
local nursery = require "afar.nursery"
local process = require "afar.process"

local NODES = { "null", "zero", "full", "random", "urandom", "tty" }
local LINKS = { fd = "/proc/self/fd", stdin = "/proc/self/fd/0", stdout = "/proc/self/fd/1", stderr = "/proc/self/fd/2", ptmx = "pts/ptmx" }
local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
local KEPT = { "TERM", "LANG", "LC_ALL" } -- of the environment outside
local OPTIONS = { bind = true, hostname = true, network = true, read_only = true }
local REGULAR = 32768 -- S_IFREG

local function check(p, rootfs, options)
  if type(rootfs) ~= "string" or rootfs == "" then error("enter_container: the root file system's path must be a string", 3) end
  for key in pairs(options) do
    if not OPTIONS[key] then
      local near = nearest(tostring(key), OPTIONS)
      local message = ("there is no option %q%s"):format(tostring(key), near and (" (did you mean %q?)"):format(near) or "")
      error(errors.new(p, "enter_container", { rootfs }, message), 0)
    end
  end
end

--- The ids in there: all of root's stay what they are; who is nobody special is root, and there is nobody else.
local function ids(p)
  if p:geteuid() ~= 0 then return {} end
  local function same(text)
    local map = {}
    for inside, count in text:gmatch "(%d+) +%d+ +(%d+)" do map[#map + 1] = { tonumber(inside), tonumber(inside), tonumber(count) } end
    return map
  end
  return { uid_map = same(p:read_file "/proc/self/uid_map"), gid_map = same(p:read_file "/proc/self/gid_map") }
end

local function sorted(map)
  local keys = {}
  for key in pairs(map or {}) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

--- What each program expects: devices, in a tmpfs; terminals of its own.
local function record_devices(c, dev)
  c:mount("tmpfs", dev, "tmpfs", "MS_NOSUID|MS_NOEXEC", "mode=0755,size=1m")
  for _, name in ipairs(NODES) do
    c:mknod(dev .. "/" .. name, REGULAR + 438)
    c:mount("/dev/" .. name, dev .. "/" .. name, nil, "MS_BIND")
  end
  for _, name in ipairs(sorted(LINKS)) do c:symlink(LINKS[name], dev .. "/" .. name) end
  c:mkdir(dev .. "/shm")
  c:mkdir(dev .. "/pts")
  c:mount("tmpfs", dev .. "/shm", "tmpfs", "MS_NOSUID|MS_NODEV", "mode=1777")
  c:mount("devpts", dev .. "/pts", "devpts", "MS_NOSUID|MS_NOEXEC", "newinstance,ptmxmode=0666,mode=0620")
end

--- What makes a mount read-only and changes nothing else of it: what is set outside may not be taken away in here.
local function read_only_flags(c, root)
  local C, flags = c.machine.sys.C, c:statfs(root).f_flags
  local number = C.MS_REMOUNT + C.MS_BIND + C.MS_RDONLY
  for _, name in ipairs { "NOSUID", "NODEV", "NOEXEC", "NOATIME", "NODIRATIME", "RELATIME" } do
    if bit.band(flags, C["ST_" .. name]) ~= 0 then number = number + C["MS_" .. name] end
  end
  return number
end

--- What must be there to be covered, and what to cover it with.
local function check_paths(c, rootfs, o)
  local paths, why = { rootfs, rootfs .. "/proc", rootfs .. "/dev" }, { [2] = "it is where /proc is mounted", [3] = "it is where devices are bound" }
  for _, inside in ipairs(sorted(o.bind)) do
    paths[#paths + 1] = o.bind[inside]
    paths[#paths + 1] = rootfs .. inside
    why[#paths] = ("it is where %s is bound"):format(o.bind[inside])
  end
  local found = c:stat_many(paths)
  for i, path in ipairs(paths) do
    if not found[i] then
      error(errors.new(c, "enter_container", { rootfs }, ("there is no %s"):format(path), { name = "ENOENT", hint = why[i] }), 0)
    end
  end
end

--- The working directory becomes the root. An initramfs can't be let go: it is covered.
local function change_root(c)
  local ok, err = pcall(c.chain, c, function(chain)
    chain:pivot_root(".", ".")
    chain:umount2(".", "MNT_DETACH")
    chain:chdir "/"
  end)
  if ok then return end
  if not (errors.is(err, "EINVAL") and err.call == "pivot_root") then error(err, 0) end
  c:chain(function(chain)
    chain:mount(".", "/", nil, "MS_MOVE")
    chain:chroot "."
    chain:chdir "/"
  end)
end

--- The mounts; the old root is let go at the end. Few round trips.
local function move_in(c, rootfs, o)
  local read_only = o.read_only and read_only_flags(c, rootfs)
  c:chain(function(chain)
    chain:mount("none", "/", nil, "MS_REC|MS_PRIVATE")
    chain:mount(rootfs, rootfs, nil, "MS_BIND|MS_REC")
    if read_only then chain:mount("none", rootfs, nil, read_only) end
  end)
  local ok, err = pcall(c.mount, c, "proc", rootfs .. "/proc", "proc", "MS_NOSUID|MS_NODEV|MS_NOEXEC")
  if not ok then
    if errors.is(err, "EPERM") then err.hint = "where parts of /proc are hidden, as in a container of docker's, no other can be mounted" end
    error(err, 0)
  end
  c:chain(function(chain)
    record_devices(chain, rootfs .. "/dev")
    for _, inside in ipairs(sorted(o.bind)) do chain:mount(o.bind[inside], rootfs .. inside, nil, "MS_BIND|MS_REC") end
    if o.hostname then chain:syscall("sethostname", o.hostname, #o.hostname) end
    chain:chdir(rootfs)
  end)
  change_root(c)
end

local function environ_of(p)
  local environ = { PATH = PATH, HOME = "/root" }
  for _, name in ipairs(KEPT) do environ[name] = p.environ[name] end
  return environ
end

--- p:enter_container(rootfs, options): a new process whose root is the directory `rootfs`, in user, mount, pid, ipc and uts namespaces of its own: it needs
--- no privilege, and none of what is outside is seen in there. It has /proc, and the usual devices in /dev (the directories must be there).
--- Where this process is root all ids are what they are outside; else it is root in there, and nobody else is. It is process 1 there: when it
--- ends, all in there ends. options: network = false: without network; hostname; read_only = true: nothing can be written but what is bound;
--- bind = { ["/inside"] = "/outside" }: what else is seen there (a file or directory that is there to be covered).
---@param rootfs string
---@param options? { network?: boolean, hostname?: string, read_only?: boolean, bind?: table<string, string> }
---@return afar.Process
process.define("enter_container", function(self, rootfs, options)
  options = options or {}
  check(self, rootfs, options)
  local flags = "CLONE_NEWUSER|CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWIPC|CLONE_NEWUTS" .. (options.network == false and "|CLONE_NEWNET" or "")
  local c = self:clone(flags, ids(self))
  local ok, err = pcall(function()
    check_paths(c, rootfs, options)
    move_in(c, rootfs, options)
  end)
  c.environ = environ_of(self)
  if ok then return c end
  nursery.shielded(c.exit, c, 1)
  error(err, 0)
end)
