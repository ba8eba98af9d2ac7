/* What the host sends while nothing can be sent to it, on a terminal: a relay there may read nothing as long as it
 * can't write, so it is read ahead, as far as there is place for it. */
#include "root.h"

enum { AHEAD_MAX = 16 * 1024 * 1024, AT_ONCE = 4096 /* a terminal has no more */ };

/* An end or an error is seen again where it is its turn. */
static void read_ahead(void) {
  uint8_t bytes[AT_ONCE];
  int64_t count = sys_read(root.in, bytes, sizeof bytes);
  if (count > 0 && pending_add(&root.ahead, bytes, (size_t)count) < 0)
    root_exit(1);
  if (count > 0)
    root.ahead_length += (uint32_t)count;
  else if (count != -EAGAIN && count != -EINTR)
    root.ahead_length = AHEAD_MAX;
}

void ahead_wait(int fd) {
  struct pollfd polls[2] = {{fd, POLLOUT, 0}, {root.in, POLLIN, 0}};
  int reads = root.in_no_socket && root.ahead_length < AHEAD_MAX;
  if (sys_poll(polls, reads ? 2 : 1, WRITE_LOOK) > 0 && polls[1].revents)
    read_ahead();
}

size_t ahead_take(uint8_t *to) {
  const struct block *block = root.ahead.first;
  size_t length = block->end - block->start;
  memcpy(to, block->bytes + block->start, length);
  pending_drop(&root.ahead, length);
  root.ahead_length = root.ahead.first ? root.ahead_length - (uint32_t)length : 0;
  return length;
}
