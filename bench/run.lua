--- bench/run.lua SECTION [ARGUMENT]: measures one section, in a program of its own: what one does to a process's CPUs stays there.

package.path = "bench/?.lua;spec/?.lua;" .. package.path
require(assert(arg[1], "bench/run.lua: which section?"))(arg[2])
