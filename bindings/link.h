/* A link: the carrier of a process on this machine. A socket of its own, and, beside it, a ring in shared memory. */
#ifndef AFAR_LINK_H
#define AFAR_LINK_H

#include <ev.h>
#include <stdint.h>

#include "bytes.h"
#include "channel.h"
#include "loop.h"
#include "protocol.h"

struct link {
  struct loop *loop;
  int fd;
  ev_io reader, writer;
  struct sink *sink;
  struct bytes fds;       /* int: fds that have arrived, and whose message has not */
  struct afar_ring *ring; /* NULL: requests and replies go over the socket */
  struct poll poll;       /* looks at the ring in each turn, as long as replies are awaited */
  struct afar_reply message;
  size_t message_have;
  uint32_t tail, head; /* our own positions: those in the ring are what the other side may have changed */
  uint32_t spin;       /* what the stub was told last */
  double asleep_at;    /* when it was last found asleep */
  uint32_t patience;   /* how often link_spin looks: less each time that it was in vain */
};

/* Takes the fd over; `sink` is told what comes. */
void link_open(struct link *link, struct loop *loop, int fd, struct sink *sink);
/* What a ring must be before the other side is told of it. */
void link_prepare_ring(struct afar_ring *ring);
/* From here on through the ring; the request that says so must have been written. */
void link_use_ring(struct link *link, struct afar_ring *ring);
/* How much of it was taken; the sink is told when there is room again. Negative errno: the link has ended. */
long link_write(struct link *link, const char *data, size_t length);
/* Replies are awaited, or no more: whether the ring is looked at. */
void link_await(struct link *link, int awaited);
/* Looks at the ring; returns whether something came. */
int link_look(struct link *link);
/* Looks until something comes, for a moment at most; returns whether it did. */
int link_spin(struct link *link);
/* The fd of the host's that came with the message that is read now, or -1; the caller's. */
int link_take_fd(struct link *link);
void link_close(struct link *link);

#endif
