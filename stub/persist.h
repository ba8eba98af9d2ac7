/* A child that stays when its host goes: it listens, and takes its carrier from whoever of its owner's connects.
 * Nothing that a host does or leaves undone keeps it from its listening socket, but for a call that blocks. */
#ifndef AFAR_PERSIST_H
#define AFAR_PERSIST_H

#include "server.h"

/* op PERSIST: 0 or a negative errno; then nothing has changed. */
int64_t persist_begin(struct server *server, const uint64_t args[6]);

/* The process that serves the stream of what was a root: it is waited for once it has ended. */
void persist_front(struct server *server, int32_t pid);

/* Sends the last replies over the carrier, and ends that. */
void persist_start(struct server *server);

/* Keeps replies until they are acknowledged, and sends what goes without waiting. */
void persist_send(struct server *server, const uint8_t *bytes, size_t length);

/* op ACK: the host has so many bytes of replies. */
void persist_ack(struct server *server, uint64_t received);

/* Performs what can be performed, and sleeps once. Exits when the lease has ended. */
void persist_turn(struct server *server);

#endif
