--- Copying a file from one process to another, wherever the two are.

local attach = require "afar.attach"
local content = require "afar.content"
local errors = require "afar.error"
local fds = require "afar.fd"
local paths = require "afar.path"
local process = require "afar.process"
local progress = require "afar.progress"
local pump = require "afar.pump"

local copy = {}

local PART = 4 * 1024 * 1024 -- after which the progress is told

local function check_errno(errno, p, call, path)
  if errno and errno ~= 0 then error(errors.errno(p, call, { n = 1, path }, errno), 0) end
end

--- Moves all bytes from one channel into another; `tell(done)` after each part.
local function move(from, to, tell)
  local done = 0
  while true do
    local moved = pump.move(from, to, PART)
    done = done + moved
    tell(done)
    if moved < PART then
      local data, errno = from:read()
      return done, data == false and errno or 0
    end
  end
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

--- Writes what comes from `source` (a handle, used up) into `fd`, a file that is open for writing, and sees that all of it arrived.
---@param source afar.Fd
---@param fd afar.Fd
---@param tell fun(done: integer)
---@return integer bytes
function copy.bytes(source, fd, tell)
  local from_process, to_process = fds.process_of(source), fds.process_of(fd)
  local before = fd:lseek(0, "SEEK_CUR")
  local from = attach.channel(from_process, source, "r")
  local opened, to = pcall(attach.channel, to_process, fd:dup(), "w")
  if not opened then
    from:close()
    error(to, 0)
  end
  local ok, done, errno = pcall(move, from, to, tell)
  from:close()
  if not ok then
    to:close()
    error(done, 0)
  end
  to:eof()
  behind_all(to_process)
  local at = fd:lseek(0, "SEEK_CUR")
  local failed = write_error(to)
  to:close()
  check_errno(errno, from_process, "read")
  check_errno(failed, to_process, "write")
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
  local source = self:open(path)
  local ok, stat = pcall(source.fstat, source)
  if not ok or stat.type ~= "file" then
    source:close()
    error(ok and errors.new(self, "copy_to", { path }, ("it is a %s, not a file"):format(stat.type)) or stat, 0)
  end
  local done
  local tell, stop = teller(options, path, stat.st_size)
  local fine, err = pcall(content.fill, other, other_path, function(fd)
    done = copy.bytes(source:dup(), fd, tell)
  end, stat.st_mode % 4096, options)
  stop()
  source:close()
  if not fine then error(err, 0) end
  return done
end)

return copy
