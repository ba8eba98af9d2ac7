/* Memory that host and processes share. */
#ifndef AFAR_ARENA_H
#define AFAR_ARENA_H

#include <lua.h>
#include <stdint.h>

struct arena {
  int fd; /* of the memory, until the processes have mapped it; then -1 */
  char *base;
  uint64_t size;
  uint64_t there; /* its address in the processes */
};

/* The host's address of memory that is at `address` for the processes; NULL: not all of it is in the arena. */
void *arena_at(const struct arena *arena, uint64_t address, uint64_t length);

void *afar_arena_at(struct arena *arena, double address, double length);

struct arena *arena_check(lua_State *L, int index);

#endif
