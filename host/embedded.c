#include "embedded.h"

#include <lauxlib.h>
#include <string.h>

void embedded_load(lua_State *L, const char *name) {
  const struct embedded *module = embedded_lua;
  while (module->name && strcmp(module->name, name) != 0)
    module++;
  if (!module->name)
    lua_pushnil(L);
  else if (luaL_loadbuffer(L, (const char *)module->data, module->size, name) != 0)
    lua_error(L);
}

static int l_load(lua_State *L) {
  embedded_load(L, luaL_checkstring(L, 1));
  return 1;
}

static const luaL_Reg functions[] = {
    {"load", l_load},
    {NULL, NULL},
};

int luaopen_afar_embedded(lua_State *L) {
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  return 1;
}

int luaopen_afar_stubs(lua_State *L) {
  lua_newtable(L);
  for (const struct embedded *stub = embedded_stubs; stub->name; stub++) {
    lua_pushlstring(L, (const char *)stub->data, stub->size);
    lua_setfield(L, -2, stub->name);
  }
  return 1;
}
