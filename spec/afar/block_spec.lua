-- The memory that is set aside for each process.

local afar = require "afar"
local other = require "spec.support.other_host"
local probe = require "spec.support.probe"

describe("a child of the root here", function()
  it("that does nothing, and one that has done little, has touched one page", function()
    local said = other.run([[ -- where no memory was touched before
      local afar, blocks, ffi = require "afar", require "afar.block", require "ffi"
      ffi.cdef "int mincore(void *, size_t, unsigned char *);"
      local PAGE = 4096
      local function touched(kid)
        local size = blocks.STACK + kid.machine:block_size()
        local from = kid.space:in_place(kid.child.state.block - blocks.STACK, size) -- shared with the host
        local pages = math.ceil(size / PAGE)
        local states, count = ffi.new("unsigned char[?]", pages), 0
        assert(ffi.C.mincore(from, pages * PAGE, states) == 0)
        for i = 0, pages - 1 do count = count + states[i] % 2 end
        return count
      end
      afar.here:fork()
      local kid = afar.here:fork()
      local path, waits = ("/proc/%d/status"):format(kid.child.pid), 0
      while waits == 0 do waits = tonumber(afar.here:read_file(path):match "\nvoluntary_ctxt_switches:%s*(%d+)") end
      io.write(touched(kid))
      kid:getpid()
      kid:chdir "/"
      print(touched(kid))
    ]])
    assert.equal("11", said)
  end)

  it("takes little of the host's own memory", function()
    local kids, count = {}, 500
    collectgarbage()
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, count do kids[i] = afar.here:fork() end
    collectgarbage()
    collectgarbage()
    local each = (collectgarbage "count" - before) / count * 1024
    for _, kid in ipairs(kids) do kid:exit() end
    assert.is_true(each < 1400, each)
  end)

  it("that has become a program keeps nothing of what it was", function()
    local inert = setmetatable({}, { __mode = "v" })
    local function start()
      inert[1] = afar.here:fork()
      return inert[1]:exec { "sleep", "100" }
    end
    local child = start()
    local is_kept = not probe.soon(function()
      collectgarbage()
      return inert[1] == nil
    end, 2)
    child:kill()
    child:wait()
    assert.is_false(is_kept)
  end)
end)
