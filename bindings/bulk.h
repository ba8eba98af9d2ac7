/* Strings of bulk data: the garbage that they become is bounded. */
#ifndef AFAR_BULK_H
#define AFAR_BULK_H

#include <lua.h>
#include <stddef.h>

/* lua_pushlstring(), after which the collector may have run. */
void bulk_push(lua_State *L, const char *data, size_t length);

#endif
