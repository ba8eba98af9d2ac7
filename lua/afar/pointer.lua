--- Pointers: memory of a process, typed, sized, owned, and freed when the last one to it is collected.

local ffi = require "ffi"
local requests = require "afar.requests"
local errors = require "afar.error"
local nearest = require "afar.nearest"

---@class afar.Pointer
---@field address number
---@field size number     bytes
---@field type? ctype     of what is there
---@field process afar.Process
local Pointer = { __name = "pointer" }
Pointer.__index = Pointer

local pointer = { Pointer = Pointer }

--- An allocation: freed when the last pointer into it has gone and no request refers to it.
local function own(process, address, size)
  local allocation = { address = address, size = size, space = process.space, freed = false }
  local space = process.space
  local sentinel = newproxy(true)
  local state = { freed = false }
  getmetatable(sentinel).__gc = function()
    if not state.freed then
      state.freed = true
      space:free(address, size)
    end
  end
  allocation.sentinel, allocation.state = sentinel, state
  return allocation
end

local function new(process, allocation, address, size, type_)
  return setmetatable(
    { process = process, allocation = allocation, address = address, size = size, type = type_, consumed = false },
    Pointer
  )
end

local function live(self, call)
  if self.allocation.state.freed then
    error(errors.new(self.process, call, { self }, "the memory was freed before"), 0)
  end
  if self.consumed then
    error(errors.new(self.process, call, { self }, "this pointer was split, merged or moved; use what that gave"), 0)
  end
  return self
end

function Pointer:__tostring()
  return ("pointer to %d bytes at 0x%x of %s"):format(self.size, self.address, tostring(self.process))
end

--- Its address as an argument of a system call of `process`, which must have the same address space.
Pointer.near = function(self, process, recorder)
  live(self, "pointer")
  if process.space ~= self.process.space then
    error(errors.new(process, "pointer", { self }, "it belongs to another address space"), 0)
  end
  if recorder then recorder:pin(self.allocation) end
  return self.address
end

--- Numbers are passed by value: a box gives them an address.
local function is_number(value) return type(value) == "cdata" and tonumber(value) ~= nil end

local function bytes_of(value)
  local size = ffi.sizeof(value)
  if is_number(value) then value = ffi.new(ffi.typeof("$[1]", ffi.typeof(value)), value) end
  return ffi.string(ffi.cast("const char *", ffi.cast("const void *", value)), size)
end

local function ctype(process, type_)
  if type(type_) ~= "string" then return type_ end
  local of_kernel = process.machine.sys.ctype
  if of_kernel[type_] then return of_kernel[type_] end
  local ok, found = pcall(ffi.typeof, type_)
  if ok then return found end
  local near = nearest(type_, of_kernel)
  error(("there is no type %q%s: %s"):format(type_, near and (" (did you mean %q?)"):format(near) or "", found), 0)
end

--- p:malloc(size_or_type[, count]): memory for so many bytes, or for `count` (1) of a type: a name of afar.sys's structures
--- ("stat"), a C type ("int32_t"), or a ctype. Its content is undefined.
function pointer.malloc(process, what, count)
  local type_, size
  if type(what) == "number" then
    size = what
  elseif what == nil then
    error("malloc: a size or a type was expected", 2)
  else
    type_ = ctype(process, what)
    size = ffi.sizeof(type_) * (count or 1)
    if count then type_ = ffi.typeof(("$[%d]"):format(count), type_) end
  end
  if size < 1 or size % 1 ~= 0 then error(("malloc: %s is no size in bytes"):format(tostring(size)), 2) end
  local address = process.space:alloc(process, size)
  return new(process, own(process, address, size), address, size, type_ and ffi.sizeof(type_) and type_ or nil)
end

--- p:ptr(value[, type]): memory with that content: a string (as it is, without a NUL), or a cdata; or a table to initialise `type`.
function pointer.ptr(process, value, type_)
  local bytes
  if type_ then
    type_ = ctype(process, type_)
    value = ffi.new(type_, value)
  end
  if type(value) == "cdata" then
    type_ = type_ or ffi.typeof(value)
    bytes = bytes_of(value)
  elseif type(value) == "string" then
    bytes = value
  else
    error(("ptr: a string or a cdata was expected, not %s"):format(type(value)), 2)
  end
  local size = math.max(#bytes, 1)
  local address = process.space:alloc(process, size)
  local self = new(process, own(process, address, size), address, #bytes, type_)
  self:write(bytes)
  return self
end

--- Reads what it points to: a cdata of its type (a number, where that holds it exactly), else a string of `length` bytes (default: all).
---@param length? integer bytes
function Pointer:read(length)
  live(self, "read")
  local bytes = self:bytes(0, length)
  if self.type and not length then
    local value = ffi.new(self.type)
    if is_number(value) then
      local box = ffi.new(ffi.typeof("$[1]", self.type))
      ffi.copy(box, bytes, #bytes)
      return box[0]
    end
    ffi.copy(value, bytes, #bytes)
    return value
  end
  return bytes
end

--- So many bytes from `offset` on, as a string.
function Pointer:bytes(offset, length)
  live(self, "read")
  length = length or self.size - offset
  if offset < 0 or length < 0 or offset + length > self.size then
    error(errors.new(self.process, "read", { self, offset, length }, "beyond the memory's end"), 0)
  end
  local process = self.process
  local here = process.space:in_place(self.address + offset, length)
  if here then return ffi.string(here, length) end
  local r = requests.record(process)
  r:pin(self.allocation)
  local step, refs = process.machine.read_max, {}
  for at = 0, length - 1, step do
    refs[#refs + 1] = r:fetch(self.address + offset + at, math.min(step, length - at))
  end
  if length == 0 then return "" end
  r:run()
  for i, ref in ipairs(refs) do
    refs[i] = r:data(ref)
  end
  return table.concat(refs)
end

--- Writes a string or a cdata at `offset` (default 0) bytes.
---@param value string|ffi.cdata*
function Pointer:write(value, offset)
  live(self, "write")
  offset = offset or 0
  local bytes = value
  if (type(value) == "table" or type(value) == "number") and self.type then value = ffi.new(self.type, value) end
  if type(value) == "cdata" then
    bytes = bytes_of(value)
  elseif type(value) ~= "string" then
    error(("write: a string or a cdata was expected, not %s"):format(type(value)), 2)
  end
  if offset < 0 or offset + #bytes > self.size then
    error(errors.new(self.process, "write", { self }, ("%d bytes don't fit into %d"):format(offset + #bytes, self.size)), 0)
  end
  if #bytes == 0 then return self end
  local here = self.process.space:in_place(self.address + offset, #bytes)
  if here then
    ffi.copy(here, bytes, #bytes)
    return self
  end
  local r = requests.record(self.process)
  r:pin(self.allocation)
  r:write(self.address + offset, bytes)
  r:run()
  return self
end

--- Two adjacent pointers: the first `size` bytes, and the rest. This one is used up.
---@param size integer bytes
---@return afar.Pointer, afar.Pointer
function Pointer:split(size)
  live(self, "split")
  if size < 0 or size > self.size then
    error(errors.new(self.process, "split", { self, size }, "beyond the memory's end"), 0)
  end
  self.consumed = true
  return new(self.process, self.allocation, self.address, size),
    new(self.process, self.allocation, self.address + size, self.size - size)
end

--- The pointer to both this and the one right behind it, which came from one split. Both are used up.
function Pointer:merge(other)
  live(self, "merge")
  live(other, "merge")
  if other.allocation ~= self.allocation or self.address + self.size ~= other.address then
    error(errors.new(self.process, "merge", { self, other }, "only neighbours of the same memory can be merged"), 0)
  end
  self.consumed, other.consumed = true, true
  return new(self.process, self.allocation, self.address, self.size + other.size)
end

Pointer.__add = function(a, b) return a:merge(b) end

--- The same memory, as another type. This pointer stays valid.
function Pointer:cast(type_)
  live(self, "cast")
  type_ = ctype(self.process, type_)
  if ffi.sizeof(type_) > self.size then
    error(errors.new(self.process, "cast", { self }, "the type is larger than the memory"), 0)
  end
  return new(self.process, self.allocation, self.address, self.size, type_)
end

--- Frees the memory now. Any further use of a pointer into it is an error; freeing again is not.
function Pointer:free()
  local state = self.allocation.state
  if state.freed then return end
  state.freed = true
  self.process.space:free(self.allocation.address, self.allocation.size)
end

--- The first `count` bytes and the rest, without using this one up: what pointer calls give.
function pointer.parts(self, count)
  return new(self.process, self.allocation, self.address, count),
    new(self.process, self.allocation, self.address + count, self.size - count)
end

function pointer.is(value) return getmetatable(value) == Pointer end

return pointer
