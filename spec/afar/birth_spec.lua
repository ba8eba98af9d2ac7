-- Children that are born at once, again and again: each is there, and answers.

local afar = require "afar"

describe("of a process on this machine", function()
  for what, flags in pairs { ["a copied table"] = 0, ["a shared table"] = "CLONE_FILES|CLONE_FS" } do
    it("many children with " .. what .. " answer their first requests", function()
      local p = afar.here:fork()
      for _ = 1, 100 do
        local kids = {}
        afar.nursery(function(n)
          for i = 1, 6 do
            n:spawn(function()
              kids[i] = p:clone(flags)
              assert.equal(kids[i].pid, kids[i]:getpid())
            end)
          end
        end)
        assert.equal(6, #kids)
        for _, kid in ipairs(kids) do kid:exit(0) end
      end
      p:exit()
    end)
  end
end)
