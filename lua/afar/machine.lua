--- A machine: what is common to all processes below one root, which is reached over one stream.

require "afar.channel" -- the class of what stream:channel() gives

local requests = require "afar.requests"
local errors = require "afar.error"
local fdtable = require "afar.fdtable"
local facts = require "afar.hello"
local process = require "afar.process"
local sched = require "afar.sched"
local space = require "afar.space"
local sys = require "afar.sys"
local tasks = require "afar.task"
local visible = require "afar.visible"

---@class afar.Machine
---@field name string      as errors show it
---@field hello table      what its root said of itself (doc/protocol.md, "Hello")
---@field sys table        numbers and constants of its architecture (afar.sys)
---@field stream userdata
---@field root afar.Process
---@field asked? integer    how often the far side, or who led there, had to ask for something before the root was up: a round trip each
---@field local_ boolean   it is the one that the host runs on, reached directly
local Machine = { __name = "machine" }
Machine.__index = Machine

local machine = { ping_seconds = 30, pings_missed = 3 }

local machines = setmetatable({}, { __mode = "k" })

function Machine:__tostring() return self.name end

local function environ_of(list)
  local environ = {}
  for _, entry in ipairs(list) do
    local name, value = entry:match "^([^=]+)=(.*)$"
    if name then environ[name] = value end
  end
  return environ
end

local function root_of(self)
  local hello = self.hello
  local root = process.new {
    machine = self,
    is_root = true,
    task = tasks.root(self.stream, hello.hold_slots, hello.read_max),
    pid = hello.pid,
    space = space.new(self, hello.arena, hello.arena_size),
    table = fdtable.new("the root of " .. self.name),
    shared_environ = environ_of(hello.environ),
  }
  for _, fd in ipairs { hello.in_fd, hello.out_fd, hello.epoll_fd, hello.timer_fd } do
    if fd >= 0 then root.table.internal[fd] = true end
  end
  return root
end

--- Pings when nothing was heard for a while; ends the stream when the pings aren't answered.
local function watch(self)
  local heard, missed = self.stream:received(), 0
  local seconds, most = machine.ping_seconds, machine.pings_missed -- those of the moment: what is set later is for later ones
  local function tick()
    if self.stream:state() ~= "open" then return end
    local received = self.stream:received()
    missed = received ~= heard and 0 or missed + 1
    heard = received
    if missed > most then
      self.dead = true
      return self.stream:close "no answer to pings"
    end
    self.stream:ping()
    self.timer = sched.after(seconds, tick)
  end
  self.timer = sched.after(seconds, tick)
  local r = requests.record(self.root)
  r:ping(math.ceil(seconds * (most + 1)))
  r.process.task:submit(r.requests, true)
end

--- The machine at the end of a stream that is open (its hello was read).
---@param stream userdata
---@param name? string  default: what it calls itself
---@param fields? table more fields of the object
---@return afar.Machine
function machine.new(stream, name, fields)
  local hello = facts.hello(stream:hello())
  local numbers, message = sys.machine(hello.machine)
  if not numbers then
    stream:close()
    error(errors.new(nil, "bootstrap", { name or hello.machine_name }, message), 0)
  end
  local self = setmetatable(fields or {}, Machine)
  self.name = visible(name or hello.machine_name)
  self.hello, self.sys, self.stream = hello, numbers, stream
  self.read_max = hello.read_max
  self.root = root_of(self)
  machines[self] = true
  if not self.local_ then watch(self) end
  return self
end

--- Bytes of memory that are set aside for each process that is cloned, besides its stack: its block, and the ring behind it.
function Machine:block_size() return self.hello.block_size + (self.root.space.arena and facts.RING_SIZE or 0) end

--- All that are connected.
function machine.all()
  local all = {}
  for self in pairs(machines) do
    if self.stream:state() == "open" then all[#all + 1] = self end
  end
  return all
end

--- Waits for `stream` to be open. Returns false when it ended first.
function machine.wait_open(stream, on_cancel)
  sched.wait(stream:wait_open(), on_cancel)
  return stream:state() == "open"
end

--- Seconds between pings, and how many may be missed, for machines connected from now on.
function machine.set_pings(seconds, missed) machine.ping_seconds, machine.pings_missed = seconds, missed or 3 end

--- Where its connection has ended: no more pings.
function Machine:rest()
  if self.timer and self.stream:state() ~= "open" then self.timer.f = nil end -- or it would hold the machine until it comes up
end

--- Ends the connection: all that runs there below the root ends too.
function Machine:close()
  self.stream:close()
  self:rest()
  local finish = self.finish
  self.finish = nil
  if finish then finish() end
end

return machine
