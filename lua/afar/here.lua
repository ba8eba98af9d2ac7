--- The machine that the host runs on: its root is started at first use, from memory, and dies with the host.

local ffi = require "ffi"
local errors = require "afar.error"
local loop = require "afar.loop"
local machine = require "afar.machine"
local spawn = require "afar.spawn"
local streams = require "afar.stream"

local here = {}

local MACHINE = { x64 = "x86_64", arm64 = "aarch64" }
local root

local function fail(why) error(errors.new(nil, "afar.here", {}, why), 0) end

local function start()
  local image = require("afar.stubs")[MACHINE[ffi.arch]]
  if not image then fail("no stub for " .. ffi.arch) end
  local marker = spawn.random(16)
  local fd, pid = spawn.root(image, { "afar", marker, "3", "3" })
  if not fd then fail(pid) end
  local stream = streams.open(fd, fd, marker)
  while stream:state() == "noise" or stream:state() == "hello" do
    loop.wait(-1) -- not as a routine: afar.here may be looked up anywhere
  end
  if stream:state() ~= "open" then fail "its root could not be started (is executing from memory forbidden?)" end
  local self = machine.new(stream, nil, { local_ = true, host_pid = pid })
  self.name = "here"
  self.root.table.name = "the root here"
  return self.root
end

--- The root process of this machine.
---@return afar.Process
function here.root()
  if not root or not root:is_alive() then root = start() end
  return root
end

--- Its pid, or nil when it was not started: for who looks for what is left behind.
function here.pid() return root and rawget(root, "machine").host_pid end

return here
