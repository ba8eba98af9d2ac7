-- The memory that is set aside for each process.

local afar = require "afar"
local blocks = require "afar.block"
local ffi = require "ffi"
local probe = require "spec.support.probe"

ffi.cdef "int mincore(void *, size_t, unsigned char *);"

local PAGE = 4096

--- How many pages of a child's memory were ever touched: it is shared with the host.
local function touched(kid)
  local size = blocks.STACK + kid.machine:block_size()
  local from = kid.space:in_place(kid.block - blocks.STACK, size)
  local pages = math.ceil(size / PAGE)
  local states = ffi.new("unsigned char[?]", pages)
  assert(ffi.C.mincore(from, pages * PAGE, states) == 0)
  local count = 0
  for i = 0, pages - 1 do count = count + states[i] % 2 end
  return count
end

describe("a child of the root here", function()
  it("that does nothing, and one that has done little, has touched one page", function()
    local kids = {}
    for i = 1, 40 do kids[i] = afar.here:fork() end -- what was others' before is touched already
    local fresh = kids[40]
    assert.is_true(probe.soon(function() return tonumber(probe.status(fresh.pid, "voluntary_ctxt_switches")) > 0 end))
    assert.equal(1, touched(fresh))
    fresh:getpid()
    fresh:chdir "/"
    assert.equal(1, touched(fresh))
    for _, kid in ipairs(kids) do kid:exit() end
  end)
end)
