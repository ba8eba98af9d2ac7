--- Where calls are made: a process with a ring, and one that is reached over a socketpair.

local afar = require "afar"
local cpu = require "cpu"

local places = {}

--- A child of this machine's root: its carrier is a ring.
function places.ring() return afar.here:fork() end

--- A root behind a shell's stdin and stdout, which are one end of a socketpair: nothing but bytes goes to and from it.
function places.stream() return afar.here:bootstrap { "sh", "-c", afar.SCRIPT } end

--- In mode "two": these processes stay on the second CPU, the host on the first; what the two know of CPUs, they know before that.
function places.apart(mode, ...)
  if mode ~= "two" then return end
  for _, p in ipairs { ... } do
    p:getppid()
    p:syscall("sched_setaffinity", 0, 8, p:ptr(cpu.mask(1)))
  end
  cpu.stay_on(0)
end

places.NAMES = { one = "one CPU", two = "two CPUs", free = "unpinned" }

return places
