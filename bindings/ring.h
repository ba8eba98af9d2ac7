/* The host's side of a ring: where requests and replies flow through memory, beside a socket that wakes. */
#ifndef AFAR_HOST_RING_H
#define AFAR_HOST_RING_H

#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "loop.h"
#include "protocol.h"

struct ring {
  struct afar_ring *at; /* NULL: there is none */
  struct loop *loop;
  struct sink *sink;             /* of replies; NULL: nobody's */
  void (*bell)(struct ring *);   /* wakes the stub */
  void (*broken)(struct ring *); /* what came is no answer to anything */
  struct poll poll;              /* looks in each turn, as long as replies are awaited */
  uint32_t tail, head;           /* our own positions: those in memory are what the other side may have changed */
  uint32_t spin;                 /* what the stub was told last */
  double asleep_at;              /* when it was last found asleep */
  uint32_t patience;             /* how often ring_spin looks: less each time that it was in vain */
};

/* Whether looking is any use: not with one CPU only, which the other side needs. */
int ring_useful(void);
/* What a ring must be before the other side is told of it. */
void ring_prepare(struct afar_ring *at);
void ring_open(struct ring *ring, struct loop *loop, struct afar_ring *at, struct sink *sink);
/* How much can be written now. */
uint32_t ring_space(const struct ring *ring);
/* How much of it was taken; the sink is told when there is room again. Wakes the stub. */
uint32_t ring_write(struct ring *ring, const char *data, size_t length);
/* Requests will come soon: the stub had better look for them. */
void ring_wake(struct ring *ring);
/* Nothing more will come soon: the stub had better sleep, as others want to run. */
void ring_rest(struct ring *ring);
/* Replies are awaited, or no more: whether the ring is looked at. */
void ring_await(struct ring *ring, int awaited);
/* Looks at the ring; returns whether something came. */
int ring_look(struct ring *ring);
/* Looks until something comes, for a moment at most; returns whether it did. */
int ring_spin(struct ring *ring);
void ring_close(struct ring *ring);

#endif
