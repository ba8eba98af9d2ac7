--- Copying a file from one process to another, wherever the two are.

local attach = require "afar.attach"
local content = require "afar.content"
local errors = require "afar.error"
local fds = require "afar.fd"
local nursery = require "afar.nursery"
local paths = require "afar.path"
local process = require "afar.process"
local progress = require "afar.progress"
local pump = require "afar.pump"
local spawn = require "afar.spawn"

local copy = {}

local PART = 4 * 1024 * 1024 -- after which the progress is told

local function check_errno(errno, p, call, path)
  if errno and errno ~= 0 then error(errors.errno(p, call, { n = 1, path }, errno), 0) end
end

--- Moves all bytes by `step`, which moves up to so many; `tell(done)` after each part. Returns how many there were.
local function move(step, tell)
  local done = 0
  while true do
    local moved = step(PART)
    done = done + moved
    tell(done)
    if moved < PART then return done end
  end
end

--- The errno at the end of a channel that was read; 0: it has just ended.
local function read_error(from)
  local data, errno = from:read()
  return data == false and errno or 0
end

--- The end of the channel that writes: the errno, when a write failed.
local function write_error(to)
  local data, errno = to:read()
  return data == false and errno or nil
end

--- Once this has returned, all that was sent on channels is written. Requests on the channels' own stream come behind it anyway; those of a
--- process with a carrier of its own don't, but an answer of the root does.
local function behind_all(p)
  if not p.is_root and not p.channel then p.machine.root:getpid() end
end

--- The same by requests: where the script serves a filesystem of that machine (p:fuse), nothing of it may come to the root or the host, which would
--- wait in the kernel for what only they can answer.
local function by_requests(source, fd, tell)
  local done = 0
  while true do
    local data = source:read(PART)
    if data == "" then return done end
    done = done + fd:write(data)
    tell(done)
  end
end

-- Between here and another machine the host has one end of a pipe, and a process here moves the bytes between that and the file: so they pass through
-- nobody else, and what waits for a disk is not the host. Between two other machines they pass from one channel to the other.

local function is_here(p) return p.machine.local_ and not rawget(p, "session") and not p.machine.plain_clone end

--- Runs `work()`, which is to end soon after `worker()` has, and both when one has failed; closes the host's end of their pipe in between.
local function beside(worker, work, host_end)
  local result
  local ok, err = pcall(nursery.nursery, function(n)
    n:spawn(worker)
    result = work()
    spawn.close(host_end)
    host_end = nil
  end)
  if host_end then spawn.close(host_end) end
  if not ok then error(err, 0) end
  return result
end

--- What went wrong with the file itself is told as if it had been read or written at once.
local function as_call(name, f, ...)
  local ok, err = pcall(f, ...)
  if ok then return end
  if errors.is(err) and err.call == "copy_bytes" then err.call, err.args = name, { n = 0 } end
  error(err, 0)
end

--- From another machine into a file here.
local function bring(source, fd, tell)
  local to_process = fds.process_of(fd)
  local pipe, mine = attach.pipe(to_process, "r")
  local ok, from, finish = pcall(attach.copy, fds.process_of(source), source, "r")
  if not ok then
    spawn.close(mine)
    pipe:close()
    error(from, 0)
  end
  local fine, done = pcall(beside, function()
    as_call("write", to_process.copy_bytes, to_process, pipe, fd)
  end, function()
    return move(function(most) return pump.out(from, mine, most) end, tell)
  end, mine)
  local attached, err = pcall(finish)
  local errno = fine and read_error(from)
  from:close()
  pipe:close()
  if not (fine and attached) then error(attached and done or err, 0) end
  return done, errno
end

--- From a file here to another machine's.
local function take(source, to, tell)
  local from_process = fds.process_of(source)
  local pipe, mine = attach.pipe(from_process, "w")
  local ok, done = pcall(beside, function()
    as_call("read", from_process.copy_bytes, from_process, source, pipe)
    pipe:close()
  end, function()
    return move(function(most) return pump.into(mine, to, most) end, tell)
  end, mine)
  if not pipe.state.closed then pipe:close() end
  if not ok then error(done, 0) end
  return done, 0
end

--- From any file to any other, by the host.
local function carry(source, to, tell)
  local from, finish = attach.copy(fds.process_of(source), source, "r")
  local ok, done = pcall(move, function(most) return pump.move(from, to, most) end, tell)
  local attached, err = pcall(finish)
  local errno = ok and read_error(from)
  from:close()
  if not (ok and attached) then error(attached and done or err, 0) end
  return done, errno
end

--- Sends it by a channel, and sees that it was all written.
local function send(source, fd, tell)
  local from_process, to_process = fds.process_of(source), fds.process_of(fd)
  local to, finish = attach.copy(to_process, fd, "w")
  local by = is_here(from_process) and not is_here(to_process) and take or carry
  local ok, done, errno = pcall(by, source, to, tell)
  local attached, err = pcall(finish)
  if not (ok and attached) then
    to:close()
    error(attached and done or err, 0)
  end
  to:eof()
  behind_all(to_process)
  local failed = write_error(to)
  to:close()
  check_errno(failed, to_process, "write")
  return done, errno
end

--- Writes what comes from `source` into `fd`, a file that is open for writing where its bytes shall begin, and sees that all of it arrived.
---@param source afar.Fd
---@param fd afar.Fd
---@param tell fun(done: integer)
---@param before? integer  the offset at which `fd` stands, where it is known
---@return integer bytes
function copy.bytes(source, fd, tell, before)
  local from_process, to_process = fds.process_of(source), fds.process_of(fd)
  if from_process.machine.served or to_process.machine.served then return by_requests(source, fd, tell) end
  before = before or fd:lseek(0, "SEEK_CUR")
  local bring_it = is_here(to_process) and not is_here(from_process)
  local done, errno = (bring_it and bring or send)(source, fd, tell)
  local at = fd:lseek(0, "SEEK_CUR")
  check_errno(errno, from_process, "read")
  if at - before ~= done then
    error(errors.new(to_process, "write", { fd }, ("only %d of %d bytes arrived"):format(at - before, done)), 0)
  end
  return done
end

local function teller(options, what, size)
  if type(options.progress) == "function" then
    return function(done) options.progress(done, size) end, function() end
  end
  local line = progress.start(what, size)
  if options.progress == false then line.on = false end
  return function(done) line:at(done) end, function() line:stop() end
end

--- p:copy_to(path, other, other_path, options): a file of this process's is copied to where `other` is, atomically and keeping what is there as write_file
--- does; a new one gets the permissions of the original. options: mode, sync as of write_file; progress = function(done, total) in bytes, or false; by
--- default a line on the terminal, if it takes a while. Returns how many bytes there were.
---@param path string
---@param other afar.Process
---@param other_path? string  default: the same path; a directory's name with a "/" at its end: into it
---@param options? table
---@return integer
process.define("copy_to", function(self, path, other, other_path, options)
  options = options or {}
  if getmetatable(other) ~= process.Process then error("copy_to: the second argument is a process", 2) end
  other_path = other_path or path
  if other_path:sub(-1) == "/" then other_path = other_path .. paths.basename(path) end
  local source, stat = self:chain(function(c)
    local fd = c:open(path)
    return fd, fd:fstat()
  end)
  if stat.type ~= "file" then
    fds.drop(source)
    error(errors.new(self, "copy_to", { path }, ("it is a %s, not a file"):format(stat.type)), 0)
  end
  local done
  local tell, stop = teller(options, path, stat.st_size)
  local fine, err = pcall(content.fill, other, other_path, function(fd)
    done = copy.bytes(source, fd, tell, fd.kind == "file" and 0 or nil)
  end, stat.st_mode % 4096, options)
  stop()
  fds.drop(source)
  if not fine then error(err, 0) end
  return done
end)

return copy
