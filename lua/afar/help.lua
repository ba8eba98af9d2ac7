--- What `help` says at the prompt.

local members = require "afar.members"

local TEXT = [[
A line is Lua; what it gives is shown. All is a call of some process:

  p = afar.here              this machine; afar.here:ssh "host": another, as ssh(1) reaches it
  p:read_file "/etc/hosts"   p:listdir "/proc/self/fd"   p:stat "/tmp"   p:mounts()
  p:run { "ls", "-l" }       a program there, and what it wrote
  q = p:fork()               a process of one's own: q:chdir "/tmp", q:exec { "sleep", "9" }:wait()
  p:getpgid(0)               any system call, by the name and with the arguments of its manpage: man 2 NAME

help(p): what a process can do; help(afar), help(x): what is in these. The whole library: doc/guide.md. Ctrl-C ends what runs, Ctrl-D the prompt.]]

local Help = {}

function Help:__tostring() return TEXT end

function Help:__call(...)
  if select("#", ...) == 0 then return print(TEXT) end
  local value = ...
  local names = members.of(value)
  print(#names > 0 and members.columns(names, 100) or "there is nothing to be had of " .. tostring(value))
end

return setmetatable({}, Help)
