--- clone and fork: a process makes another, with a carrier of its own.

local ffi = require "ffi"

local attach = require "afar.attach"
local blocks = require "afar.block"
local requests = require "afar.requests"
local children = require "afar.child"
local cloneflags = require "afar.cloneflags"
local errors = require "afar.error"
local fds = require "afar.fd"
local fdtable = require "afar.fdtable"
local gate = require "afar.gate"
local hello = require "afar.hello"
local links = require "afar.links"
local nursery = require "afar.nursery"
local process = require "afar.process"
local running = require "afar.running"
local sched = require "afar.sched"
local space = require "afar.space"
local tasks = require "afar.task"
local userns = require "afar.userns"
local variables = require "afar.variables"
local watch = require "afar.watch"
local u32 = require("afar.bytes").u32

local clone = {}

local has = cloneflags.has

local LAST = 2 ^ 32 - 1

--- Closes all that is the root's own in a child's copy of its table: everything from ZONE on but the child's carrier, wherever
--- that is. It is never at ZONE itself, where the root's own stream is.
local function close_internal(r, block)
  local carrier = r:value(requests.load32(block + hello.CARRIER), { always = true, aside = true })
  local below = r:call("close_range", { if_ok = carrier, may_fail = true, aside = true }, hello.ZONE, carrier - 1, 0)
  r:call("close_range", { if_ok = below, may_fail = true, aside = true }, carrier + 1, LAST, 0)
  return r:call("close_range", { if_failed = below, may_fail = true }, hello.ZONE, LAST, 0)
end

--- Sends and awaits what a birth still needs: whoever was cancelled meanwhile gets to hear that behind it.
local function run_whole(r)
  r:submit()
  r:wait()
  r:check()
  return r
end

--- The same where the script holds fds from ZONE on: between them, once the carrier's number is known.
local function close_between(child, parent)
  local kept, from = { child.carrier }, hello.ZONE
  for number in pairs(parent.table.handles) do
    kept[#kept + 1] = number
  end
  table.sort(kept)
  local r = requests.record(child)
  local function close_to(last)
    if from <= last then r:call("close_range", { always = true, may_fail = true }, from, last, 0) end
  end
  for _, number in ipairs(kept) do
    if number >= from then
      close_to(number - 1)
      from = number + 1
    end
  end
  close_to(LAST)
  run_whole(r)
end

local function holds_high(table_)
  for number in pairs(table_.handles) do
    if number >= hello.ZONE then return true end
  end
  return false
end

--- Where close_range is missing (before Linux 5.9): one by one.
local function close_known(child, parent)
  running.settle(parent)
  local r = requests.record(child)
  for number in pairs(parent.table.internal) do
    if number ~= child.carrier then r:call("close", { always = true, may_fail = true }, number) end
  end
  if r.count > 0 then run_whole(r) end
end

--- The child's first requests, sent along with its birth.
local function first_chain(child, parent, block, shares_table)
  local r = requests.record(child)
  local closed
  if not shares_table then
    if parent.is_root then
      if not holds_high(parent.table) then closed = close_internal(r, block) end
    else
      for _, number in ipairs(rawget(parent, "own_fds") or { parent.carrier }) do
        r:call("close", { always = true, may_fail = true }, number)
      end
    end
    r:call("close", { always = true, may_fail = true }, requests.load32(block + hello.FD))
  end
  r:value(0, { always = true }) -- once it answers, the child has told its carrier
  local carrier = r:fetch(block + hello.CARRIER, 4, { always = true })
  r:submit()
  return r, carrier, closed
end

--- Whether the child can close by itself what is the root's in its copy of the table: nothing has then to be heard from it before it is used,
--- since its carrier's number is that of the link.
local function closes_itself(parent, link, shares_table)
  local machine = parent.machine
  if not link or link < hello.ZONE or shares_table or rawget(parent, "pids_for_children") then return false end
  return machine.has_close_range and has(machine.hello.features, hello.F_START_CLOSE) and not holds_high(parent.table)
end

--- Whether the child's pidfd is opened only once it is needed. A root here has many children, and its table is copied for each: what is not in it
--- takes neither memory nor time. What execs at once is soon awaited.
local function is_late(parent, flags, brief, cgroup)
  local machine = parent.machine
  if brief or cgroup or not parent.is_root or not machine.local_ then return false end
  return machine.opens_pidfds and not has(flags, machine.sys.C.CLONE_FILES) and not has(flags, machine.sys.C.CLONE_PIDFD)
end

--- With the first birth it is tried whether pidfd_open(2) can be called.
local function try_pidfd_open(r, born)
  local opened = r:call("pidfd_open", { if_ok = born, may_fail = true, aside = true }, born, 0)
  r:call("close", { if_ok = opened, may_fail = true, aside = true }, opened)
  return opened
end

--- All that a birth needs in memory.
local function prepare(r, parent, flags, carrier, closes)
  local C = parent.machine.sys.C
  local facts = parent.machine.hello
  local block = blocks.alloc(parent)
  local elsewhere = has(flags, C.CLONE_NEWPID) or has(flags, C.CLONE_PARENT) or rawget(parent, "pids_for_children")
  local ppid = elsewhere and 0 or parent.pid -- as the child sees it, where that is known
  r:store(block, hello.start(closes and hello.START_CLOSE or 0, ppid, carrier))
  local stack = block - hello.STACK_SIZE
  r:store(stack, hello.stack(facts.entry, block))
  return block, stack
end

--- What clone3 takes: into a cgroup is what only it can do.
local function clone3_args(r, flags, stack, pidfd_at, cgroup)
  local C = r.sys.C
  local args = ffi.new(r.sys.ctype.clone_args)
  args.flags, args.exit_signal = flags - C.SIGCHLD, has(flags, C.CLONE_PARENT) and 0 or C.SIGCHLD
  args.stack, args.stack_size = stack - 4096, 4096 -- it takes where the stack begins, and adds the size again
  args.pidfd, args.cgroup = pidfd_at, cgroup
  return r:bytes(ffi.string(args, ffi.sizeof(args))), ffi.sizeof(args)
end

--- In the parent: a socketpair, unless the carrier is there already, and the clone itself. Returns the requests, and where the pidfd comes to be.
local function record_birth(r, parent, flags, block, stack, carrier, cgroup, late)
  local machine = parent.machine
  local C = machine.sys.C
  local pair = not carrier and r:call("socketpair", nil, C.AF_UNIX, C.SOCK_STREAM + C.SOCK_CLOEXEC, 0, block + hello.FD)
  local pidfd_at = not late and r:scratch(16) or nil
  local all = flags + C.SIGCHLD
  if machine.plain_clone then
    return pair, r:call("clone", nil, all, stack, 0, 0, 0), pidfd_at
  end
  if not has(all, C.CLONE_VM) then all = all + C.CLONE_VM end
  if pidfd_at and not has(all, C.CLONE_PIDFD) then all = all + C.CLONE_PIDFD end
  if cgroup then return pair, r:call("clone3", nil, clone3_args(r, all, stack, pidfd_at, cgroup)), pidfd_at end
  return pair, r:call("clone", nil, all, stack, pidfd_at or 0, 0, 0), pidfd_at
end

local function close_pair(r, pair, what, block, shares_table)
  if not shares_table then
    r:call("close", { if_ok = pair, may_fail = true, aside = true }, requests.load32(block + hello.FD + 4))
  else
    r:call("close", { if_ok = pair, if_failed = what, may_fail = true, aside = true }, requests.load32(block + hello.FD + 4))
  end
end

--- Its end of a link that the root has had before: the child has it now.
local function close_link(r, born, carrier, shares_table)
  local when = { may_fail = true, aside = true, always = not shares_table, if_failed = shares_table and born or nil }
  r:call("close", when, carrier)
end

--- A root's part: its end of the pair becomes a channel in the same chain.
local function record_root(r, block, channel, pair, shares_table)
  local socket = hello.ATTACH_READ + hello.ATTACH_WRITE + hello.ATTACH_SOCKET
  local attached = r:attach(channel:number(), requests.load32(block + hello.FD), socket, hello.WINDOW, hello.WINDOW)
  r:call("close", { if_ok = pair, if_failed = attached, may_fail = true, aside = true }, requests.load32(block + hello.FD))
  close_pair(r, pair, attached, block, shares_table)
  return attached
end

--- Any other parent's part: it hands its end of the pair to the root.
local function record_other(r, parent, block, pair, shares_table)
  local send = attach.record_send(r, parent, block + hello.CMSG)
  r:call("close", { if_ok = pair, may_fail = true, aside = true }, requests.load32(block + hello.FD))
  close_pair(r, pair, send.ref, block, shares_table)
  return send
end

--- ... which makes it a channel, once it is there.
local function attach_other(r, parent, send, channel)
  r:wait()
  local number = attach.received(r, parent, send)
  if not number or not channel then return number end
  attach.in_root(parent.machine, number, channel, hello.ATTACH_READ + hello.ATTACH_WRITE + hello.ATTACH_SOCKET)
end

--- The requests of a process on this machine go over a socket of its own, and a ring beside it, unless it is only to exec.
local function direct_task(machine, fd, block, brief)
  local task = tasks.direct(fd, machine.hello.hold_slots, machine.read_max)
  local arena = machine.root.space.arena
  if arena and not brief then task:ring(arena, block + machine.hello.block_size) end
  return task
end

--- In a shared table the end of a child is not the end of its carrier: when the pidfd tells, the carrier is closed. Ending the hold of what this
--- returns closes it at once.
local function close_at_end(parent, pidfd, carrier)
  return watch.after(parent, pidfd, 1, function(r) r:call("close", { always = true, may_fail = true }, carrier) end)
end

local Birth = {}
Birth.__index = Birth

--- Records and queues a clone; the child can be given requests at once, which follow it. birth:finish() waits for it.
---@param parent afar.Process
---@param flags? string|integer
---@param before? fun(r: afar.Recorder)  records what the parent does before, in the same chain
---@param brief? boolean  it will exec at once: what is internal in its table is left to that to close
---@param cgroup? integer  fd of the cgroup's folder, for CLONE_INTO_CGROUP
function clone.begin(parent, flags, before, brief, cgroup)
  flags = cloneflags.check(parent, flags)
  local machine = parent.machine
  if parent.task then parent.task:wake() end
  local shares_table = has(flags, machine.sys.C.CLONE_FILES)
  local r = requests.record(parent)
  r.args = { n = 1, machine.sys:names(flags, "CLONE_") }
  if before then before(r) end
  local fd, carrier
  if machine.local_ and parent.is_root then
    fd, carrier = links.take(machine)
  end
  local closes = not brief and closes_itself(parent, carrier, shares_table)
  local block, stack = prepare(r, parent, flags, carrier, closes)
  local late = is_late(parent, flags, brief, cgroup)
  local pair, born, pidfd_at = record_birth(r, parent, flags, block, stack, carrier, cgroup, late)
  local channel = not machine.local_ and machine.stream:channel(hello.WINDOW, hello.WINDOW) or nil
  local self = setmetatable({
    parent = parent, recorder = r, block = block, born = born, pidfd_at = pidfd_at, flags = flags, shares_table = shares_table,
    channel = channel, brief = brief, closes = closes, link = carrier, late = late,
  }, Birth)
  if carrier then
    close_link(r, born, carrier, shares_table)
    if not shares_table then parent.table.internal[carrier] = nil end
  elseif parent.is_root then
    self.attach = record_root(r, block, channel, pair, shares_table)
  else
    self.send = record_other(r, parent, block, pair, shares_table)
  end
  if pidfd_at and not machine.plain_clone then self.pidfd = r:fetch(pidfd_at, 4, { if_ok = born, aside = true }) end
  if machine.opens_pidfds == nil and parent.is_root and not machine.plain_clone then self.tried = try_pidfd_open(r, born) end
  r:submit()
  parent.task:hurry() -- it is cloned while its first requests are recorded
  if carrier then links.refill(machine) end
  if self.send then fd = attach_other(r, parent, self.send, channel) end
  self.task = channel and tasks.child(channel, machine.hello.hold_slots, machine.read_max) or fd and direct_task(machine, fd, block, brief)
  self.child = self:make_child()
  return self
end

function Birth:table_of_child()
  local table_ = self.parent.table
  if self.shares_table then return table_ end
  return self.brief and fdtable.brief() or fdtable.copy(table_)
end

function Birth:make_child()
  local parent, machine = self.parent, self.parent.machine
  local C = machine.sys.C
  local child = process.new { -- most have no more fields: a table with room for eight of them
    machine = machine,
    parent = parent,
    task = self.task,
    space = parent.space,
    table = self:table_of_child(),
    shared_environ = variables.share(parent),
    child = nil,
    carrier = nil,
  }
  if self.channel then child.channel = self.channel end
  if has(self.flags, C.CLONE_NEWPID) then
    child.pid, child.pids = 1, {} -- else its pid is that by which its parent knows it
  else
    child.pids = rawget(parent, "pids_for_children") or rawget(parent, "pids")
  end
  if self.brief or self.closes or not self.task then return child end
  self.first, self.carrier, self.closed = first_chain(child, parent, self.block, self.shares_table)
  return child
end

local function reap(parent, pid)
  local r = requests.record(parent)
  r:call("kill", { may_fail = true }, pid, 9)
  r:call("wait4", { may_fail = true, always = true, flush = true }, pid, 0, 0, 0)
  run_whole(r)
end

--- It was not cloned; or it was, and can't be reached: then it sees the end of its carrier, and exits.
function Birth:give_up()
  local parent, child = self.parent, self.child
  if child.task then child.task:close() end
  if self.first then self.first:wait() end
  process.gone(child)
  local pid = self.recorder:result(self.born)
  if pid and pid > 0 and parent:is_alive() then reap(parent, pid) end
  blocks.free(parent.space, self.block, parent.machine:block_size())
end

--- The child, as whoever is its parent sees it: with CLONE_PARENT that is the parent's own, which needs a pidfd of its own.
function Birth:adopt(pid, pidfd)
  local parent, child = self.parent, self.child
  if not has(self.flags, parent.machine.sys.C.CLONE_PARENT) then return children.new(parent, child, self.block, pid, pidfd, self.late) end
  child.parent = parent.parent
  if child.parent.table == parent.table then return children.new(child.parent, child, self.block, pid, pidfd) end
  if not self.shares_table then parent:syscall("close", pidfd) end
  return children.new(child.parent, child, self.block, pid)
end

--- Waits until the child is there; raises when it could not be cloned.
---@return afar.Process
function Birth:finish()
  local r, child, parent = self.recorder, self.child, self.parent
  if not self.send then r:wait() end
  local ok, err = pcall(r.check, r)
  if ok and not self.task then
    ok, err = false, errors.new(parent, "clone", r.args, "its carrier could not be received: the host's own table of fds is full", {
      name = "EMFILE", hint = "each process takes an fd of the host; ulimit -Hn",
    })
  end
  if not ok then
    self:give_up()
    error(err, 0)
  end
  parent.machine.can_share = not parent.machine.plain_clone
  local pid = r:result(self.born)
  if self.attach then
    parent.machine.root.table.internal[r:result(self.attach)] = true
  end
  local pidfd = self.pidfd and u32(r:data(self.pidfd))
  if self.tried then parent.machine.opens_pidfds = r:result(self.tried) >= 0 end
  r:release()
  ok, err = pcall(self.settle, self, pid, pidfd)
  if ok then return child end
  child.task:close() -- it ends by that
  process.gone(child)
  error(err, 0)
end

--- What is done and known once it is there, or has answered.
function Birth:settle(pid, pidfd)
  local child, parent = self.child, self.parent
  child.child = self:adopt(pid, pidfd)
  if self.brief then return end
  if self.closes then
    child.carrier = self.link
    rawset(child.table, "carrier", self.link)
    return
  end
  self.first:wait()
  self.first:check()
  child.carrier = u32(self.first:data(self.carrier))
  child.table.internal[child.carrier] = true
  local C, closed = child.machine.sys.C, self.closed and self.first:result(self.closed)
  local missing = closed == -C.ENOSYS
  if closed then parent.machine.has_close_range = closed == -C.ECANCELED end -- it had been done, both below the carrier and above
  self.first:release()
  if missing then
    close_known(child, parent)
  elseif parent.is_root and not self.closed and not self.shares_table then
    close_between(child, parent)
  end
  if self.shares_table then child.carrier_end = close_at_end(parent, pidfd, child.carrier) end
  if rawget(parent, "pids_for_children") then
    local r = requests.record(child)
    local asked = r:call "getpid"
    child.pid = run_whole(r):result(asked)
  end
end

--- Whether a clone failed as it does under emulators that share no memory between processes: from now on it is done otherwise.
---@param err any  why it failed
function clone.turn_plain(parent, err)
  local machine = parent.machine
  if machine.can_share or machine.plain_clone or not errors.is(err, "EINVAL") then return false end
  machine.plain_clone = true
  return true
end

--- Under emulators that share no memory between processes: a copy of all, with an allocator of its own.
local function plain_clone(parent, flags)
  local machine = parent.machine
  local birth = clone.begin(parent, flags)
  local child = birth:finish()
  local C = machine.sys.C
  local size = 1024 * 1024
  local address = child:syscall("mmap", 0, size, C.PROT_READ + C.PROT_WRITE, C.MAP_PRIVATE + C.MAP_ANONYMOUS, -1, 0)
  child.space = space.new(machine, address, size)
  return child
end

--- Where clone3 can't be called (a seccomp filter): it is moved there once it has been cloned.
local function into_cgroup(parent, flags, cgroup)
  local C = parent.machine.sys.C
  local ok, child = pcall(clone.make, parent, flags, cgroup)
  if ok or not errors.is(child, "ENOSYS") then return ok, child end
  ok, child = pcall(clone.make, parent, flags - C.CLONE_INTO_CGROUP)
  if not ok then return ok, child end
  local moved, err = pcall(parent.chain, parent, function(c)
    local file = c:openat(cgroup, "cgroup.procs", "O_WRONLY")
    file:write(tostring(child.child.pid))
    file:close()
  end)
  if not moved then child.child:kill "SIGKILL" end
  return moved, moved and child or err
end

--- One clone, to its end.
function clone.make(parent, flags, cgroup)
  return gate.pass(parent, function()
    local birth = clone.begin(parent, flags, nil, nil, cgroup)
    return birth:finish()
  end)
end

local function make(parent, flags, options)
  local C = parent.machine.sys.C
  if not has(flags, C.CLONE_INTO_CGROUP) then return pcall(clone.make, parent, flags) end
  return into_cgroup(parent, flags, fds.near(options.cgroup, parent, "clone"))
end

local function check_cgroup(p, number, options)
  local asked = has(number, p.machine.sys.C.CLONE_INTO_CGROUP)
  if options.cgroup and not asked then return number + p.machine.sys.C.CLONE_INTO_CGROUP end
  if not asked or options.cgroup then return number end
  error(errors.new(p, "clone", { "CLONE_INTO_CGROUP" }, "the option cgroup = fd of the cgroup's folder is missing"), 0)
end

--- Only unshare(2) makes a time namespace for whose memory is shared.
local function split_time(p, number)
  local bit = p.machine.sys.C.CLONE_NEWTIME
  if has(number, bit) then return number - bit, bit end
  return number
end

--- What can't be asked of the kernel in the same call.
local function shape(parent, child, options, number, time)
  if has(number, parent.machine.sys.C.CLONE_NEWUSER) and (options.uid_map ~= false or options.gid_map ~= false) then
    userns.map(child, options, parent:syscall "geteuid", parent:syscall "getegid")
  end
  if time then child:syscall("unshare", time) end
end

--- p:clone(flags, options): a new process, cloned from this one; see clone(2). flags: what it shares (CLONE_FILES, CLONE_FS, CLONE_SIGHAND
--- ...), which namespaces are new (CLONE_NEWUSER ...) and CLONE_PARENT, as a number or "CLONE_NEWUSER|CLONE_NEWNS"; memory is always shared,
--- and a pidfd made at once, or (in the root here, unless CLONE_PIDFD is asked for) when it is needed. It does nothing until it is told to, and
--- lives as long as its parent does. With CLONE_NEWTIME it is the child's own children, and what it executes, that are in the new namespace.
--- Options: cgroup = the fd of a folder below /sys/fs/cgroup, into which it is born; uid_map, gid_map = the ids in a new user namespace: one
--- inside for that of this process (default 0), a list of { inside, outside, count }, for which the parent is privileged or newuidmap(1) has
--- been told, or false: none are written.
---@param flags? string|integer
---@param options? { cgroup?: afar.Fd, uid_map?: any, gid_map?: any }
---@return afar.Process
process.define("clone", function(self, flags, options)
  sched.check()
  if self.machine.plain_clone then return plain_clone(self, flags) end
  options = userns.check(self, "clone", options)
  local number = check_cgroup(self, cloneflags.check(self, flags), options)
  local now, time = split_time(self, number)
  local ok, child = make(self, now, options)
  if not ok then
    if number == 0 and clone.turn_plain(self, child) then return plain_clone(self, flags) end
    error(errors.is(child) and cloneflags.explain(self, child, number) or child, 0)
  end
  child.child.is_init = child.pid == 1 or nil
  child.child.cgroup = options.cgroup
  local shaped, err = pcall(shape, self, child, options, number, time)
  if shaped then return child end
  nursery.shielded(child.child.kill, child.child, "SIGKILL")
  error(err, 0)
end)

--- p:fork(): a new process with a table of its own, a copy of this one's, and a working directory and umask of its own.
process.define("fork", function(self) return self:clone() end)

--- p:inherit(fd): the handle to what this process's table has had, since it was copied, at the number of `fd`, which is a handle of its
--- parent's table.
process.define("inherit", function(self, fd) return self.table:inherit(self, fd) end)

return clone
