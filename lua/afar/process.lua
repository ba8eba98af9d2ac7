--- A process: one task under our control, with all that is needed to use it. Its methods are system calls, by the names of
--- their manpages, and helpers; both are defined in the modules that lua/afar/init.lua lists.

local chain = require "afar.chain"
local errors = require "afar.error"
local nearest = require "afar.nearest"
local sibling = require "afar.sibling"

---@class afar.Process
---@field machine afar.Machine
---@field task userdata        its requests (bindings/task.h)
---@field pid integer          as it sees itself
---@field space afar.Space
---@field table afar.FdTable
---@field parent? afar.Process
---@field child? afar.Child    its kernel side, as the parent sees it: wait, kill
---@field environ table<string, string>
local Process = { __name = "process" }

local process = { Process = Process }

local plain = {} -- methods that do several chains, or none: they are given the process
local recorded = {} -- methods that record one chain's requests, so that p:chain can have them

--- Defines `p:name(...)` as a plain function of the process.
function process.define(name, f) plain[name] = f end

--- Defines a call: `f(recorder, process, ...)` records its requests, and returns a function that is given the recorder once it
--- was answered and returns the call's value; and the argument (a Ref, a Load) that stands for that value within a chain. A call of two
--- values returns two such pairs.
function process.define_recorded(name, f)
  recorded[name] = f
  plain[name] = function(self, ...)
    local r = chain.record(self)
    r.args = { n = select("#", ...), ... }
    return process.finish(r, f(r, self, ...))
  end
end

--- Sends what was recorded, waits, and gives the call's values.
function process.finish(r, first, _, second)
  r:run()
  if second then return first(r), second(r) end
  return first(r)
end

--- An argument of a plain system call, as a number: numbers, fds, pointers, placeholders and results stay; strings are put in memory.
local function raw_argument(r, self, value)
  local t = type(value)
  if t == "string" then return r:string(value) end
  if t == "nil" then return 0 end
  local mt = getmetatable(value)
  if mt and mt.near then return mt.near(value, self, r) end
  return chain.argument(value) or value
end

--- Calls that never come back, or only when something else happens: what was answered before is sent first.
local may_block = {}
for name in
  ([[read write readv writev pread64 pwrite64 poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 wait4 waitid
  nanosleep clock_nanosleep futex futex_waitv accept accept4 connect recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg flock
  fcntl pause rt_sigsuspend rt_sigtimedwait fsync fdatasync sync syncfs execve execveat exit exit_group open openat openat2 splice tee
  vmsplice sendfile copy_file_range semop semtimedop msgrcv msgsnd mq_timedsend mq_timedreceive io_getevents io_uring_enter getrandom umount2
  preadv pwritev preadv2 pwritev2]]):gmatch "%S+"
do
  may_block[name] = true
end

--- What changes the process itself, or ends it, is never made by another in its place.
local stays = { execve = true, execveat = true, exit = true, exit_group = true, wait4 = true, waitid = true }

--- The kernel disarms the parent-death signal when credentials change: it is armed again at once.
local credentials = {}
for name in ("setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid capset"):gmatch "%S+" do
  credentials[name] = true
end

local PR_SET_PDEATHSIG, SIGKILL = 1, 9

local function rearm(r, changed)
  if r.process.child == nil then return end
  r:call("prctl", { if_ok = changed, aside = true, may_fail = true }, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
end

local function record_syscall(r, self, name, ...)
  local nr, shown = name, name
  if type(name) == "string" then
    nr = r.sys.nr[name]
    if not nr then
      local near = nearest(name, r.sys.nr)
      error(
        errors.new(self, "syscall", { name }, ("%s has no such system call%s"):format(
          r.sys.name,
          near and (" (did you mean %s?)"):format(near) or ""
        )),
        0
      )
    end
  elseif type(name) == "number" then
    shown = r.sys.nr_name[name] or ("syscall %d"):format(name)
  else
    error(errors.new(self, "syscall", { name }, "the first argument is a system call's name or number"), 0)
  end
  local a = { ... }
  for i = 1, select("#", ...) do
    a[i] = raw_argument(r, self, a[i])
  end
  if self.is_root then sibling.check(self, shown, a) end
  if may_block[shown] and not stays[shown] then r:block() end
  local ref = r:call_number(nr, shown, { flush = may_block[shown] }, unpack(a, 1, 6))
  if credentials[shown] then rearm(r, ref) end
  return function(r_) return r_:result(ref) end, ref
end

--- p:syscall(name_or_number, ...): any system call, as it is. Arguments: numbers, strings (put in memory, NUL-terminated),
--- fds and pointers of this process. Returns the kernel's result as a number; raises its error.
process.define_recorded("syscall", record_syscall)
process.define("syscall", function(self, name, ...)
  local r = chain.record(self)
  r.args = { n = select("#", ...), ... } -- the error shows the call as its manpage does
  return process.finish(r, record_syscall(r, self, name, ...))
end)

--- A method for `name`: defined, or any system call of that name; else an error with the nearest.
local function lookup(self, name)
  if type(name) ~= "string" then return nil end
  local method = plain[name]
  if method then return method end
  if self.machine.sys.nr[name] then
    return function(p, ...) return plain.syscall(p, name, ...) end
  end
  local near = nearest(name, plain) or nearest(name, self.machine.sys.nr)
  error(("a process has no method %q%s"):format(name, near and (" (did you mean %q?)"):format(near) or ""), 3)
end

local fields = {
  pid = true, task = true, parent = true, child = true, ended = true, stream = true, carrier = true, channel = true,
  is_root = true, name = true, exec_error = true, block = true, pidfd = true, saved_mask = true,
}

function Process:__index(name)
  if fields[name] then return nil end
  return lookup(self, name)
end

function Process:__tostring()
  return ("process %s on %s"):format(self.pid or "?", rawget(self, "machine").name)
end

--- For p:chain: the recording form of a method.
local function chain_lookup(name, self)
  local method = recorded[name]
  if method then return method end
  if plain[name] then
    error(("%s can't be part of a chain: it takes several by itself"):format(name), 3)
  end
  if self.machine.sys.nr[name] then
    return function(r, p, ...) return record_syscall(r, p, name, ...) end
  end
  lookup(self, name)
end

function process.install_chains(fd_methods) chain.define(chain_lookup, fd_methods) end

process.define("chain", function(self, f) return chain.run(self, f) end)

--- Whether calls can be made: it has neither ended, nor execed, nor lost its connection.
process.define("is_alive", function(self) return self.task ~= nil and self.task:state() == "open" end)

--- Makes a process object; `fields_` has machine, task, pid, space, table, environ.
function process.new(fields_)
  local self = setmetatable(fields_, Process)
  self.table.processes[self] = true
  return self
end

--- Forgets the table and space of a process that has ended or execed.
function process.gone(self) self.table.processes[self] = nil end

return process
