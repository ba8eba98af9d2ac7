--- bench/run.lua SECTION [MODE]: measures one section, in a program of its own: what one does to a process's CPUs stays there.
--- MODE: one: all on one CPU; two: the host on one, processes on the other; free (default): wherever the kernel likes.

package.path = "bench/?.lua;spec/?.lua;" .. package.path

local cpu = require "cpu"
local section, mode = assert(arg[1], "bench/run.lua: which section?"), arg[2] or "free"

if mode == "two" and cpu.count < 2 then return end
if mode == "one" then cpu.stay_on(0) end
require(section)(mode)
