/* The signals that cancel a script. What to do about them is decided in lua/afar/interrupt.lua. */
#ifndef AFAR_SIGNALS_H
#define AFAR_SIGNALS_H

#include <lua.h>

int luaopen_afar_signals(lua_State *L);

#endif
