/* A root becomes persistent in place: a process that it clones goes on as the root of the stream, with all channels,
 * in the same memory; it stays what it is, with its pid, its children and its fds, and is as any other persistent
 * process from then on. */
#ifndef AFAR_HANDOVER_H
#define AFAR_HANDOVER_H

#include "server.h"

/* op PERSIST of a root: 0 or a negative errno; then nothing has changed. */
int64_t handover_begin(struct server *server, const uint64_t args[6]);

/* Once the last replies are out. */
_Noreturn void handover_finish(void);

/* What the cloned process does. */
_Noreturn void handover_front(void);

#endif
