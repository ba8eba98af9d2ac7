/* afar: LuaJIT with the bindings and the library inside. All else is decided in lua/afar/main.lua. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

#include "bindings.h"
#include "embedded.h"
#include "signals.h"

/* leave(status, close): ends the program; with `close` all objects are finalized first. */
static int l_leave(lua_State *L) {
  int status = luaL_checkint(L, 1);
  if (lua_toboolean(L, 2))
    lua_close(L);
  exit(status);
}

static int luaopen_afar_leave(lua_State *L) {
  lua_pushcfunction(L, l_leave);
  return 1;
}

static const struct afar_binding host_bindings[] = {
    {"afar.embedded", luaopen_afar_embedded},
    {"afar.stubs", luaopen_afar_stubs},
    {"afar.signals", luaopen_afar_signals},
    {"afar.leave", luaopen_afar_leave},
    {NULL, NULL},
};

struct arguments {
  int count;
  char **values;
};

static void preload(lua_State *L, const struct afar_binding *bindings) {
  luaL_findtable(L, LUA_GLOBALSINDEX, "package.preload", 1);
  for (const struct afar_binding *b = bindings; b->name; b++) {
    lua_pushcfunction(L, b->open);
    lua_setfield(L, -2, b->name);
  }
  lua_pop(L, 1);
}

/* afar.loader makes require find the embedded modules; afar.main returns the function that does the rest. */
static int run(lua_State *L) {
  const struct arguments *arguments = lua_touserdata(L, 1);
  luaL_openlibs(L);
  preload(L, afar_bindings);
  preload(L, host_bindings);
  embedded_load(L, "afar.loader");
  lua_call(L, 0, 0);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "afar.main");
  lua_call(L, 1, 1);
  lua_createtable(L, arguments->count, 0);
  for (int i = 0; i < arguments->count; i++) {
    lua_pushstring(L, arguments->values[i]);
    lua_rawseti(L, -2, i);
  }
  lua_call(L, 1, 1);
  return 1;
}

static int traceback(lua_State *L) {
  luaL_traceback(L, L, lua_tostring(L, 1), 1);
  return 1;
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (!L) {
    fputs("afar: not enough memory\n", stderr);
    return 1;
  }
  struct arguments arguments = {argc, argv};
  int status = 1;
  lua_pushcfunction(L, traceback);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, &arguments);
  if (lua_pcall(L, 1, 1, 1) == 0)
    status = lua_toboolean(L, -1) ? (int)lua_tointeger(L, -1) : 1;
  else
    fprintf(stderr, "afar: %s\n", lua_tostring(L, -1));
  lua_close(L);
  return status;
}
