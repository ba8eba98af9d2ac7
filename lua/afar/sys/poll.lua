-- poll(2)
return {
  headers = { "asm/poll.h" },
  constants = {
    POLLIN = 0x1,
    POLLPRI = 0x2,
    POLLOUT = 0x4,
    POLLERR = 0x8,
    POLLHUP = 0x10,
    POLLNVAL = 0x20,
    POLLRDNORM = 0x40,
    POLLRDBAND = 0x80,
    POLLWRNORM = 0x100,
    POLLWRBAND = 0x200,
    POLLMSG = 0x400,
    POLLREMOVE = 0x1000,
    POLLRDHUP = 0x2000,
  },
  structs = [[
    struct @pollfd {
      int32_t fd;
      int16_t events;
      int16_t revents;
    };
  ]],
}
