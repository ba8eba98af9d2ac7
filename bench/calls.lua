--- getppid in a process of this machine, one call after the other.

local afar = require "afar"
local measure = require "measure"
local places = require "places"

local COUNT = measure.size(200, 20000, 50000)

local function pingpong(carrier, calls, mode)
  return function()
    return measure.program(("build/bench/pingpong %s %d %d %s"):format(carrier, calls, COUNT / calls, mode == "two" and "0 1" or ""))
  end
end

local function single(p)
  return function()
    return measure.each(COUNT, function() p:syscall "getppid" end)
  end
end

local function chain(p, calls)
  return function()
    return measure.each(COUNT / calls, function()
      p:chain(function(c)
        for _ = 1, calls do c:syscall "getppid" end
      end)
    end)
  end
end

return function(mode)
  local root, child, stream = afar.here, places.ring(), places.stream()
  places.apart(mode, root, child, stream)
  local function row(id, name, p, ours, base, goal)
    measure.row {
      id = id, name = ("%s, %s"):format(name, places.NAMES[mode]), mode = mode, unit = "us", goal = goal, ours = ours, base = base, tally = { p, COUNT },
    }
  end
  -- Who shares a CPU with the other side must sleep: there the ring's baseline is a socket too.
  local memory = mode == "one" and "socket" or "memory"
  row("call-ring", "call through a ring", child, single(child), pingpong(memory, 1, mode), mode ~= "one" and 2 or nil)
  row("call-root", "call in the root here", root, single(root), pingpong(memory, 1, mode), mode ~= "one" and 2 or nil)
  row("call-stream", "call over a socketpair", stream, single(stream), pingpong("socket", 1, mode), mode == "one" and 1.3 or nil)
  row("chain-ring", "chain of 100 calls through a ring", child, chain(child, 100), pingpong(memory, 100, mode))
  row("chain-stream", "chain of 100 calls over a socketpair", stream, chain(stream, 100), pingpong("socket", 100, mode))
  stream:disconnect()
end
