#include "server.h"

void write_wait(int fd) {
  struct pollfd poll = {fd, POLLOUT, 0};
  sys_poll(&poll, 1, WRITE_LOOK);
}

/* The fd may be non-blocking, by what others did to it or as it is a terminal: then this waits for it. */
int write_all(int fd, const void *bytes, size_t length, void (*wait)(int fd)) {
  const uint8_t *at = bytes;
  while (length > 0) {
    int64_t count = sys_write(fd, at, length);
    if (count == -EAGAIN)
      wait(fd);
    if (count == -EAGAIN || count == -EINTR)
      continue;
    if (count == 0)
      count = -EPERM;
    if (count < 0)
      return (int)count;
    at += count;
    length -= (size_t)count;
  }
  return 0;
}
