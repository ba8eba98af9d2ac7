/* What the program carries inside itself: its Lua code and the stubs of all architectures. */
#ifndef AFAR_EMBEDDED_H
#define AFAR_EMBEDDED_H

#include <lua.h>
#include <stddef.h>

struct embedded {
  const char *name;
  const unsigned char *data;
  size_t size;
};

/* Both end with a NULL name; host/embed.lua writes them. */
extern const struct embedded embedded_lua[];   /* by module name, as bytecode */
extern const struct embedded embedded_stubs[]; /* by architecture, as ELF programs */

/* Pushes the function of an embedded Lua module, or nil. Raises what is wrong with it. */
void embedded_load(lua_State *L, const char *name);

int luaopen_afar_embedded(lua_State *L);
int luaopen_afar_stubs(lua_State *L);

#endif
