/* A carrier where host and stub share memory. */
#ifndef AFAR_RING_H
#define AFAR_RING_H

#include "server.h"

#define RING_TURNS 32 /* so many turns may pass between two looks at what is slower */

/* op RING: from now on requests come from the ring at args[0] and replies go there. 0 or a negative errno. A child's
 * begins once the reply to that is out on its socket. */
int64_t ring_begin(struct server *server, const uint64_t args[6]);
int64_t ring_begin_later(struct server *server, const uint64_t args[6]);
void ring_start(struct server *server);

/* All replies, waiting for room; wakes the host if it sleeps. */
void ring_send(struct server *server, const uint8_t *bytes, size_t length);

/* Whether requests are there, looking so often. */
int ring_look(const struct server *server, uint32_t times);

/* Performs what has arrived, up to the ring's end and at most so many bytes of it: how many that were. */
uint32_t ring_take(struct server *server, uint32_t most);

/* Whether there is room for replies; looks for a while. */
int ring_room(const struct server *server);

/* If the host sleeps. */
void ring_wake_host(struct server *server);

/* The same, if there are replies that it was not told of. */
void ring_tell(struct server *server);

/* A child's turn: performs what has arrived; else looks for a while, then sleeps once. */
void ring_turn(struct server *server);

/* What a child does while the host takes no replies. */
void ring_rest(struct server *server);

#endif
