--- The machine that the host runs on: its root is started at first use, from memory, and dies with the host.

local ffi = require "ffi"
local arenas = require "afar.arena"
local requests = require "afar.requests"
local errors = require "afar.error"
local facts = require "afar.hello"
local loop = require "afar.loop"
local machine = require "afar.machine"
local space = require "afar.space"
local spawn = require "afar.spawn"
local streams = require "afar.stream"

local here = {}

local ARENA_SIZE = 1024 * 1024 * 1024 -- of addresses: pages take memory once they are touched
local ARENA_FD = 4 -- where the root has it when it starts

local MACHINE = { x64 = "x86_64", arm64 = "aarch64" }
local root

local function fail(why) error(errors.new(nil, "afar.here", {}, why), 0) end

--- The root maps the memory that it shares with the host; from now on all that is allocated for its processes lies there.
local function share(root_, arena)
  local C = root_.machine.sys.C
  local r = requests.record(root_)
  local address = r:call("mmap", nil, 0, ARENA_SIZE, C.PROT_READ + C.PROT_WRITE, C.MAP_SHARED + C.MAP_NORESERVE, ARENA_FD, 0)
  r:call("close", { always = true, may_fail = true }, ARENA_FD)
  r:submit()
  while root_.task:in_flight() > 0 and root_:is_alive() do
    loop.wait(-1)
  end
  local there = r:result(address)
  if not there or there < 0 then return end
  arena:mapped(there)
  root_.space = space.shared(root_.machine, arena, there, ARENA_SIZE)
  root_.task:ring(arena, root_.space:alloc(root_, facts.RING_SIZE))
end

local function start()
  local image = require("afar.stubs")[MACHINE[ffi.arch]]
  if not image then fail("no stub for " .. ffi.arch) end
  local marker = spawn.random(16)
  local arena = arenas.new(ARENA_SIZE)
  local fd, pid = spawn.root(image, { "afar", marker, "3", "3" }, arena and arena:fd() or -1)
  if not fd then fail(pid) end
  local stream = streams.open(fd, fd, marker)
  while stream:state() == "noise" or stream:state() == "hello" do
    loop.wait(-1) -- not as a routine: afar.here may be looked up anywhere
  end
  if stream:state() ~= "open" then fail "its root could not be started (is executing from memory forbidden?)" end
  local self = machine.new(stream, nil, { local_ = true, host_pid = pid })
  self.name = "here"
  if arena then share(self.root, arena) end
  self.root.table.name = "the root here"
  return self.root
end

--- The root process of this machine.
---@return afar.Process
function here.root()
  if not root or not root:is_alive() then root = start() end
  return root
end

--- It has become persistent, and is an ordinary process to this host: the next one to ask for a root gets another. Its stream is kept.
function here.leave(front)
  here.fronts = here.fronts or {}
  here.fronts[#here.fronts + 1] = front
  root = nil
end

--- Its pid, or nil when it was not started: for who looks for what is left behind.
function here.pid() return root and rawget(root, "machine").host_pid end

return here
