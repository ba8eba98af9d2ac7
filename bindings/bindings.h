/* What host/main.c registers: each entry is a Lua module written in C. */
#ifndef AFAR_BINDINGS_H
#define AFAR_BINDINGS_H

#include <lua.h>

struct afar_binding {
  const char *name;
  lua_CFunction open;
};

extern const struct afar_binding afar_bindings[]; /* ends with a NULL name */

int luaopen_afar_loop(lua_State *L);
int luaopen_afar_stream(lua_State *L);
int luaopen_afar_channel(lua_State *L);
int luaopen_afar_task(lua_State *L);
int luaopen_afar_heap(lua_State *L);
int luaopen_afar_spawn(lua_State *L);
int luaopen_afar_hello(lua_State *L);
int luaopen_afar_arena(lua_State *L);
int luaopen_afar_greeting(lua_State *L);

#endif
