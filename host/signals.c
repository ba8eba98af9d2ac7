#include "signals.h"

#include <ev.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

/* How often the hook looks: rare enough to cost nothing, often enough to seem immediate. */
enum { HOOK_INSTRUCTIONS = 100 };

static lua_State *state;
static volatile sig_atomic_t last_signal;
static volatile sig_atomic_t armed[NSIG];
static char hook_key;

/* Calls the Lua function at the next instruction that isn't the library's own, or of a function of LuaJIT's that the
 * library may have called: an error raised in the midst of that would leave it in disorder. */
static void on_hook(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "S", ar);
  if (strncmp(ar->source, "@afar/", 6) == 0 || strncmp(ar->short_src, "[builtin:", 9) == 0)
    return;
  lua_pushlightuserdata(L, &hook_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  lua_call(L, 0, 0);
}

/* A signal handler. The loop learns of the signal if Lua waits, the hook if Lua runs; the next one ends the host.
 * Not so SIGHUP: when a terminal goes, it comes from the kernel and from the shell. */
static void on_signal(int signum) {
  last_signal = signum;
  for (int i = 1; i < NSIG; i++)
    if (armed[i] && i != SIGHUP)
      signal(i, SIG_DFL);
  lua_sethook(state, on_hook, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
  ev_feed_signal(signum);
}

static int l_ignored(lua_State *L) {
  struct sigaction old;
  lua_pushboolean(L, sigaction(luaL_checkint(L, 1), NULL, &old) == 0 && old.sa_handler == SIG_IGN);
  return 1;
}

static int l_arm(lua_State *L) {
  int signum = luaL_checkint(L, 1);
  luaL_argcheck(L, signum > 0 && signum < NSIG, 1, "no such signal");
  armed[signum] = true;
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(signum, &action, NULL);
  return 0;
}

static int l_unhook(lua_State *L) {
  if (lua_gethook(L) == on_hook)
    lua_sethook(L, NULL, 0, 0);
  return 0;
}

/* From here on each signal ends the host at once. */
static int l_disarm(lua_State *L) {
  for (int i = 1; i < NSIG; i++)
    if (armed[i])
      signal(i, SIG_DFL);
  return l_unhook(L);
}

/* The signal that came last and was not taken yet, or nothing. */
static int l_take(lua_State *L) {
  int signum = last_signal;
  last_signal = 0;
  if (signum == 0)
    return 0;
  lua_pushinteger(L, signum);
  return 1;
}

static int l_on_hook(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushlightuserdata(L, &hook_key);
  lua_insert(L, 1);
  lua_rawset(L, LUA_REGISTRYINDEX);
  return 0;
}

static const luaL_Reg functions[] = {
    {"ignored", l_ignored}, {"arm", l_arm},   {"disarm", l_disarm}, {"on_hook", l_on_hook},
    {"unhook", l_unhook},   {"take", l_take}, {NULL, NULL},
};

int luaopen_afar_signals(lua_State *L) {
  lua_pushthread(L); /* kept for the handler. Any thread will do: LuaJIT's hooks belong to all of them */
  luaL_ref(L, LUA_REGISTRYINDEX);
  state = L;
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  return 1;
}
