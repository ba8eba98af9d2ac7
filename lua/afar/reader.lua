--- Reading by lines, sizes and delimiters, through a buffer.

local ffi = require "ffi"
local attach = require "afar.attach"
local errors = require "afar.error"
local fds = require "afar.fd"
local pump = require "afar.pump"
local spawn = require "afar.spawn"

local READ_LEAST, READ_MOST = 64 * 1024, 1024 * 1024
local PIECE = 64 * 1024 -- of what was read ahead
local LIMIT = 64 * 1024 * 1024 -- of one line or part, unless the script says otherwise

---@class afar.Reader
---@field fd afar.Fd         read by nobody else: what is in the buffer is gone from it
---@field buffer string
---@field at integer         where in the buffer what wasn't taken yet begins
---@field ended boolean
---@field limit integer      bytes that one line or part may have
---@field here? table|false   an fd of the host's for the same open file, on this machine; false: none
---@field alone? boolean   that file is in memory alone, so that reading it never waits
---@field ahead? userdata     a channel by which the rest of a file on another machine comes, without being asked for piece by piece
local Reader = { __name = "reader" }
Reader.__index = Reader

local function read_ahead(self)
  local data, errno = pump.read(self.ahead, PIECE)
  if self.finish_ahead then self.finish_ahead() end
  self.finish_ahead = nil
  if data == "" then
    self.ahead:close()
    self.ahead = nil
    if errno ~= 0 then error(errors.errno(self.fd.process, "read", { n = 1, self.fd }, errno), 0) end
  end
  return data
end

--- An fd of the host's, closed when nobody holds it any more.
local function owned(number)
  local self = { number = number, guard = newproxy(true) }
  function self.close()
    if self.number then spawn.close(self.number) end
    self.number = nil
  end
  getmetatable(self.guard).__gc = self.close
  return self
end

--- A file longer than a piece: of another machine the rest shall come by itself; on this one the host reads it, from the same offset on, as long as it
--- need not wait for a disk. (Whose bytes are nobody else's meanwhile: what is no file may be read by others too.)
local function go_on(self, data)
  if self.fd.kind ~= "file" or #data < READ_LEAST then return end
  local p = fds.process_of(self.fd)
  if not p.machine.local_ then
    self.ahead, self.finish_ahead = attach.copy(p, self.fd, "r")
  elseif self.here == nil then
    local number = attach.to_host(p, self.fd)
    self.here = number and owned(number) or false
  end
end

local function read_more(self, least)
  if self.ahead then return read_ahead(self) end
  local data
  if self.here then
    data, self.alone = spawn.read_cached(self.here.number, PIECE, self.alone)
  end
  if data then return data end
  if data == false and self.here then
    self.here.close()
    self.here = false
  end
  data = self.fd:read(least)
  go_on(self, data)
  return data
end

--- Reads more behind what is there; false at the end.
local function fill(self)
  if self.ended then return false end
  local left = #self.buffer - self.at + 1
  local data = read_more(self, math.max(READ_LEAST, math.min(left, READ_MOST)))
  if data == "" then
    if self.here then self.here.close() end
    self.ended, self.here = true, false
    return false
  end
  self.buffer = left > 0 and self.buffer:sub(self.at) .. data or data
  self.at = 1
  return true
end

local function take(self, length)
  if self.at == 1 and length == #self.buffer then
    self.at = length + 1
    return self.buffer
  end
  local data = self.buffer:sub(self.at, self.at + length - 1)
  self.at = self.at + length
  return data
end

local function available(self) return #self.buffer - self.at + 1 end

local function fail(self, call, message, fields)
  error(errors.new(self.fd.process, call, { self.fd }, message, fields), 0)
end

--- Up to the delimiter, which is taken too but not returned; without one, up to the end.
---@param delimiter string  bytes
---@return string? data    nil at the end
---@return boolean? found  whether the delimiter came
function Reader:until_(delimiter)
  if type(delimiter) ~= "string" or delimiter == "" then error("until_: a delimiter was expected: a string of at least one byte", 2) end
  local searched = 0
  while true do
    local first, last = self.buffer:find(delimiter, self.at + searched, true)
    if first then
      local data = self.buffer:sub(self.at, first - 1)
      self.at = last + 1
      return data, true
    end
    local left = available(self)
    if left > self.limit then
      fail(self, "read", ("no %q within %d bytes"):format(delimiter, self.limit), { name = "limit" })
    end
    searched = math.max(0, left - #delimiter + 1)
    if not fill(self) then
      if left == 0 then return nil end
      return take(self, left), false
    end
  end
end

--- The next line without its newline; nil at the end. A last line may lack the newline.
---@return string?
function Reader:line() return (self:until_ "\n") end

--- So many bytes; nil at the end. Raises when the end comes before there are as many (err.name == "short", err.data has those).
---@param length integer bytes
---@return string?
function Reader:exactly(length)
  if type(length) ~= "number" or length < 0 or length % 1 ~= 0 then
    error(("exactly: a number of bytes was expected, not %s"):format(tostring(length)), 2)
  end
  local parts, got = {}, 0
  while got < length do
    if available(self) == 0 and not fill(self) then
      if got == 0 then return nil end
      local message = ("the end came after %d of %d bytes"):format(got, length)
      fail(self, "read", message, { name = "short", data = table.concat(parts) })
    end
    parts[#parts + 1] = take(self, math.min(available(self), length - got))
    got = got + #parts[#parts]
  end
  return table.concat(parts)
end

--- The next so many bytes, which stay to be read; fewer at the end.
---@param length integer bytes
---@return string
function Reader:peek(length)
  while available(self) < length and fill(self) do
  end
  return self.buffer:sub(self.at, self.at + length - 1)
end

--- The next structure: a name of afar.sys's structures ("inotify_event"), a C type ("uint32_t") or a ctype; nil at the end.
---@return ffi.cdata*|number|nil
function Reader:struct(what)
  local type_ = type(what) == "string" and (self.fd.process.machine.sys.ctype[what] or ffi.typeof(what)) or what
  local bytes = self:exactly(ffi.sizeof(type_))
  if not bytes then return nil end
  local value = ffi.new(type_)
  if tonumber(value) == nil then
    ffi.copy(value, bytes, #bytes)
    return value
  end
  local box = ffi.new(ffi.typeof("$[1]", type_))
  ffi.copy(box, bytes, #bytes)
  return box[0]
end

local function must(self, data, what)
  if data == nil then fail(self, "read", ("the end came where %s was expected"):format(what), { name = "short", data = "" }) end
  return data
end

--- The bytes whose number comes before them, as an unsigned integer of that type ("uint32_t"); nil at the end.
---@param type_ string
---@return string?
function Reader:sized(type_)
  local count = tonumber(self:struct(type_))
  if not count then return nil end
  if count > self.limit then fail(self, "read", ("%.0f bytes are announced; %d is the most"):format(count, self.limit), { name = "limit" }) end
  return must(self, count == 0 and "" or self:exactly(count), ("%.0f bytes"):format(count))
end

--- A netstring: "5:hello," is "hello"; nil at the end.
---@return string?
function Reader:netstring()
  local head = self:peek(11)
  if head == "" then return nil end
  local digits = head:match "^(%d+):"
  if not digits or tonumber(digits) > self.limit then fail(self, "read", ("%q begins no netstring"):format(head), { name = "format" }) end
  take(self, #digits + 1)
  local data = must(self, self:exactly(tonumber(digits)), "a netstring")
  if must(self, self:exactly(1), "the end of a netstring") ~= "," then
    fail(self, "read", "the comma behind a netstring is missing", { name = "format" })
  end
  return data
end

--- What is there, at least one byte, at most `most`; "" at the end.
---@param most? integer bytes
---@return string
function Reader:some(most)
  if available(self) == 0 and not fill(self) then return "" end
  return take(self, math.min(available(self), most or math.huge))
end

--- All up to the end.
---@return string
function Reader:all()
  local parts = { take(self, available(self)) }
  while fill(self) do
    parts[#parts + 1] = take(self, available(self))
  end
  return table.concat(parts)
end

--- for line in reader:lines() do ... end
function Reader:lines()
  return function() return self:line() end
end

--- Closes the fd.
function Reader:close()
  if self.finish_ahead then pcall(self.finish_ahead) end
  if self.ahead then self.ahead:close() end
  if self.here then self.here.close() end
  self.ahead, self.finish_ahead, self.here, self.ended = nil, nil, false, true
  self.fd:close()
end

function Reader:__tostring() return ("reader of %s"):format(tostring(self.fd)) end

--- fd:reader(options): reads the fd through a buffer: reader:line(), :exactly(n), :until_(delimiter), :some(), :all(), :lines(). Nobody else reads
--- the fd meanwhile; a file on another machine is read ahead, up to 8 MiB. options: limit = bytes that one line or part may have (default 64 MiB).
---@param options? { limit: integer }
---@return afar.Reader
fds.define("reader", function(self, options)
  return setmetatable({ fd = self, buffer = "", at = 1, ended = false, limit = options and options.limit or LIMIT }, Reader)
end)

--- fd:lines(): for line in fd:lines() do ... end; through a reader of its own.
fds.define("lines", function(self, options) return self:reader(options):lines() end)
