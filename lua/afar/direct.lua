--- Reading and writing without a chain: one request for the call, where the process is on this machine and the bytes are in memory
--- that it shares with the host. What would have to wait is left to who asked.

local ffi = require "ffi"

local errors = require "afar.error"
local requests = require "afar.requests"
local sched = require "afar.sched"

local native = ffi.C

local direct = {}

local POLLIN, POLLOUT = 1, 4
local PIPE_PART = 4096 -- what a pipe takes that poll(2) calls writable
local EAGAIN = 11

--- Whether bytes of that process can be read and written so.
---@param process afar.Process
function direct.can(process) return process.space.arena ~= nil and not requests.hook and process.task ~= nil end

local function raise(process, call, fd, what, offset, result, fate)
  local args = { n = offset and 3 or 2, fd, what, offset }
  if fate then error(errors.lost(process, call, args, fate), 0) end
  error(errors.errno(process, call, args, -result), 0)
end

--- Makes the call on memory of so many bytes that is there for it alone, filled by `bytes` if there are any. `events`: only if poll(2) reports
--- one of them. Returns its result, and what was read: the call reads if there are no bytes.
local function perform(process, events, fd, head, length, bytes, flags)
  sched.check_pending()
  local space, task = process.space, process.task
  local address = native.afar_heap_alloc(space.heap, length)
  if address == 0 then return nil end
  local place = native.afar_arena_at(space.arena, address, length)
  local result, id, data
  if place ~= nil then
    if bytes then ffi.copy(place, bytes, length) end
    if events then
      result, id = task:call_ready(sched.is_idle(), fd, events, head, fd, address, length, flags)
    else
      result, id = task:call(sched.is_idle(), head, fd, address, length, flags)
    end
  end
  local fate
  if id then result, fate = sched.wait(id) end
  if not bytes and not fate and result and result >= 0 then data = space.arena:string(address, math.min(result, length)) end
  native.afar_heap_free(space.heap, address, length)
  return result, data, fate
end

--- What came of it: nil if it has to be asked for again, in the way that waits.
local function answer(process, call, fd, what, offset, result, data, fate)
  if not result or result == -EAGAIN then return nil end
  if fate or result < 0 then raise(process, call, fd, what, offset, result, fate) end
  return data or result
end

--- The bytes that read(2) gives, if it has some at once ("": the end). Else nil.
---@param fd afar.Fd       of a pipe, socket, or file
---@param process afar.Process
---@param length integer
---@return string?
function direct.read(fd, process, length)
  local kind, nr, C = fd.kind, process.machine.sys.nr, process.machine.sys.C
  if kind == "socket" then
    return answer(process, "read", fd, length, nil, perform(process, nil, fd.number, nr.recvfrom, length, nil, C.MSG_DONTWAIT))
  elseif kind == "pipe" then
    return answer(process, "read", fd, length, nil, perform(process, POLLIN, fd.number, nr.read, length))
  elseif kind == "file" then
    return answer(process, "read", fd, length, nil, perform(process, nil, fd.number, nr.read, length))
  end
end

--- How many bytes write(2) has taken, if it takes some at once. Else nil.
---@param fd afar.Fd
---@param process afar.Process
---@param data string
---@return integer?
function direct.write(fd, process, data)
  local kind, nr, C = fd.kind, process.machine.sys.nr, process.machine.sys.C
  if kind == "socket" then
    local flags = C.MSG_DONTWAIT + C.MSG_NOSIGNAL
    return answer(process, "write", fd, data, nil, perform(process, nil, fd.number, nr.sendto, #data, data, flags))
  elseif kind == "pipe" then
    if #data > PIPE_PART then return nil end
    return answer(process, "write", fd, data, nil, perform(process, POLLOUT, fd.number, nr.write, #data, data))
  elseif kind == "file" then
    return answer(process, "write", fd, data, nil, perform(process, nil, fd.number, nr.write, #data, data))
  end
end

--- The same as pread(2): of files.
---@return string?
function direct.pread(fd, process, length, offset)
  if fd.kind ~= "file" then return nil end
  return answer(process, "pread", fd, length, offset, perform(process, nil, fd.number, process.machine.sys.nr.pread64, length, nil, offset))
end

return direct
