--- Which fds a process has: those of others, taken over by pidfd; those that a program shall have; all others closed.

local requests = require "afar.requests"
local children = require "afar.child"
local errors = require "afar.error"
local fds = require "afar.fd"
local process = require "afar.process"
local running = require "afar.running"
local sibling = require "afar.sibling"

local LAST = 2 ^ 32 - 1

--- p:pidfd_getfd(pidfd, targetfd, flags): a copy of another process's fd, as a handle of this one; see pidfd_getfd(2). pidfd: an fd, or a child of this
--- process; targetfd: its number there, or the handle. It takes the right to trace the other. Close-on-exec.
---@param pidfd afar.Fd|afar.Child|integer
---@param targetfd afar.Fd|integer
---@return afar.Fd
process.define_recorded("pidfd_getfd", function(r, p, pidfd, targetfd, flags)
  local number
  if getmetatable(pidfd) == children.Child then
    if pidfd.parent.table ~= p.table then error(errors.new(p, "pidfd_getfd", { pidfd }, "it is no child of this process"), 0) end
    number = pidfd.pidfd
  else
    number = fds.near(pidfd, p, "pidfd_getfd")
  end
  local kind
  if getmetatable(targetfd) == fds.Fd then
    kind = rawget(targetfd, "kind")
    targetfd = targetfd.number
  end
  local ref = r:call("pidfd_getfd", nil, number, targetfd, flags or 0)
  return function(r_) return fds.new(r_.process, r_:result(ref), kind) end, ref
end)

--- fd:keep(): it stays open across exec, under its number; returns the handle.
fds.define_recorded("keep", function(r, fd)
  local ref = r:call("fcntl", { as = "keep" }, fds.near(fd, r.process, "keep"), r.sys.C.F_SETFD, 0)
  return function() return fd end, ref
end)

--- fd:close_on_exec(): it does not.
fds.define_recorded("close_on_exec", function(r, fd)
  local ref = r:call("fcntl", { as = "close_on_exec" }, fds.near(fd, r.process, "close_on_exec"), r.sys.C.F_SETFD, r.sys.C.FD_CLOEXEC)
  return function() return fd end, ref
end)

-- ---- ranges ----

--- The parts of first..last without the numbers in `left`.
local function parts(first, last, left)
  local numbers, list = {}, {}
  for number in pairs(left) do
    if number >= first and number <= last then numbers[#numbers + 1] = number end
  end
  table.sort(numbers)
  for _, number in ipairs(numbers) do
    if number > first then list[#list + 1] = { first, number - 1 } end
    first = number + 1
  end
  if first <= last then list[#list + 1] = { first, last } end
  return list
end

--- Before Linux 5.9: one by one, as /proc lists them.
local function by_hand(p, list, flags)
  local dir = p:open("/proc/self/fd", "O_RDONLY|O_DIRECTORY")
  local open = {}
  repeat
    local entries = dir:getdents64()
    for _, entry in ipairs(entries) do open[#open + 1] = tonumber(entry.d_name) end
  until #entries == 0
  local r, C = requests.record(p), p.machine.sys.C
  for _, number in ipairs(open) do
    for _, part in ipairs(list) do
      local inside = number >= part[1] and number <= part[2] and number ~= dir.number
      if inside and flags == C.CLOSE_RANGE_CLOEXEC then
        r:call("fcntl", { may_fail = true, always = true }, number, C.F_SETFD, C.FD_CLOEXEC)
      elseif inside then
        r:call("close", { may_fail = true, always = true }, number)
      end
    end
  end
  if r.count > 0 then r:run() end
  dir:close()
end

local function in_parts(number, list)
  for _, part in ipairs(list) do
    if number >= part[1] and number <= part[2] then return true end
  end
end

--- Handles of what was closed are closed; who waits for one gets an error first.
local function forget(p, list)
  for number in pairs(p.table.inherited) do
    if in_parts(number, list) then p.table.inherited[number] = nil end
  end
  for number, handle in pairs(p.table.handles) do
    if in_parts(number, list) then
      p.table:end_holds(number)
      fds.forget(handle)
    end
  end
end

local function close_parts(p, list, flags)
  local C = p.machine.sys.C
  if flags == 0 then forget(p, list) end
  local r = requests.record(p)
  for _, part in ipairs(list) do r:call("close_range", nil, part[1], part[2], flags) end
  if r.count == 0 then return end
  local ok, err = pcall(r.run, r)
  if ok then return end
  if not errors.is(err, "ENOSYS") and not (errors.is(err, "EINVAL") and flags == C.CLOSE_RANGE_CLOEXEC) then error(err, 0) end
  by_hand(p, list, flags)
end

local function internal_of(p)
  local left = {}
  running.settle(p)
  for number in pairs(p.table.internal) do left[number] = true end
  return left
end

--- p:close_range(first, last, flags): closes all fds from first to last (default: all above), but what is afar's own; see close_range(2).
--- flags: "CLOSE_RANGE_CLOEXEC" marks them close-on-exec instead.
---@param first integer
---@param last? integer
process.define("close_range", function(self, first, last, flags)
  local C = self.machine.sys.C
  last = last or LAST
  if type(first) ~= "number" or type(last) ~= "number" or first < 0 or last < first then
    error(errors.new(self, "close_range", { first, last }, "two fd numbers were expected, the lower first"), 0)
  end
  local number = self.machine.sys:const(flags, "CLOSE_RANGE_", "close_range")
  if number ~= 0 and number ~= C.CLOSE_RANGE_CLOEXEC then
    error(errors.new(self, "close_range", { first, last, flags }, "of the flags only CLOSE_RANGE_CLOEXEC is allowed here", { hint = "p:unshare" }), 0)
  end
  close_parts(self, parts(first, last, internal_of(self)), number)
end)

--- p:close_others{ fds }: closes all fds from 3 on but these: before it runs on, a fork gives up what is not meant for it.
---@param keep afar.Fd[]  handles of this process's table, or numbers
process.define("close_others", function(self, keep)
  local left = internal_of(self)
  for _, fd in ipairs(keep or {}) do left[fds.near(fd, self, "close_others")] = true end
  close_parts(self, parts(3, LAST, left), 0)
end)

--- p:blocking(): a process that shares memory, fds and working directory with this one, for a call that blocks on purpose: the kernel keeps that one
--- waiting, and this one serves on. It is used again once it is idle, and ends with this one, or before it executes something.
---@return afar.Process
process.define("blocking", function(self)
  if self.machine.plain_clone then
    error(errors.new(self, "blocking", {}, "its kernel clones no processes that share anything"), 0)
  end
  return sibling.of(self)
end)
