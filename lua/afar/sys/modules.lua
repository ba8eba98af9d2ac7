--- The modules of afar.sys, each a C header. A structure that is used by another's stands in an earlier one.
---@type string[]
local modules = {}

for name in
  ([[
    errno time fcntl openat2 handle fs stat statfs mman mempolicy signal wait sched uio socket netinet_in netinet_tcp un
    vm_sockets epoll poll timerfd eventfd signalfd inotify fanotify resource prctl arch_prctl unistd dirent utsname sysinfo
    mount ioctl termios capability xattr netlink rtnetlink if_link if packet tun sock_diag seccomp landlock futex membarrier io_uring
    random reboot pidfd nsfs loop kcmp ptrace personality auxv swap fuse
  ]]):gmatch "%S+"
do
  modules[#modules + 1] = name
end

return modules
