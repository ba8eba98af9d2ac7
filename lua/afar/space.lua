--- An address space: the memory that the host has set aside in it. Shared by all processes that were cloned with CLONE_VM,
--- which is all of a machine's unless its kernel can't.

local ffi = require "ffi"
local heaps = require "afar.heap"

local native = ffi.C

ffi.cdef [[
char *afar_arena_at(void *arena, double address, double length);
double afar_heap_alloc(void *heap, double size);
void afar_heap_free(void *heap, double address, double size);
]]

---@class afar.Space
local Space = {}
Space.__index = Space
Space.__name = "address space"

local space = {}

local CHUNK = 4 * 1024 * 1024 -- mapped when more is needed

---@param machine table
---@param address number  of memory that may be used at once
---@param size number     bytes
function space.new(machine, address, size)
  local self = setmetatable({ machine = machine, heap = heaps.new(), name = machine.name }, Space)
  self.heap:add(address, size)
  self.regions = { { address, size } }
  return self
end

--- One of which nothing is known yet.
function space.unknown(machine) return setmetatable({ machine = machine, heap = heaps.new(), name = machine.name, regions = {} }, Space) end

--- The space of processes that share an arena with the host: what it holds is read and written in place.
---@param arena userdata  bindings/arena.c
function space.shared(machine, arena, address, size)
  local self = space.new(machine, address, size)
  self.arena = arena
  return self
end

--- Where the host has that memory: a char pointer. nil: not all of it lies in the arena.
function Space:in_place(address, length)
  local arena = self.arena
  if not arena or type(address) ~= "number" then return nil end
  local at = native.afar_arena_at(arena, address, length)
  if at ~= nil then return at end
end

function Space:__tostring() return ("address space of %s"):format(self.name) end

--- Memory of so many bytes, 16-aligned (page-aligned from 4096 bytes on). Maps more where none is left, which may wait.
---@param process table  a process in this space, which would map more; or its parent, where it has no carrier
---@param size number    bytes
---@return number address
function Space:alloc(process, size)
  local address = native.afar_heap_alloc(self.heap, size)
  if address > 0 then return address end
  local length = math.max(CHUNK, size + 4096 - size % 4096)
  local C = process.machine.sys.C
  local flags = C.MAP_PRIVATE + C.MAP_ANONYMOUS + C.MAP_NORESERVE
  local mapper = process.task and process or process.parent
  address = mapper:syscall("mmap", 0, length, C.PROT_READ + C.PROT_WRITE, flags, -1, 0)
  self.heap:add(address, length)
  local list = self.own or self.regions
  list[#list + 1] = { address, length }
  return native.afar_heap_alloc(self.heap, size)
end

--- The address of bytes that stay where they are, for all chains that need the same: where memory is shared with the host. Else nil.
---@param process table
---@param bytes string
---@return number?
function Space:constant(process, bytes)
  if not self.arena then return nil end
  self.constants = self.constants or {}
  local address = self.constants[bytes]
  if address then return address end
  address = self:alloc(process, #bytes)
  local here = self:in_place(address, #bytes)
  if not here then
    self:free(address, #bytes)
    return nil
  end
  ffi.copy(here, bytes, #bytes)
  self.constants[bytes] = address
  return address
end

--- Gives memory back; with the size that was asked for.
function Space:free(address, size) native.afar_heap_free(self.heap, address, size) end

return space
