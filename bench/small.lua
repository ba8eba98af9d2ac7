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
    local function row(id, name, base, ours)
      local function fresh() assert(os.execute("rm -rf " .. target) == 0) end
      measure.row {
        id = id, name = ("%d files of 2 KB %s, round trip 50 ms"):format(FILES, name), unit = "s", goal = 1.3, rounds = ROUNDS,
        base = function()
          fresh()
          local seconds = far:transfer(base)
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
    row("small-to", "to there", ("tar c -C %s . | SSH 'mkdir %s && tar x -C %s'"):format(source, target, target), function()
      afar.here:copy_tree(source, root, target)
    end)
    row("small-from", "from there", ("mkdir %s && SSH 'tar c -C %s .' | tar x -C %s"):format(target, source, target), function()
      root:copy_tree(source, afar.here, target)
    end)
    root:disconnect()
  end)
end
