/* Memory that the host shares with all processes of this machine: what lies in it is read and written in place. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "bindings.h"
#include "bulk.h"

#define TYPE "afar.arena"

/* ---- the core, without Lua ---- */

/* Sealed: whoever else has it can't make it shorter, which would be a SIGBUS here. */
static int sealed_memory(uint64_t size) {
  int fd = memfd_create("afar-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return -errno;
  if (ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
    return fd;
  int error = -errno;
  close(fd);
  return error;
}

static int arena_open(struct arena *arena, uint64_t size) {
  *arena = (struct arena){.size = size, .fd = sealed_memory(size)};
  if (arena->fd < 0)
    return arena->fd;
  arena->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, arena->fd, 0);
  if (arena->base != MAP_FAILED)
    return 0;
  arena->base = NULL;
  return -errno;
}

void *arena_at(const struct arena *arena, uint64_t address, uint64_t length) {
  if (!arena->base || address < arena->there || length > arena->size || address - arena->there > arena->size - length)
    return NULL;
  return arena->base + (address - arena->there);
}

/* For LuaJIT's FFI; `arena` is Lua's object. NULL: not all of it is in the arena. */
void *afar_arena_at(struct arena *arena, double address, double length) {
  return arena_at(arena, (uint64_t)address, (uint64_t)length);
}

/* ---- methods ---- */

struct arena *arena_check(lua_State *L, int index) {
  return luaL_checkudata(L, index, TYPE);
}

/* new(size) -> arena | nil, message. Pages take memory once they are touched. */
static int l_new(lua_State *L) {
  struct arena *arena = lua_newuserdata(L, sizeof *arena);
  int error = arena_open(arena, (uint64_t)luaL_checknumber(L, 1));
  luaL_getmetatable(L, TYPE);
  lua_setmetatable(L, -2);
  if (error == 0)
    return 1;
  lua_pushnil(L);
  lua_pushstring(L, strerror(-error));
  return 2;
}

static int l_fd(lua_State *L) {
  lua_pushinteger(L, arena_check(L, 1)->fd);
  return 1;
}

/* mapped(address): where the processes have it; the fd isn't needed any more */
static int l_mapped(lua_State *L) {
  struct arena *arena = arena_check(L, 1);
  arena->there = (uint64_t)luaL_checknumber(L, 2);
  close(arena->fd);
  arena->fd = -1;
  return 0;
}

/* put(address, text, most) -> boolean: text is there now, with a NUL behind it. false: it has one in it, has no room in
 * `most` bytes, or the place is not in the arena */
static int l_put(lua_State *L) {
  const struct arena *arena = arena_check(L, 1);
  size_t length;
  const char *text = luaL_checklstring(L, 3, &length);
  uint64_t most = (uint64_t)luaL_checknumber(L, 4);
  char *at = arena_at(arena, (uint64_t)luaL_checknumber(L, 2), most);
  int fits = at && length < most && !memchr(text, 0, length);
  if (fits)
    memcpy(at, text, length + 1);
  lua_pushboolean(L, fits);
  return 1;
}

/* string(address, length) -> the bytes there */
static int l_string(lua_State *L) {
  const struct arena *arena = arena_check(L, 1);
  uint64_t length = (uint64_t)luaL_checknumber(L, 3);
  const char *at = arena_at(arena, (uint64_t)luaL_checknumber(L, 2), length);
  luaL_argcheck(L, at, 2, "not all of it is in the arena");
  bulk_push(L, at, length);
  return 1;
}

static int l_gc(lua_State *L) {
  struct arena *arena = arena_check(L, 1);
  if (arena->base)
    munmap(arena->base, arena->size);
  if (arena->fd >= 0)
    close(arena->fd);
  *arena = (struct arena){.fd = -1};
  return 0;
}

static const luaL_Reg methods[] = {{"fd", l_fd},         {"mapped", l_mapped}, {"put", l_put},
                                   {"string", l_string}, {"__gc", l_gc},       {NULL, NULL}};

int luaopen_afar_arena(lua_State *L) {
  luaL_newmetatable(L, TYPE);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_newtable(L);
  lua_pushcfunction(L, l_new);
  lua_setfield(L, -2, "new");
  return 1;
}
