--- A call in a process of this machine. calls.lua together: all on one CPU; calls.lua apart: the host on one, the process on another.

local ffi = require "ffi"
local afar = require "afar"
local measure = require "measure"

ffi.cdef "int sched_setaffinity(int pid, size_t size, const void *mask);"

local COUNT = tonumber(os.getenv "BENCH_CALLS") or 20000

local function mask(cpu) return string.char(2 ^ cpu) .. ("\0"):rep(7) end

local function stay_on(cpu) assert(ffi.C.sched_setaffinity(0, 8, mask(cpu)) == 0, "no such CPU") end

local function pingpong(carrier, calls, cpus)
  return function()
    return measure.program(("build/bench/pingpong %s %d %d %s"):format(carrier, calls, COUNT / calls, cpus))
  end
end

local function getpid(p)
  return function()
    return measure.each(COUNT, function() p:getpid() end)
  end
end

local function chain(p, calls)
  return function()
    return measure.each(COUNT / calls, function()
      p:chain(function(c)
        for _ = 1, calls do c:getpid() end
      end)
    end)
  end
end

return function(where)
  local together = where == "together"
  if together then stay_on(0) end
  local root = afar.here
  local child = root:fork()
  local cpus, place = "", "one CPU"
  if not together then
    cpus, place = "0 1", "two CPUs"
    for _, p in ipairs { root, child } do
      p:syscall("sched_setaffinity", 0, 8, p:ptr(mask(1)))
    end
    stay_on(0)
  end
  local function row(name, goal, ours, base)
    measure.row { name = ("%s, %s"):format(name, place), unit = "us", goal = goal, ours = ours, base = base }
  end
  -- Who shares a CPU with the other side must sleep: there the ring's baseline is a socket too.
  local memory = together and "socket" or "memory"
  row("call over a stream", "at most 1.3", getpid(root), pingpong("socket", 1, cpus))
  row("call through a ring", "at most 2", getpid(child), pingpong(memory, 1, cpus))
  for _, calls in ipairs { 1, 10, 100 } do
    row(("chain of %d over a stream"):format(calls), nil, chain(root, calls), pingpong("socket", calls, cpus))
    row(("chain of %d through a ring"):format(calls), nil, chain(child, calls), pingpong(memory, calls, cpus))
  end
end
