--- The ways to reach a process: a spec that is written once is run over each of them.
---
---   ways.each(function(way)
---     it("works", function() assert.equal("x", way.root:run({ "echo", "-n", "x" }).stdout) end)
---   end)

local afar = require "afar"
local sshd = require "spec.support.sshd"

---@class spec.Way
---@field name string
---@field root afar.Process  while the specs of its block run
---@field emulated? boolean  qemu-user: what it refuses is named by way:needs()
local Way = {}
Way.__index = Way

local ways = {}

local server -- the sshd of the specs that run now, and by how many ways it is used
local users = 0

local function config()
  users = users + 1
  server = server or sshd.start(3)
  return server.config
end

local function leave_server()
  users = users - 1
  if users > 0 then return end
  server:stop()
  server = nil
end

local function disconnect(self) self.root:disconnect() end

local function disconnect_ssh(self)
  for _, root in ipairs { self.root, self.first } do
    root:disconnect()
  end
  leave_server()
end

local QEMU = { "qemu-aarch64-static", "build/stub-aarch64", afar.MARKER, "0", "1" }

local all = {
  {
    name = "here",
    open = function() return afar.here end,
    close = function() end,
  },
  {
    name = "over pipes",
    open = function() return afar.here:bootstrap { "sh", "-c", "cat 2>/dev/null | sh | cat", name = "piped" } end,
    close = disconnect,
  },
  {
    name = "over ssh",
    open = function() return afar.here:ssh("afar1", { config = config() }) end,
    close = disconnect_ssh,
  },
  {
    name = "over ssh through ssh",
    open = function(self)
      self.first = afar.here:ssh("afar1", { config = config() })
      return self.first:ssh("afar2", { config = server.config })
    end,
    close = disconnect_ssh,
  },
  {
    name = "under qemu-user",
    emulated = true,
    open = function()
      QEMU.name = "aarch64"
      return afar.here:bootstrap(QEMU)
    end,
    close = disconnect,
  },
}

--- Skips the spec that runs where an emulator has not what it needs.
---@param what string  what qemu-user refuses
function Way:needs(what)
  if self.emulated then self.env.pending("qemu-user has no " .. what) end
end

--- A process of the way, cloned, that ends with `f`, which is given it.
function Way:with_fork(f)
  local p = self.root:fork()
  local ok, err = pcall(f, p)
  if p:is_alive() then p:exit(0) end
  if not ok then error(err, 0) end
end

--- The way of that name, not opened.
---@return spec.Way
function ways.get(name)
  for _, way in ipairs(all) do
    if way.name == name then return setmetatable(way, Way) end
  end
  error("no way " .. name, 2)
end

--- Describes what `f(way)` says, for one way, which is open while its specs run.
---@param way spec.Way
function ways.over(way, f)
  local env = getfenv(f) -- busted gives its words to the spec's file alone
  way.env = env
  env.describe(way.name, function()
    env.setup(function() way.root = way:open() end)
    env.teardown(function()
      way:close()
      way.root, way.first = nil, nil
    end)
    f(way)
  end)
end

--- Describes what `f(way)` says, for each way, which is open while its specs run.
---@param f fun(way: spec.Way)
function ways.each(f)
  for _, way in ipairs(all) do
    ways.over(setmetatable(way, Way), f)
  end
end

return ways
