--- Many small files to another directory over ssh, with a round trip of 50 ms: copy_tree, beside tar on the same relay.

local afar = require "afar"
local far_side = require "far_side"
local measure = require "measure"

local FILES, SIZE, PER_DIRECTORY = measure.size(30, 10000, 10000), 2048, 1000
local ROUNDS = measure.size(1, 2, 3)

local function make_tree(dir)
  assert(os.execute("mkdir " .. dir) == 0)
  for i = 0, FILES - 1 do
    local sub = ("%s/d%d"):format(dir, i / PER_DIRECTORY)
    if i % PER_DIRECTORY == 0 then assert(os.execute("mkdir " .. sub) == 0) end
    local file = assert(io.open(("%s/f%d"):format(sub, i), "w"))
    file:write(("%08d"):format(i):rep(SIZE / 8))
    file:close()
  end
end

local function same(a, b) assert(os.execute(("diff -r %s %s"):format(a, b)) == 0, "the copy is not what it was made from") end

return function()
  far_side.with(far_side.DELAY, function(far)
    local source, target = far.dir .. "/tree", far.dir .. "/copy"
    make_tree(source)
    local root = far:root()
    local function fresh() assert(os.execute("rm -rf " .. target) == 0) end
    local function row(id, name, base, ours)
      measure.row {
        id = id, name = ("%d files of 2 KB %s, 50 ms"):format(FILES, name), unit = "s", goal = 1.3, rounds = ROUNDS,
        base = function()
          fresh()
          local seconds = base()
          same(source, target)
          return seconds
        end,
        ours = function()
          fresh()
          local seconds = measure.seconds(ours)
          same(source, target)
          return seconds
        end,
      }
    end
    --- Once from nothing, login and all, as one would type it; once between two that are connected already.
    local function both(id, name, command, copy)
      row(id, name .. ", login and all", function() return far:shell(command) end, function()
        local new = far:root()
        copy(new)
        new:disconnect()
      end)
      row(id .. "-connected", name, function() return far:transfer(command) end, function() copy(root) end)
    end
    both("small-to", "to there", ("tar c -C %s . | SSH 'mkdir %s && tar x -C %s'"):format(source, target, target), function(there)
      afar.here:copy_tree(source, there, target)
    end)
    both("small-from", "from there", ("mkdir %s && SSH 'tar c -C %s .' | tar x -C %s"):format(target, source, target), function(there)
      there:copy_tree(source, afar.here, target)
    end)
    root:disconnect()
  end)
end
