/* A link: the carrier of a process on this machine. A socket of its own, and, beside it, a ring in shared memory. */
#ifndef AFAR_LINK_H
#define AFAR_LINK_H

#include <ev.h>
#include <stdint.h>

#include "bytes.h"
#include "channel.h"
#include "loop.h"
#include "protocol.h"
#include "ring.h"

struct link {
  struct loop *loop;
  int fd;
  ev_io reader, writer;
  struct sink *sink;
  struct bytes fds; /* int: fds that have arrived, and whose message has not */
  struct ring ring; /* where there is none, requests and replies go over the socket */
  struct afar_reply message;
  size_t message_have;
};

/* Takes the fd over; `sink` is told what comes. */
void link_open(struct link *link, struct loop *loop, int fd, struct sink *sink);
/* From here on through the ring; the process has said that it does so too. */
void link_use_ring(struct link *link, struct afar_ring *at);
/* What came on the socket behind that. 0 or a negative errno. */
int link_take_messages(struct link *link, const char *data, size_t length);
/* How much of it was taken; the sink is told when there is room again. Negative errno: the link has ended. */
long link_write(struct link *link, const char *data, size_t length);
/* The fd of the host's that came with the message that is read now, the caller's; or LINK_FD_NONE; or LINK_FD_LOST:
 * there was one, but the host's table is full. */
enum { LINK_FD_NONE = -1, LINK_FD_LOST = -2 };
int link_take_fd(struct link *link);
void link_close(struct link *link);

#endif
