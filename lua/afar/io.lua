--- Reading and writing through fds, in both levels: with Lua values, which never blocks the process; with pointers, which is exactly
--- the one system call.

local errors = require "afar.error"
local fds = require "afar.fd"
local chain = require "afar.chain"
local direct = require "afar.direct"
local requests = require "afar.requests"
local pointer = require "afar.pointer"
local process = require "afar.process"
local sched = require "afar.sched"

local POLLIN, POLLOUT = 1, 4
local DEFAULT_READ = 64 * 1024
local READ_MOST = 1024 * 1024 -- of one read: its bytes come in one chain
local WRITE_MOST = 1024 * 1024
local PIPE_PART, PIPE_PARTS = 4096, 16 -- a pipe that poll(2) calls writable takes PIPE_BUF bytes without blocking

local io = {}

--- The kind of file behind a mode of stat(2): decides how it is read without blocking.
function io.kind_of(mode)
  local format = (mode - mode % 4096) / 4096 % 16
  return ({ [1] = "pipe", [8] = "file", [12] = "socket", [4] = "directory", [6] = "file" })[format] or "device"
end

local function check_length(call, length)
  if type(length) ~= "number" or length < 0 or length % 1 ~= 0 then
    error(("%s: a number of bytes or a pointer was expected, not %s"):format(call, tostring(length)), 0)
  end
end

--- Brings `result` bytes from `address` along: a length that is known only there, in as many pieces as replies are long.
function io.fetch_result(r, address, most, result)
  local step, refs = r:fetch_most(address, most), {}
  for at = 0, most - 1, step do
    refs[#refs + 1] = r:fetch_of(result, address + at, result - at, step)
  end
  if #refs == 1 then
    return function(r_) return r_:data(refs[1]) or "" end
  end
  return function(r_)
    local parts = {}
    for i, ref in ipairs(refs) do parts[i] = r_:data(ref) or "" end
    return table.concat(parts)
  end
end

-- ---- at once ----

local VAIN_MOST = 15

--- Whether it is worth while to ask for what is there at once. Where there hardly ever was anything, that is asked now and then only; unless
--- so many wait in the process already that each waits at some cost.
local function hopes(self, process_)
  if not direct.can(process_) then return false end
  local state = self.state
  local skip = state.skip or 0
  if skip == 0 or requests.room(process_) < 2 then return true end
  state.skip = skip - 1
  return false
end

--- What `f(fd, process, ...)` of direct.lua gives; nil: nothing at once.
local function at_once(f, self, call, ...)
  local process_ = fds.process_of(self)
  fds.near(self, process_, call)
  if not hopes(self, process_) then return nil end
  local result = f(self, process_, ...)
  local state = self.state
  state.vain = result == nil and math.min(2 * (state.vain or 0) + 1, VAIN_MOST) or 0
  state.skip = state.vain
  return result
end

-- ---- reading ----

local function fetched(r, ref) return r:data(ref.fetched) or "" end

--- What a call that has read gives: its bytes. No closure where they come in one piece.
local function bring(r, address, length, ref)
  if length == 0 or r:fetch_most(address, length) < length then return io.fetch_result(r, address, length, ref), ref end
  ref.fetched = r:fetch_of(ref, address, ref, length)
  return fetched, ref
end

--- The pointer form: the call as it is; the part that was filled, and the rest.
local function read_pointer(r, call, fd, ptr, ...)
  r:block()
  local ref = r:call(call, { flush = true }, fds.near(fd, r.process, call), ptr:near(r.process, r), ptr.size, ...)
  return function(r_) return pointer.parts(ptr, r_:result(ref)) end, ref
end

local function read_call(r, fd, number, address, length)
  local C = r.sys.C
  if rawget(fd, "kind") == "socket" then
    return r:call("recvfrom", { as = "read" }, number, address, length, C.MSG_DONTWAIT, 0, 0)
  end
  return r:call("read", nil, number, address, length)
end

local function never_waits(fd) return type(fd) == "table" and (rawget(fd, "kind") == "file" or rawget(fd, "kind") == "directory") end

local function read_length(call, length)
  length = length or DEFAULT_READ
  check_length(call, length)
  return math.min(length, READ_MOST)
end

local AS_READ = { as = "read" }

local function record_read(r, fd, length)
  if pointer.is(length) then return read_pointer(r, "read", fd, length) end
  length = read_length("read", length)
  local number = fds.near(fd, r.process, "read")
  local address = r:scratch(math.max(length, 1))
  if not never_waits(fd) then r:hold(number, POLLIN, AS_READ) end
  local ref = read_call(r, type(fd) == "table" and fd or {}, number, address, length)
  return bring(r, address, length, ref)
end

--- What comes of a call that may find, after all, nothing there: nil then.
local function attempt(f, self, ...)
  local process_ = fds.process_of(self)
  local r = requests.record(process_)
  r.args = { n = select("#", ...) + 1, self, ... }
  r:pin(self)
  local finish, ref = r:by(f, self, ...)
  r:start()
  r:wait()
  local result = r:result(ref)
  if result == -process_.machine.sys.C.EAGAIN and not pointer.is((...)) then return false end
  if self.state.closed and not r.fate then
    error(errors.new(process_, r.names[r.count], r.args, "the fd was closed meanwhile", { name = "EBADF" }), 0)
  end
  r:check()
  return true, r:release(finish(r, ref))
end

--- The call that `f(r, fd, ...)` records, as often as it finds that there was nothing after all.
local function until_done(f, self, ...)
  while true do
    local done, first, second = attempt(f, self, ...)
    if done then
      if second ~= nil then return first, second end
      return first
    end
  end
end

io.until_done = until_done
io.attempt = attempt

--- fd:read(length): up to so many bytes (default 64 KiB, at most 1 MiB at once) as a string, as soon as there are some; "" at the end of the
--- file. The process isn't blocked meanwhile. See read(2).
--- fd:read(pointer): the system call read(2) into the pointer's memory; returns the part of it that was filled, and the rest.
fds.define("read", function(self, what)
  local length = not pointer.is(what) and read_length("read", what) or 0
  local data = length > 0 and at_once(direct.read, self, "read", length)
  if data then return data end
  return until_done(record_read, self, what)
end, record_read)

local function record_pread(r, fd, what, offset)
  if pointer.is(what) then return read_pointer(r, "pread64", fd, what, offset) end
  local length = read_length("pread", what)
  local address = r:scratch(math.max(length, 1))
  local ref = r:call("pread64", { as = "pread" }, fds.near(fd, r.process, "pread"), address, length, offset or 0)
  return bring(r, address, length, ref)
end

--- fd:pread(length, offset), fd:pread(pointer, offset): as read, from an offset in bytes; see pread(2).
fds.define("pread", function(self, what, offset)
  local length = not pointer.is(what) and read_length("pread", what) or 0
  local data = length > 0 and at_once(direct.pread, self, "pread", length, offset or 0)
  if data then return data end
  return until_done(record_pread, self, what, offset)
end, record_pread)

-- ---- writing ----

local function write_pointer(r, call, fd, ptr, ...)
  r:block()
  local ref = r:call(call, { flush = true }, fds.near(fd, r.process, call), ptr:near(r.process, r), ptr.size, ...)
  return function(r_) return pointer.parts(ptr, r_:result(ref)) end, ref
end

local function check_data(call, data)
  if type(data) == "number" then return tostring(data) end
  if type(data) ~= "string" then error(("%s: a string or a pointer was expected, not %s"):format(call, type(data)), 0) end
  return data
end

local function record_write(r, fd, data)
  if pointer.is(data) then return write_pointer(r, "write", fd, data) end
  data = check_data("write", data)
  local number = fds.near(fd, r.process, "write")
  local ref = r:call("write", { expect_arg = 3 }, number, r:bytes(data), #data)
  return requests.number, ref
end

--- One chain's worth from `at` on; returns the requests and how many bytes each is to write.
local function record_part(r, self, data, at)
  local C = r.sys.C
  if never_waits(self) then
    local part = data:sub(at + 1, at + WRITE_MOST)
    return { r:call("write", nil, self.number, r:bytes(part), #part) }
  end
  if self.kind == "socket" then
    local part = data:sub(at + 1, at + WRITE_MOST)
    r:hold(self.number, POLLOUT, { as = "write" })
    return { r:call("sendto", { as = "write" }, self.number, r:bytes(part), #part, C.MSG_DONTWAIT + C.MSG_NOSIGNAL, 0, 0) }
  end
  local refs, address = {}, r:bytes(data:sub(at + 1, at + PIPE_PART * PIPE_PARTS))
  local parts = math.max(1, math.min(PIPE_PARTS, math.floor(requests.room(r.process) / 2)))
  for i = 0, parts - 1 do
    local length = math.min(PIPE_PART, #data - at - i * PIPE_PART)
    if length <= 0 then break end
    r:hold(self.number, POLLOUT, { as = "write" })
    refs[#refs + 1] = r:call("write", { expect_arg = 3 }, self.number, address + i * PIPE_PART, length)
  end
  return refs
end

local function written(r, refs)
  local total = 0
  for _, ref in ipairs(refs) do
    local result = r:result(ref)
    if result and result > 0 then total = total + result end
  end
  return total
end

local function write_part(self, data, at)
  local process_ = fds.process_of(self)
  local r = requests.record(process_)
  r.args = { n = 2, self, data }
  r:pin(self)
  fds.near(self, process_, "write")
  local refs = record_part(r, self, data, at)
  r:start()
  r:wait()
  local total = written(r, refs)
  if total == 0 and r:result(refs[1]) ~= -process_.machine.sys.C.EAGAIN then
    if self.state.closed and not r.fate then
      error(errors.new(process_, "write", r.args, "the fd was closed meanwhile", { name = "EBADF" }), 0)
    end
    r:check()
  end
  return total
end

--- fd:write(string): all of it, waiting (without blocking the process) as long as that takes; returns its length. See write(2).
--- fd:write(pointer): the system call write(2) of the pointer's memory; returns the part of it that was written, and the rest.
fds.define("write", function(self, data)
  if pointer.is(data) then return until_done(record_write, self, data) end
  data = check_data("write", data)
  local at = #data > 0 and #data <= WRITE_MOST and at_once(direct.write, self, "write", data) or 0
  if at > 0 and at == #data then return at end
  repeat
    at = at + write_part(self, data, at)
    sched.check()
  until at >= #data
  return at
end, record_write)

local function record_pwrite(r, fd, data, offset)
  if pointer.is(data) then return write_pointer(r, "pwrite64", fd, data, offset) end
  data = check_data("pwrite", data)
  local ref = r:call("pwrite64", { as = "pwrite", expect_arg = 3 }, fds.near(fd, r.process, "pwrite"), r:bytes(data), #data, offset or 0)
  return function(r_) return r_:result(ref) end, ref
end

--- fd:pwrite(string, offset), fd:pwrite(pointer, offset): as write, at an offset in bytes; see pwrite(2). Strings of at most 1 MiB.
fds.define_recorded("pwrite", record_pwrite)

-- ---- closing ----

local function nothing() end

local ALWAYS, OF = { always = true, aside = true }, { aside = true }

--- Within a chain: performed whenever what it closes was opened, whatever else failed.
local function record_close(r, fd)
  local number = fds.near(fd, r.process, "close")
  local source = requests.source(number)
  OF.if_ok = source
  local ref = r:call("close", source and OF or ALWAYS, number)
  OF.if_ok = nil
  if getmetatable(fd) == fds.Fd then fds.forget(fd) end
  chain.forget(fd)
  return nothing, ref
end

--- fd:close(): closes it; see close(2). Closing a handle again does nothing. Who waits for it in another coroutine gets an error.
fds.define("close", function(self)
  if self.state.closed or self.state.borrowed then return end
  local process_ = fds.process_of(self)
  if not process_:is_alive() then return fds.forget(self) end
  fds.forget(self)
  self.table:end_holds(self.number)
  local r = requests.record(process_)
  r.args = { n = 1, self }
  r:call("close", nil, self.number)
  r:submit()
  r:wait()
  r:check()
end, record_close)

--- p:close(number): an fd that came from a raw call, as a number; through its handle where there is one.
process.define("close", function(self, fd)
  local number = fds.near(fd, self, "close")
  local handle = type(fd) == "table" and fd or self.table.handles[number]
  if handle then return handle:close() end
  self.table:end_holds(number)
  self:syscall("close", number)
end)

process.define("standard", function(self, name)
  local number = ({ stdin = 0, stdout = 1, stderr = 2 })[name]
  if not number then error(('standard: "stdin", "stdout" or "stderr" was expected, not %s'):format(tostring(name)), 2) end
  return fds.borrow(self, number)
end)

return io
