--- Temporary directories, which clean up after themselves.

local errors = require "afar.error"
local nursery = require "afar.nursery"
local process = require "afar.process"
local spawn = require "afar.spawn"

local TRIES = 100

--- p:mkdtemp(template): makes a new directory for us alone (0700), and returns its path; see mkdtemp(3). template: ends in "XXXXXX" (or more), which random
--- letters replace; default: "afar-XXXXXXXX" in $TMPDIR, or /tmp.
---@param template? string
---@return string
process.define("mkdtemp", function(self, template)
  template = template or (self.environ.TMPDIR or "/tmp") .. "/afar-XXXXXXXX"
  local stem, xs = tostring(template):match "^(.-)(XXXXXX+)$"
  if not stem then error(("mkdtemp: the template must end in XXXXXX: %q"):format(tostring(template)), 2) end
  for _ = 1, TRIES do
    local path = stem .. spawn.random(#xs):sub(1, #xs)
    local ok, err = pcall(self.mkdir, self, path, 448)
    if ok then return path end
    if not errors.is(err, "EEXIST") then error(err, 0) end
  end
  error(errors.new(self, "mkdtemp", { template }, "no name is free", { name = "EEXIST" }), 0)
end)

--- p:with_tempdir(f, template): calls f(path) with a new directory, which is removed with all that is in it when f ends, however it ends.
--- Returns what f returns.
---@generic T
---@param f fun(path: string): T
---@param template? string as of mkdtemp
---@return T
process.define("with_tempdir", function(self, f, template)
  if type(f) ~= "function" then error(("with_tempdir: a function was expected, not %s"):format(type(f)), 2) end
  local path = self:mkdtemp(template)
  return nursery.nursery(function(n)
    n:defer(function()
      if self:is_alive() then self:remove_tree(path, { missing_ok = true, force = true }) end
    end)
    return f(path)
  end)
end)
