--- clone and fork: a process makes another, with a carrier of its own.

local attach = require "afar.attach"
local chain = require "afar.chain"
local children = require "afar.child"
local errors = require "afar.error"
local fdtable = require "afar.fdtable"
local hello = require "afar.hello"
local links = require "afar.links"
local process = require "afar.process"
local space = require "afar.space"
local tasks = require "afar.task"
local watch = require "afar.watch"

local clone = {}

local ALLOWED = [[CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_IO CLONE_SYSVSEM CLONE_NEWCGROUP CLONE_NEWIPC CLONE_NEWNET
CLONE_NEWNS CLONE_NEWPID CLONE_NEWUSER CLONE_NEWUTS CLONE_PIDFD CLONE_PTRACE]]

local function has(flags, bit) return flags % (2 * bit) >= bit end

local function check_flags(p, flags)
  local C = p.machine.sys.C
  local number = p.machine.sys:const(flags, "CLONE_", "clone")
  local rest = number - number % 256
  for name in ALLOWED:gmatch "%S+" do
    local bit = C[name]
    if bit and has(rest, bit) then rest = rest - bit end
  end
  if rest ~= 0 or number % 256 ~= 0 then
    error(errors.new(p, "clone", { flags }, "only flags for what a process shares and for namespaces are allowed here"), 0)
  end
  return number
end

local LAST = 2 ^ 32 - 1

--- Closes all that is the root's own in a child's copy of its table: everything from ZONE on but the child's carrier, wherever
--- that is. It is never at ZONE itself, where the root's own stream is.
local function close_internal(r, block)
  local carrier = r:value(chain.load32(block + hello.CARRIER), { always = true, aside = true })
  local below = r:call("close_range", { if_ok = carrier, may_fail = true, aside = true }, hello.ZONE, carrier - 1, 0)
  r:call("close_range", { if_ok = below, may_fail = true, aside = true }, carrier + 1, LAST, 0)
  return r:call("close_range", { if_failed = below, may_fail = true }, hello.ZONE, LAST, 0)
end

--- The same where the script holds fds from ZONE on: between them, once the carrier's number is known.
local function close_between(child, parent)
  local kept, from = { child.carrier }, hello.ZONE
  for number in pairs(parent.table.handles) do
    kept[#kept + 1] = number
  end
  table.sort(kept)
  local r = chain.record(child)
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
  r:run()
end

local function holds_high(table_)
  for number in pairs(table_.handles) do
    if number >= hello.ZONE then return true end
  end
  return false
end

--- Where close_range is missing (before Linux 5.9): one by one.
local function close_known(child, parent)
  local r = chain.record(child)
  for number in pairs(parent.table.internal) do
    if number ~= child.carrier then r:call("close", { always = true, may_fail = true }, number) end
  end
  if r.count > 0 then r:run() end
end

--- The child's first requests, sent along with its birth.
local function first_chain(child, parent, block, shares_table)
  local r = chain.record(child)
  local closed
  if not shares_table then
    if parent.is_root then
      if not holds_high(parent.table) then closed = close_internal(r, block) end
    else
      r:call("close", { always = true, may_fail = true }, parent.carrier)
    end
    r:call("close", { always = true, may_fail = true }, chain.load32(block + hello.FD))
  end
  r:value(0, { always = true }) -- once it answers, the child has told its carrier
  local carrier = r:fetch(block + hello.CARRIER, 4, { always = true })
  r:submit()
  return r, carrier, closed
end

local function u32(bytes)
  local a, b, c, d = bytes:byte(1, 4)
  return a + b * 256 + c * 65536 + d * 16777216
end

--- All that a birth needs in memory.
local function prepare(r, parent, flags, carrier)
  local C = parent.machine.sys.C
  local facts = parent.machine.hello
  local block = parent.space:alloc(parent, parent.machine:block_size())
  local ppid = has(flags, C.CLONE_NEWPID) and 0 or parent.pid
  r:store(block, hello.start(false, ppid, carrier))
  local stack = block + facts.block_size - hello.STACK_SIZE
  r:store(stack, hello.stack(facts.entry, block))
  return block, stack
end

--- In the parent: a socketpair, unless the carrier is there already, and the clone itself. Returns the requests.
local function record_birth(r, parent, flags, block, stack, carrier)
  local machine = parent.machine
  local C = machine.sys.C
  local pair = not carrier and r:call("socketpair", nil, C.AF_UNIX, C.SOCK_STREAM + C.SOCK_CLOEXEC, 0, block + hello.FD)
  local pidfd_at = r:scratch(16)
  local all = flags + C.SIGCHLD
  if machine.plain_clone then
    return pair, r:call("clone", nil, all, stack, 0, 0, 0), pidfd_at
  end
  if not has(all, C.CLONE_VM) then all = all + C.CLONE_VM end
  if not has(all, C.CLONE_PIDFD) then all = all + C.CLONE_PIDFD end
  return pair, r:call("clone", nil, all, stack, pidfd_at, 0, 0), pidfd_at
end

local function close_pair(r, pair, what, block, shares_table)
  if not shares_table then
    r:call("close", { if_ok = pair, may_fail = true, aside = true }, chain.load32(block + hello.FD + 4))
  else
    r:call("close", { if_ok = pair, if_failed = what, may_fail = true, aside = true }, chain.load32(block + hello.FD + 4))
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
  local attach = r:attach(channel:number(), chain.load32(block + hello.FD), socket, hello.WINDOW, hello.WINDOW)
  r:call("close", { if_ok = pair, if_failed = attach, may_fail = true, aside = true }, chain.load32(block + hello.FD))
  close_pair(r, pair, attach, block, shares_table)
  return attach
end

--- Any other parent's part: it hands its end of the pair to the root.
local function record_other(r, parent, block, pair, shares_table)
  local send = attach.record_send(r, parent, block + hello.CMSG)
  r:call("close", { if_ok = pair, may_fail = true, aside = true }, chain.load32(block + hello.FD))
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

--- The requests of a process on this machine go over a socket of its own, and a ring beside it.
local function direct_task(machine, fd, block)
  local task = tasks.direct(fd, machine.hello.hold_slots, machine.read_max)
  local arena = machine.root.space.arena
  if arena then task:ring(arena, block + machine.hello.block_size) end
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
function clone.begin(parent, flags, before, brief)
  flags = check_flags(parent, flags or 0)
  local machine = parent.machine
  local shares_table = has(flags, machine.sys.C.CLONE_FILES)
  local r = chain.record(parent)
  r.args = { n = 1, machine.sys:names(flags, "CLONE_") }
  if before then before(r) end
  local fd, carrier
  if machine.local_ and parent.is_root then
    fd, carrier = links.take(machine)
  end
  local block, stack = prepare(r, parent, flags, carrier)
  local pair, born, pidfd_at = record_birth(r, parent, flags, block, stack, carrier)
  local channel = not machine.local_ and machine.stream:channel(hello.WINDOW, hello.WINDOW) or nil
  local self = setmetatable({
    parent = parent, recorder = r, block = block, born = born, pidfd_at = pidfd_at, flags = flags, shares_table = shares_table,
    channel = channel, brief = brief,
  }, Birth)
  if carrier then
    close_link(r, born, carrier, shares_table)
    if not shares_table then parent.table.internal[carrier] = nil end
  elseif parent.is_root then
    self.attach = record_root(r, block, channel, pair, shares_table)
  else
    self.send = record_other(r, parent, block, pair, shares_table)
  end
  if not machine.plain_clone then self.pidfd = r:fetch(pidfd_at, 4, { if_ok = born, aside = true }) end
  r:submit()
  if self.send then fd = attach_other(r, parent, self.send, channel) end
  self.task = channel and tasks.child(channel, machine.hello.hold_slots, machine.read_max) or fd and direct_task(machine, fd, block)
  self.child = self:make_child()
  return self
end

function Birth:make_child()
  local parent, machine = self.parent, self.parent.machine
  local C = machine.sys.C
  local child = process.new {
    machine = machine,
    parent = parent,
    channel = self.channel,
    task = self.task,
    pid = has(self.flags, C.CLONE_NEWPID) and 1 or nil,
    space = parent.space,
    table = self.shares_table and parent.table or fdtable.copy(parent.table, "a copy of " .. tostring(parent.table)),
    environ = {},
    block = self.block,
  }
  for name, value in pairs(parent.environ) do child.environ[name] = value end
  if self.brief or not self.task then return child end
  self.first, self.carrier, self.closed = first_chain(child, parent, self.block, self.shares_table)
  return child
end

local function reap(parent, pid)
  local r = chain.record(parent)
  r:call("kill", { may_fail = true }, pid, 9)
  r:call("wait4", { may_fail = true, always = true, flush = true }, pid, 0, 0, 0)
  r:run()
end

--- It was not cloned; or it was, and can't be reached: then it sees the end of its carrier, and exits.
function Birth:give_up()
  local parent, child = self.parent, self.child
  if child.task then child.task:close() end
  if self.first then self.first:wait() end
  process.gone(child)
  local pid = self.recorder:result(self.born)
  if pid and pid > 0 and parent:is_alive() then reap(parent, pid) end
  parent.space:free(self.block, parent.machine:block_size())
end

--- Waits until the child is there; raises when it could not be cloned.
---@return afar.Process
function Birth:finish()
  local r, child, parent = self.recorder, self.child, self.parent
  if not self.send then r:wait() end
  local ok, err = pcall(r.check, r)
  if not ok then
    self:give_up()
    error(err, 0)
  end
  parent.machine.can_share = not parent.machine.plain_clone
  local pid = r:result(self.born)
  child.pid = child.pid or pid
  if self.attach then
    parent.machine.root.table.internal[r:result(self.attach)] = true
  end
  local pidfd = self.pidfd and u32(r:data(self.pidfd))
  child.child = children.new(parent, child, pid, pidfd)
  if self.brief then return child end
  self.first:wait()
  self.first:check()
  child.carrier = u32(self.first:data(self.carrier))
  child.table.internal[child.carrier] = true
  local missing = self.closed and self.first:result(self.closed) == -child.machine.sys.C.ENOSYS
  if missing then
    close_known(child, parent)
  elseif parent.is_root and not self.closed and not self.shares_table then
    close_between(child, parent)
  end
  if self.shares_table then child.carrier_end = close_at_end(parent, child.child.pidfd, child.carrier) end
  return child
end

--- Under emulators that share no memory between processes: a copy of all, with an allocator of its own.
local function plain_clone(parent, flags)
  local machine = parent.machine
  machine.plain_clone = true
  local birth = clone.begin(parent, flags)
  local child = birth:finish()
  local C = machine.sys.C
  local size = 1024 * 1024
  local address = child:syscall("mmap", 0, size, C.PROT_READ + C.PROT_WRITE, C.MAP_PRIVATE + C.MAP_ANONYMOUS, -1, 0)
  child.space = space.new(machine, address, size)
  return child
end

--- p:clone(flags): a new process, cloned from this one; see clone(2). flags: what it shares (CLONE_FILES, CLONE_FS, CLONE_SIGHAND
--- ...) and which namespaces are new (CLONE_NEWUSER ...), as a number or "CLONE_NEWUSER|CLONE_NEWNS"; memory is always shared,
--- and a pidfd always made. It does nothing until it is told to, and lives as long as this one does.
---@param flags? string|integer
---@return afar.Process
process.define("clone", function(self, flags)
  if self.machine.plain_clone then return plain_clone(self, flags) end
  local birth = clone.begin(self, flags)
  local ok, child = pcall(birth.finish, birth)
  if ok then return child end
  local refused = errors.is(child, "EINVAL") and not self.machine.can_share
  if refused and self.machine.sys:const(flags or 0, "CLONE_", "clone") == 0 then return plain_clone(self, flags) end
  error(child, 0)
end)

--- p:fork(): a new process with a table of its own, a copy of this one's, and a working directory and umask of its own.
process.define("fork", function(self) return self:clone() end)

--- p:inherit(fd): the handle to what this process's table has had, since it was copied, at the number of `fd`, which is a handle of its
--- parent's table.
process.define("inherit", function(self, fd) return self.table:inherit(self, fd) end)

return clone
