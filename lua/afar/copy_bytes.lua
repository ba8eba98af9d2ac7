--- Copying between two fds of one process: the kernel moves the bytes, none of them comes to the host.
-- A worker makes the calls, which may block: another process that shares the fds (see clone.lua), so that nobody else waits.
-- The ways are tried in turn, from the one that moves fewest bytes: copy_file_range(2), sendfile(2), splice(2), splice(2) through a pipe, and
-- read(2) and write(2) through the process's memory, which works for all.

local requests = require "afar.requests"
local errors = require "afar.error"
local fds = require "afar.fd"
local io = require "afar.io"
local process = require "afar.process"
local sched = require "afar.sched"
local stats = require "afar.stat"
local u16 = require("afar.bytes").u16

local POLLIN, POLLOUT = 1, 4
local SIGKILL = 9
local FILE_STEP, PIPE_STEP, MEMORY_STEP = 4 * 1024 * 1024, 64 * 1024, 64 * 1024
local STEPS = 32 -- requests of one chain: what is copied in a round trip

---@class afar.Copy
---@field owner afar.Process   for whom it is done
---@field worker afar.Process  that makes the calls
---@field from integer
---@field to integer
---@field left number          bytes to copy; math.huge: until the end
---@field done number
---@field careful boolean      one step at a time: after an end there may be more
---@field pipe? { [1]: afar.Fd, [2]: afar.Fd }
local Copy = {}
Copy.__index = Copy

--- The errnos that say that two fds don't go together this way.
local UNFIT = { EINVAL = true, ENOSYS = true, EXDEV = true, EOPNOTSUPP = true, EBADF = true, ESPIPE = true, ETXTBSY = true, EPERM = true }

local function record(self)
  local r = requests.record(self.worker)
  r.args = self.args
  if self.worker ~= self.owner then
    --- Its calls can't be taken back, but it can be ended. Called from the loop: it must not wait.
    r.on_cancel = function()
      local kill = requests.record(self.owner)
      kill:call("pidfd_send_signal", { may_fail = true }, self.worker.child.pidfd, SIGKILL, 0, 0)
      self.owner.task:submit(kill.requests, true)
      return false
    end
  end
  return r
end

local function send(r)
  r:start()
  r:wait()
  sched.check()
  if r.fate then r:check() end
end

local function raise(self, errno)
  local err = errors.errno(self.owner, "copy_bytes", self.args, errno)
  err.copied = self.done
  error(err, 0)
end

local function advance(self, count)
  self.done, self.left = self.done + count, self.left - count
end

--- Non-blocking fds: neither end may be ready.
local function await_both(self, from)
  local r = record(self)
  if from then r:hold(from, POLLIN) end
  r:hold(self.to, POLLOUT)
  send(r)
  r:check()
end

--- The sizes of one chain's steps, which are not more than what is left in all.
local function steps(self, size)
  local sizes, left = {}, self.left
  for i = 1, self.careful and 1 or STEPS do
    if left <= 0 then break end
    sizes[i] = math.min(size, left)
    left = left - sizes[i]
  end
  return sizes
end

--- Looks at what a step answered. "more": go on; "end"; "unfit": another way; "wait": nothing was ready.
local function judge(self, result)
  if result > 0 then return "more" end
  if result == 0 then return "end" end
  local C, name = self.worker.machine.sys.C, self.worker.machine.sys.errno[-result]
  if result == -C.EAGAIN then return "wait" end
  if UNFIT[name] then return "unfit" end
  raise(self, -result)
end

-- ---- in one call each ----

local direct = {}

function direct.copy_file_range(r, self, size) return r:call("copy_file_range", { may_fail = true }, self.from, 0, self.to, 0, size, 0) end
function direct.sendfile(r, self, size) return r:call("sendfile", { may_fail = true }, self.to, self.from, 0, size) end
function direct.splice(r, self, size) return r:call("splice", { may_fail = true }, self.from, 0, self.to, 0, size, 0) end

local function direct_round(self, call, size)
  local r, refs = record(self), {}
  for i, length in ipairs(steps(self, size)) do
    refs[i] = direct[call](r, self, length)
  end
  send(r)
  local fate
  for _, ref in ipairs(refs) do
    local result = r:result(ref)
    fate = judge(self, result)
    if fate ~= "more" then return fate end
    advance(self, result)
  end
  return fate
end

--- Copies by `call` as far as that goes. Returns whether it came to the end.
local function by_call(self, call, size)
  while self.left > 0 do
    local fate = direct_round(self, call, size)
    if fate == "wait" then await_both(self, self.from) end
    if fate == "unfit" then return false end
    -- Files of /proc and the like say that they have nothing: only read(2) knows.
    if fate == "end" then return self.done > 0 end
  end
  return true
end

-- ---- in two calls: into a pipe or memory, and out of it ----

--- Writes what is in memory from `at` on.
local function drain_memory(self, at, length)
  while length > 0 do
    local r = record(self)
    local ref = r:call("write", { may_fail = true }, self.to, at, length)
    send(r)
    local result, C = r:result(ref), r.sys.C
    if result > 0 then
      advance(self, result)
      at, length = at + result, length - result
    elseif result == -C.EAGAIN then
      await_both(self)
    else
      raise(self, -result)
    end
  end
end

local function memory_round(self, from, at)
  local r, pairs_ = record(self), {}
  for i, length in ipairs(steps(self, MEMORY_STEP)) do
    local read = r:call("read", { may_fail = true }, from, at, length)
    pairs_[i] = { read, r:call("write", { may_fail = true, expect_arg = 3 }, self.to, at, read) }
  end
  send(r)
  for _, pair in ipairs(pairs_) do
    local got, put = r:result(pair[1]), r:result(pair[2])
    local fate = judge(self, got)
    if fate == "unfit" then raise(self, -got) end
    if fate ~= "more" then return fate end
    if put == -r.sys.C.EAGAIN then put = 0 end
    if put < 0 then raise(self, -put) end
    advance(self, put)
    if put < got then
      drain_memory(self, at + put, got - put)
      return "more"
    end
  end
  return "more"
end

local function by_memory(self, from)
  local memory = self.worker:malloc(MEMORY_STEP)
  repeat
    local fate = self.left > 0 and memory_round(self, from or self.from, memory.address) or "end"
    if fate == "wait" then await_both(self, from or self.from) end
  until fate == "end"
  memory:free()
end

--- Moves on what is in the pipe. Returns false where the other end takes nothing from a pipe: then it went through memory.
local function drain_pipe(self, length)
  while length > 0 do
    local r = record(self)
    local ref = r:call("splice", { may_fail = true }, self.pipe[1].number, 0, self.to, 0, length, 0)
    send(r)
    local fate = judge(self, r:result(ref))
    if fate == "unfit" then
      local left = self.left
      self.left = length
      by_memory(self, self.pipe[1].number)
      self.left = left - length
      return false
    elseif fate == "wait" then
      await_both(self)
    elseif fate == "more" then
      advance(self, r:result(ref))
      length = length - r:result(ref)
    end
  end
  return true
end

local function pipe_round(self)
  local r, pairs_ = record(self), {}
  for i, length in ipairs(steps(self, PIPE_STEP)) do
    local into = r:call("splice", { may_fail = true }, self.from, 0, self.pipe[2].number, 0, length, 0)
    local out = r:call("splice", { may_fail = true, expect_arg = 5 }, self.pipe[1].number, 0, self.to, 0, into, 0)
    pairs_[i] = { into, out }
  end
  send(r)
  for _, pair in ipairs(pairs_) do
    local got, put = r:result(pair[1]), math.max(r:result(pair[2]), 0)
    local fate = judge(self, got)
    if fate ~= "more" then return fate end
    advance(self, put)
    if put < got then return drain_pipe(self, got - put) and "more" or "unfit" end
  end
  return "more"
end

local function by_pipe(self)
  self.pipe = { self.owner:pipe2() }
  while self.left > 0 do
    local fate = pipe_round(self)
    if fate == "wait" then await_both(self, self.from) end
    if fate == "unfit" then return false end
    if fate == "end" then return self.done > 0 end
  end
  return true
end

-- ---- which way ----

local function copy_all(self, from, to)
  if self.left <= 0 then return end
  if from == "file" then
    if to == "file" and by_call(self, "copy_file_range", FILE_STEP) then return end
    if by_call(self, "sendfile", to == "file" and FILE_STEP or PIPE_STEP) then return end
  elseif from == "pipe" or to == "pipe" then
    if by_call(self, "splice", PIPE_STEP) then return end
  elseif by_pipe(self) then
    return
  end
  by_memory(self)
end

--- The kinds of the two, asked for where they aren't known.
local function kinds_of(p, list, args)
  local r, modes = requests.record(p), {}
  r.args = args
  for i, fd in ipairs(list) do
    if not (type(fd) == "table" and fd.kind) then
      local at = r:scratch(stats.size(p.machine))
      r:call("fstat", nil, fds.near(fd, p, "copy_bytes"), at)
      modes[i] = r:fetch(at + stats.offset(p.machine, "st_mode"), 4)
    end
  end
  if r.count > 0 then r:run() end
  for i = 1, #list do
    if modes[i] then
      modes[i] = io.kind_of(u16(r:data(modes[i])))
    else
      modes[i] = list[i].kind
    end
  end
  return modes[1], modes[2]
end

local function release(self)
  for _, fd in ipairs(self.pipe or {}) do fd:close() end
  local worker = self.worker
  if worker == self.owner then return end
  if worker:is_alive() then worker.child:kill "SIGKILL" end
  worker.child:wait()
  process.gone(worker)
end

--- p:copy_bytes(from, to, n): copies n bytes (default: all to the end) from one fd of the process to another, from where each stands; returns how
--- many it were, which is less than n at the end only. The bytes stay on that machine; nobody waits but the caller, whatever the fds are. An
--- error has .copied: how many bytes had gone by then; cut short, it is not known how many were.
---@param from afar.Fd
---@param to afar.Fd
---@param n? number bytes
---@return number bytes
process.define("copy_bytes", function(p, from, to, n)
  if n ~= nil and (type(n) ~= "number" or n < 0 or n % 1 ~= 0) then
    error(("copy_bytes: a number of bytes was expected, not %s"):format(tostring(n)), 2)
  end
  local self = setmetatable({
    owner = p, from = fds.near(from, p, "copy_bytes"), to = fds.near(to, p, "copy_bytes"), left = n or math.huge, done = 0,
    args = { n = 3, from, to, n },
  }, Copy)
  local from_kind, to_kind = kinds_of(p, { from, to }, self.args)
  self.careful = from_kind == "device" or to_kind == "device"
  local files = from_kind == "file" and to_kind == "file" and not p.is_root
  self.worker = (files or p.machine.plain_clone) and p or p:clone "CLONE_FILES|CLONE_FS"
  local ok, err = pcall(copy_all, self, from_kind, to_kind)
  release(self)
  if not ok then error(err, 0) end
  return self.done
end)
