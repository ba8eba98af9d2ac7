/* What host and persistent process say when they meet. stub/protocol.h has the layout. */
#include <lauxlib.h>
#include <string.h>

#include "bindings.h"
#include "protocol.h"

enum { SESSION_SIZE = 16 };

/* greeting(session, received, resume, name) -> bytes. session: 16 random ones; name: who this host is */
static int l_greeting(lua_State *L) {
  size_t length;
  const char *session = luaL_checklstring(L, 1, &length);
  luaL_argcheck(L, length == SESSION_SIZE, 1, "16 bytes were expected");
  struct afar_greeting g = {.magic = AFAR_MAGIC,
                            .major = AFAR_MAJOR,
                            .minor = AFAR_MINOR,
                            .size = sizeof g,
                            .flags = lua_toboolean(L, 3) ? AFAR_GREETING_RESUME : 0,
                            .received = (uint64_t)luaL_checknumber(L, 2)};
  memcpy(g.session, session, SESSION_SIZE);
  strncpy(g.name, luaL_checkstring(L, 4), sizeof g.name - 1);
  lua_pushlstring(L, (const char *)&g, sizeof g);
  return 1;
}

static void number(lua_State *L, const char *name, lua_Number value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static void limits(lua_State *L, const struct afar_welcome *w) {
  number(L, "block", (lua_Number)w->block), number(L, "entry", (lua_Number)w->entry);
  number(L, "anchor", (lua_Number)w->anchor), number(L, "block_size", w->block_size);
  number(L, "hold_slots", w->hold_slots), number(L, "read_max", w->read_max);
  number(L, "window", w->window), number(L, "machine", w->machine), number(L, "pid", w->pid);
}

static void own_fds(lua_State *L, const struct afar_welcome *w) {
  static const char *const names[] = {"carrier", "listener", "handoff"};
  lua_newtable(L);
  for (int i = 0, n = 0; i < (int)(sizeof w->fds / sizeof w->fds[0]); i++) {
    if (w->fds[i] < 0)
      continue;
    lua_pushinteger(L, w->fds[i]);
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "fds");
  for (int i = 0; i < 3; i++)
    number(L, names[i], w->fds[i]);
}

static const char *verdict_of(const struct afar_welcome *w) {
  static const char *const verdicts[] = {"resumed", "begun", "gone", "foreign"};
  return w->verdict < sizeof verdicts / sizeof verdicts[0] ? verdicts[w->verdict] : "foreign";
}

/* What the host will set aside memory for. */
static int is_sound(const struct afar_welcome *w) {
  return w->magic == AFAR_MAGIC && w->major == AFAR_MAJOR && w->size == sizeof *w && w->read_max > 0 &&
         w->read_max <= AFAR_PERSIST_WINDOW / 2 && w->window <= 1 << 30 &&
         w->window >= 2 * (w->read_max + sizeof(struct afar_reply)) && w->hold_slots > 0 && w->hold_slots <= 65536 &&
         w->block_size <= 1 << 24;
}

/* welcome(bytes) -> table | nil: it is none, or of another version */
static int l_welcome(lua_State *L) {
  size_t length;
  const char *data = luaL_checklstring(L, 1, &length);
  struct afar_welcome w;
  if (length != sizeof w)
    return 0;
  memcpy(&w, data, sizeof w);
  if (!is_sound(&w))
    return 0;
  lua_newtable(L);
  lua_pushstring(L, verdict_of(&w));
  lua_setfield(L, -2, "verdict");
  lua_pushlstring(L, w.name, strnlen(w.name, sizeof w.name));
  lua_setfield(L, -2, "name");
  number(L, "requests", (lua_Number)w.requests), number(L, "features", (lua_Number)w.features);
  limits(L, &w);
  own_fds(L, &w);
  return 1;
}

static lua_Integer field(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  lua_Integer value = luaL_checkinteger(L, -1);
  lua_pop(L, 1);
  return value;
}

/* state{ listener =, lease =, session =, fds = { numbers }, kept =, front = } -> bytes of a struct afar_state, with
 * what follows it */
static int l_state(lua_State *L) {
  size_t length, kept_length;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "session");
  const char *session = luaL_checklstring(L, 2, &length);
  luaL_argcheck(L, length == SESSION_SIZE, 1, "a session of 16 bytes was expected");
  lua_getfield(L, 1, "kept");
  const char *kept = luaL_checklstring(L, 3, &kept_length);
  lua_getfield(L, 1, "fds");
  luaL_checktype(L, 4, LUA_TTABLE);
  struct afar_state state = {.magic = AFAR_MAGIC,
                             .major = AFAR_MAJOR,
                             .minor = AFAR_MINOR,
                             .size = sizeof state,
                             .listener = (int32_t)field(L, "listener"),
                             .lease = (uint64_t)field(L, "lease"),
                             .kept = kept_length,
                             .fds = (uint32_t)lua_objlen(L, 4),
                             .front = (uint32_t)field(L, "front")};
  memcpy(state.session, session, SESSION_SIZE);
  luaL_Buffer all;
  luaL_buffinit(L, &all);
  luaL_addlstring(&all, (const char *)&state, sizeof state);
  for (uint32_t i = 1; i <= state.fds; i++) {
    lua_rawgeti(L, 4, (int)i);
    int32_t number = (int32_t)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    luaL_addlstring(&all, (const char *)&number, sizeof number);
  }
  luaL_addlstring(&all, kept, kept_length);
  luaL_pushresult(&all);
  return 1;
}

/* word(number) -> its 8 bytes, as an anchor has them; number(bytes) -> back */
static int l_word(lua_State *L) {
  uint64_t word = (uint64_t)luaL_checknumber(L, 1);
  lua_pushlstring(L, (const char *)&word, sizeof word);
  return 1;
}

static int l_number(lua_State *L) {
  size_t length;
  uint64_t word;
  const char *data = luaL_checklstring(L, 1, &length);
  luaL_argcheck(L, length >= sizeof word, 1, "8 bytes were expected");
  memcpy(&word, data, sizeof word);
  lua_pushnumber(L, (lua_Number)word);
  return 1;
}

static const luaL_Reg functions[] = {
    {"greeting", l_greeting}, {"welcome", l_welcome}, {"state", l_state},
    {"word", l_word},         {"number", l_number},   {NULL, NULL},
};

int luaopen_afar_greeting(lua_State *L) {
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  number(L, "WELCOME_SIZE", sizeof(struct afar_welcome));
  number(L, "SIGNAL", AFAR_PERSIST_SIGNAL);
  return 1;
}
