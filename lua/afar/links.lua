--- Sockets between the host and the processes of this machine, one each: made beforehand, so that a clone needs not wait for its own.

local sched = require "afar.sched"
local spawn = require "afar.spawn"

local links = {}

local READY = 4 -- kept ready, ends at the root already

--- nil, and why: the host has no fds left.
local function make(machine)
  local mine, other = spawn.socketpair()
  if not mine then return nil, other end
  return { fd = mine, id = machine.stream:send_fd(other) }
end

--- Makes as many as are kept ready, as far as there are fds: for after a clone has left, while the root performs it.
function links.refill(machine)
  local ready = machine.ready_links
  while #ready < READY and not machine.outlived do
    local link = make(machine)
    if not link then return end
    ready[#ready + 1] = link
  end
end

local machines = setmetatable({}, { __mode = "k" })

--- The host's ends that are ready, of all machines, as a set: for who looks for what is left behind.
---@return table<integer, true>
function links.ready()
  local fds = {}
  for machine in pairs(machines) do
    for _, link in ipairs(machine.ready_links) do fds[link.fd] = true end
  end
  return fds
end

--- The numbers, in the root, of those that are ready: they will not be used.
---@return integer[]
function links.numbers(machine)
  local numbers = {}
  for _, link in ipairs(rawget(machine, "ready_links") or {}) do
    local number = sched.wait(link.id)
    if number and number >= 0 then numbers[#numbers + 1] = number end
    spawn.close(link.fd)
  end
  machine.ready_links = {}
  return numbers
end

--- A new link: the host's end (the caller's), and the number of the other end in the root, where it is closed by whoever clones.
---@return integer fd, integer number
function links.take(machine)
  machine.ready_links = rawget(machine, "ready_links") or {}
  machines[machine] = true
  local link, why = table.remove(machine.ready_links, 1), nil
  if not link then
    link, why = make(machine)
  end
  if not link then error("no socket for a new process: " .. why, 0) end
  local number = sched.wait(link.id)
  if not number or number < 0 then
    spawn.close(link.fd)
    error("no socket for a new process: this machine's root has ended", 0)
  end
  machine.root.table.internal[number] = true
  return link.fd, number
end

return links
