--- afar: any Linux system call, in any process under our control, on this machine or on another. This file is the table of contents.

-- What runs once is not worth compiling: that takes longer than all else that loading takes.
local compiles = jit.status()
jit.off()

local address = require "afar.address"
local bootstrap = require "afar.bootstrap"
local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local here = require "afar.here"
local later = require "afar.later"
local loop = require "afar.loop"
local machine = require "afar.machine"
local nearest = require "afar.nearest"
local nursery = require "afar.nursery"
local pointer = require "afar.pointer"
local process = require "afar.process"
local sched = require "afar.sched"
local shell = require "afar.shell"
local sync = require "afar.sync"
local version = require "afar.version"

-- What a process can do, module by module.
require "afar.syscall" -- any system call, as it is
require "afar.trace"
require "afar.watch" -- waiting for many fds at once
require "afar.io" --      read and write through fds
require "afar.files" --   the calls on files
require "afar.clone" --   clone, fork
require "afar.child" --   exit, wait
require "afar.exec" --    exec
require "afar.run" --     run
for _, name in ipairs { "afar.prepared", "afar.content", "afar.bootstrap", "afar.ssh" } do
  require(name)
end

-- What a process is to the kernel: signals, namespaces, attributes; and its children as others see them.
for _, name in ipairs { "afar.signal", "afar.attributes", "afar.namespace", "afar.waiting", "afar.tree" } do
  require(name)
end

-- Sockets, and moving bytes.
for _, name in ipairs { "afar.socket", "afar.connection", "afar.transfer", "afar.reader", "afar.wait" } do
  require(name)
end

-- Processes that outlive their host.
for _, name in ipairs { "afar.persistent", "afar.kept", "afar.reconnect" } do
  require(name)
end

-- What few scripts need, by the methods that it has: see later.lua.
for module, names in pairs {
  -- attributes of processes, and programs
  ["afar.jobs"] = "getpgid getsid ioctl setpgid setsid tcgetpgrp tcgetsid tcsetpgrp",
  ["afar.own_fds"] = "blocking close_on_exec close_others close_range keep pidfd_getfd",
  ["afar.pty"] = "pty",
  ["afar.container"] = "enter_container", -- a root file system of one's own
  ["afar.ways"] = [[bwrap chrooted crun doas docker kubectl lxc_attach machinectl nsenter podman runc setpriv srun su sudo systemd_run]],
  ["afar.stub"] = "stub", -- programs that this script answers for
  ["afar.unclaimed"] = "take unclaimed",
  ["afar.upgrade"] = "upgrade",
  -- moving bytes
  ["afar.message"] = "recvmsg sendmsg",
  ["afar.resolve"] = "getaddrinfo",
  ["afar.writer"] = "writer",
  ["afar.copy"] = "copy_to",
  ["afar.copy_bytes"] = "copy_bytes",
  -- events: what poll(2) reports, counters, timers, what happens to files
  ["afar.eventfd"] = "eventfd eventfd_read eventfd_write",
  ["afar.timerfd"] = "expirations timerfd_create timerfd_gettime timerfd_settime",
  ["afar.inotify"] = "inotify inotify_add_watch inotify_init1 inotify_rm_watch",
  ["afar.fanotify"] = "fanotify fanotify_init fanotify_mark",
  ["afar.fuse"] = "fuse",
  ["afar.epoll"] = "epoll_create1 epoll_ctl epoll_wait",
  ["afar.pidfd"] = "exit_status pidfd_open",
  -- trees of files
  ["afar.directory"] = "listdir mkdir_p stat_many",
  ["afar.walk"] = "walk",
  ["afar.glob"] = "glob",
  ["afar.remove"] = "remove_tree",
  ["afar.tempdir"] = "mkdtemp with_tempdir",
  ["afar.names"] = "linkat memfd_create mknod mknodat renameat2 symlink_atomic which",
  ["afar.times"] = "futimens lutimes utimensat utimes",
  ["afar.statfs"] = "fstatfs fstatvfs statfs statvfs",
  ["afar.mount"] = "fsconfig fsmount fsopen fspick mount mount_setattr mounts move_mount open_tree pivot_root umount umount2",
  ["afar.copytree"] = "copy_tree",
  ["afar.accounts"] = "getgrnam getpwnam",
} do
  later.define(module, names)
end

local waiting = require "afar.waiting"

process.define("malloc", pointer.malloc)
process.define("ptr", pointer.ptr)
process.install_chains(fds.recorded)

---@class afar
---@field here afar.Process  the root of this machine
local afar = {
  _VERSION = version,
  nursery = nursery.nursery,
  timeout = nursery.timeout,
  try = nursery.try,
  is_cancelled = nursery.is_cancelled,
  sleep = sched.sleep,
  event = sync.event,
  queue = sync.queue,
  all = sync.all,
  now = loop.monotonic,
  wait_any = waiting.wait_any,
  command = shell.command,
  map = require("afar.map").map,
  is_error = errors.is,
  address = address.of,
  machines = machine.all,
  set_pings = machine.set_pings,
  set_patience = require("afar.bootstrap.patience").set,
  reconnect = require("afar.reconnect").here,
  MARKER = bootstrap.MARKER,
  SCRIPT = bootstrap.SCRIPT,
  load32 = requests.load32,
  load64 = requests.load64,
}

--- All of the above, and what is made when it is asked for.
local function members()
  local names = { "here" }
  for name in pairs(afar) do names[#names + 1] = name end
  return names
end

--- The name that was meant.
local function meant(name)
  local names = {}
  for _, key in ipairs(members()) do names[key] = true end
  return nearest(name, names)
end

-- A call goes through many small functions, whose tail calls count as turns of a loop: 15 are too few to compile it as a whole.
require("jit.opt").start "loopunroll=60"
if compiles then jit.on() end

return setmetatable(afar, {
  __members = members,
  __index = function(_, name)
    if name == "here" then return here.root() end
    local near = meant(tostring(name))
    error(("afar has no %q%s"):format(tostring(name), near and (" (did you mean %q?)"):format(near) or ""), 2)
  end,
})
