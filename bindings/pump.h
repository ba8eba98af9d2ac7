/* A pump: what arrives on one channel goes out on another, as far as there is room there, and none of it comes to Lua.
 */
#ifndef AFAR_PUMP_H
#define AFAR_PUMP_H

#include <stdint.h>

struct channel;

struct pump {
  struct channel *from, *to; /* a reference to each */
  uint64_t id;               /* completes with the bytes that were moved */
  uint64_t left, moved;
};

/* Moves `most` bytes; fewer when `from` has ended before, or `to` takes no more. Neither may have a sink or a pump. */
void pump_start(struct channel *from, struct channel *to, uint64_t most, uint64_t id);
/* Moves what can be moved now; the pump may be gone afterwards. */
void pump_run(struct pump *pump);
/* Ends it where it is. */
void pump_stop(struct pump *pump);

#endif
