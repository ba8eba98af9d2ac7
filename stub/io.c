#include "server.h"

enum { LOOK = 200 /* ms: so often also where nothing says that there is room */ };

/* The fd may be non-blocking, by what others did to it or as it is a terminal: then this waits for it. */
int write_all(int fd, const void *bytes, size_t length) {
  const uint8_t *at = bytes;
  while (length > 0) {
    int64_t count = sys_write(fd, at, length);
    struct pollfd poll = {fd, POLLOUT, 0};
    if (count == -EAGAIN)
      count = sys_poll(&poll, 1, LOOK) < 0 ? -EINTR : 0;
    else if (count == 0)
      count = -EPERM;
    if (count == -EINTR)
      continue;
    if (count < 0)
      return (int)count;
    at += count;
    length -= (size_t)count;
  }
  return 0;
}
