-- Whether each behaviour of spec/behaviours.lua has the spec that it names.

local rows = require "spec.behaviours"

--- The lines of a spec that begin an `it`.
local function tests(name)
  local file = io.open(("spec/%s_spec.lua"):format(name))
  if not file then return nil end
  local list = {}
  for line in file:lines() do
    if line:find "^%s*it%(" or line:find "[ (]it%(" then list[#list + 1] = line end
  end
  file:close()
  return list
end

local function has(list, part)
  for _, line in ipairs(list) do
    if line:find(part, 1, true) then return true end
  end
  return false
end

local function trim(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

describe("behaviours", function()
  local seen, count = {}, 0

  for line in rows:gmatch "[^\n]+" do
    local id, what, specs = line:match "^(%u+%-F?%d%d) | (.-) | (.+)$"
    it((id or line) .. " is asked for where it is said to be", function()
      assert(id, "no row: " .. line)
      assert.is_nil(seen[id])
      assert.is_true(#what > 5)
      seen[id], count = true, count + 1
      for spec in specs:gmatch "[^;]+" do
        local name, part = trim(spec):match "^([%w_/]+): (.+)$"
        assert(name, "no spec: " .. spec)
        local list = assert(tests(name), "there is no spec/" .. name .. "_spec.lua")
        assert(has(list, part), ("spec/%s_spec.lua has no it %q"):format(name, part))
      end
    end)
  end

  it("are many", function() assert.is_true(count > 150) end)
end)
