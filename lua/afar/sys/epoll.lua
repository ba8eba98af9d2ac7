-- epoll_create1(2), epoll_ctl(2), epoll_wait(2)
return {
  headers = { "linux/eventpoll.h" },
  constants = {
    EPOLL_CLOEXEC = 0x80000,
    EPOLL_CTL_ADD = 1,
    EPOLL_CTL_DEL = 2,
    EPOLL_CTL_MOD = 3,
    EPOLLIN = 0x1,
    EPOLLPRI = 0x2,
    EPOLLOUT = 0x4,
    EPOLLERR = 0x8,
    EPOLLHUP = 0x10,
    EPOLLNVAL = 0x20,
    EPOLLRDNORM = 0x40,
    EPOLLRDBAND = 0x80,
    EPOLLWRNORM = 0x100,
    EPOLLWRBAND = 0x200,
    EPOLLMSG = 0x400,
    EPOLLRDHUP = 0x2000,
    EPOLL_URING_WAKE = 0x8000000,
    EPOLLEXCLUSIVE = 0x10000000,
    EPOLLWAKEUP = 0x20000000,
    EPOLLONESHOT = 0x40000000,
    EPOLLET = 0x80000000,
  },
  x86_64 = {
    structs = [[
      struct @epoll_event {
        uint32_t events;
        uint64_t data;
      } __attribute__((packed));
    ]],
  },
  aarch64 = {
    structs = [[
      struct @epoll_event {
        uint32_t events;
        uint64_t data;
      };
    ]],
  },
}
