#include "bulk.h"

enum { BULK = 16 * 1024 /* bytes of a string from which on */, KIB_GARBAGE = 6 * 1024, KIB_SMALL = 16 * 1024 };

/* All of the heap is marked, then swept. LUA_GCCOLLECT sweeps it before that, too, which is a third of its time. Where
 * Lua is in the middle of it already, the rest is done: what is left then is seen the next time. */
static void run_cycle(lua_State *L) {
  int speed = lua_gc(L, LUA_GCSETSTEPMUL, 0); /* a step is a whole cycle */
  lua_gc(L, LUA_GCSTEP, 0);
  lua_gc(L, LUA_GCSETSTEPMUL, speed);
}

/* Lua starts to collect when the heap has doubled, and goes on in steps that don't know how large a string is: with
 * strings of 64 KiB a heap of 2 MiB has grown by 7 before the first of them is freed. Where the heap is small all of it
 * is looked through at once, which takes about as long and is done each few megabytes. A large one is left to Lua: it
 * grows by what it is. */
static void collect(lua_State *L) {
  static int kept; /* KiB of the heap that were left by the last collection, or are there by now without one */
  int now = lua_gc(L, LUA_GCCOUNT, 0);
  if (now < kept || now > KIB_SMALL + KIB_GARBAGE) {
    kept = now;
  } else if (now - kept > KIB_GARBAGE) {
    run_cycle(L);
    kept = lua_gc(L, LUA_GCCOUNT, 0);
  }
}

void bulk_push(lua_State *L, const char *data, size_t length) {
  lua_pushlstring(L, data, length);
  if (length >= BULK && lua_gc(L, LUA_GCISRUNNING, 0)) /* a script may have stopped it */
    collect(L);
}
