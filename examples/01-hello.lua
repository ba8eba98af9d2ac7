-- System calls in a process that this script controls, and what a failed one looks like.
--
-- afar.here is the first process on this machine, its root. Here and on another machine (afar.here:ssh "host") all is the same.

local afar = require "afar"

local p = afar.here
print("process", p:getpid(), "of user", p:getuid())

-- A method is a system call, by the name and with the arguments of its manpage. Constants are text or numbers.
local fd = p:open("/etc/os-release", "O_RDONLY")
local text = fd:read(4096)
print("system", text:match 'PRETTY_NAME="([^"]*)"')
print("size", fd:fstat().st_size == #text and "as stat says" or "odd")
fd:close()

-- Those that have no method of their own are called all the same, numbers and strings as they are.
print("process group", p:getpgrp(), "highest priority", p:sched_get_priority_max(p.machine.sys.C.SCHED_FIFO))

-- What fails is raised as an object that knows the call, its arguments, the process and the errno.
local found, err = afar.try(p.open, p, "/no/such/file")
print("found", found)
print("errno", err.name)
print("error", err)

-- A closed handle is closed, and a name that isn't there is a mistake that is told.
print("closed", select(2, pcall(fd.read, fd)))
print("typo", select(2, pcall(function() return p:opne "/etc/passwd" end)))
