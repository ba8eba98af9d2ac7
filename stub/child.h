#ifndef AFAR_CHILD_H
#define AFAR_CHILD_H

#include "server.h"

#define CHILD_BLOCK_SIZE 40960      /* start, server and stack */
#define CHILD_FRONT      (1u << 31) /* in the flags of a start: see handover.h. No host sets it */

/* Where syscall.S brings a new child. */
void afar_child_entry(void);
_Noreturn void afar_child(struct afar_start *start);

/* Address of the block that a child's server lies in. */
uint64_t child_block_of(const struct server *server);

void child_init(struct afar_start *start);

/* The server of a block, without a carrier: a copy of `other`, or a new one if that is NULL. */
struct server *child_server_at(int64_t block, const struct server *other);
void child_turn(struct server *server);

#endif
