/* A child's carrier where host and stub share memory. */
#ifndef AFAR_RING_H
#define AFAR_RING_H

#include "server.h"

/* op RING: from now on requests come from the ring at args[0] and replies go there. 0 or a negative errno. */
int64_t ring_begin(struct server *server, const uint64_t args[6]);

/* All replies, waiting for room; wakes the host if it sleeps. */
void ring_send(struct server *server, const uint8_t *bytes, size_t length);

/* Performs what has arrived; else looks for a while, then sleeps once. */
void ring_turn(struct server *server);

#endif
