#include "chain.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define TYPE "afar.chain"

enum { LUA_TCDATA = 10 };

/* ---- the core, without Lua ---- */

void *array_grow(void *array, uint32_t *capacity, size_t size) {
  *capacity = *capacity ? *capacity * 2 : 8;
  array = realloc(array, *capacity * size);
  if (!array)
    abort();
  return array;
}

void chain_unref(struct chain *chain) {
  if (--chain->refs > 0)
    return;
  for (uint32_t i = 0; i < chain->count; i++)
    free(chain->outcomes[i].data);
  free(chain->outcomes);
  bytes_free(&chain->requests);
  free(chain);
}

/* Bytes that the reply may bring. */
static uint32_t most_of(const struct afar_request *request) {
  if (request->op != AFAR_OP_READ)
    return 0;
  if ((request->kinds >> 2 & 3) != AFAR_LITERAL || request->args[1] > UINT32_MAX)
    return UINT32_MAX;
  return (uint32_t)request->args[1];
}

void chain_add(struct chain *chain, struct afar_request request) {
  if (chain->count == chain->capacity)
    chain->outcomes = array_grow(chain->outcomes, &chain->capacity, sizeof *chain->outcomes);
  chain->outcomes[chain->count++] =
      (struct outcome){.result = -ECANCELED, .most = most_of(&request), .quiet = (request.flags & AFAR_QUIET) != 0};
  if (chain->count > 1)
    request.flags |= AFAR_CHAIN;
  if (request.op == AFAR_OP_HOLD || chain->held)
    chain->held++;
  bytes_append(&chain->requests, &request, sizeof request);
}
/* ---- methods ---- */

struct chain *chain_check(lua_State *L, int index) {
  return *(struct chain **)luaL_checkudata(L, index, TYPE);
}

int chain_create(lua_State *L) {
  struct chain *chain = calloc(1, sizeof *chain);
  if (!chain)
    return luaL_error(L, "out of memory");
  chain->refs = 1;
  *(struct chain **)lua_newuserdata(L, sizeof chain) = chain;
  luaL_getmetatable(L, TYPE);
  lua_setmetatable(L, -2);
  return 1;
}

/* A 64-bit argument: a number, or an int64_t/uint64_t cdata. */
uint64_t chain_check_u64(lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TCDATA) {
    uint64_t value;
    memcpy(&value, lua_topointer(L, index), sizeof value);
    return value;
  }
  lua_Number number = lua_tonumber(L, index);
  return number < 0 ? (uint64_t)(int64_t)number : (uint64_t)number;
}

/* RESULT arguments come as distance * 2^40 + (constant + 2^39). */
static uint64_t check_argument(lua_State *L, int index, unsigned kind) {
  uint64_t value = chain_check_u64(L, index);
  if (kind != AFAR_RESULT)
    return value;
  int64_t constant = (int64_t)(value & 0xffffffffff) - ((int64_t)1 << 39);
  return (value >> 40) << 56 | ((uint64_t)constant & 0xffffffffffffff);
}

static uint32_t expect_of(lua_State *L, int index) {
  return (uint32_t)(int32_t)luaL_optnumber(L, index, 0);
}

/* chain:add(op, nr, flags, if_ok, if_failed, expect, kinds, a1..a6) -> index */
static int l_add(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  struct afar_request request = {
      .op = (uint8_t)luaL_checkint(L, 2),
      .nr = (uint16_t)luaL_checkint(L, 3),
      .flags = (uint8_t)luaL_checkint(L, 4),
      .if_ok = (uint8_t)luaL_checkint(L, 5),
      .if_failed = (uint8_t)luaL_checkint(L, 6),
      .expect = expect_of(L, 7),
      .kinds = (uint16_t)luaL_checkint(L, 8),
  };
  int top = lua_gettop(L);
  for (int i = 0; i < 6 && 9 + i <= top; i++)
    request.args[i] = check_argument(L, 9 + i, request.kinds >> 2 * i & 3);
  luaL_argcheck(L, request.op != AFAR_OP_WRITE, 2, "use write()");
  chain_add(chain, request);
  lua_pushinteger(L, chain->count);
  return 1;
}

/* chain:write(address, string[, flags, if_ok, if_failed, kinds]) -> index. Expects that all of it is written. */
static int l_write(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  size_t length;
  const char *data = luaL_checklstring(L, 3, &length);
  luaL_argcheck(L, length <= 0x7fffffff, 3, "longer than 2 GiB");
  luaL_argcheck(L, chain->held == 0, 3, "no data behind a hold");
  struct afar_request request = {
      .op = AFAR_OP_WRITE,
      .flags = (uint8_t)luaL_optint(L, 4, 0),
      .if_ok = (uint8_t)luaL_optint(L, 5, 0),
      .if_failed = (uint8_t)luaL_optint(L, 6, 0),
      .kinds = (uint16_t)luaL_optint(L, 7, 0),
  };
  request.args[0] = check_argument(L, 2, request.kinds & 3);
  request.args[1] = length;
  chain_add(chain, request);
  bytes_append(&chain->requests, data, length);
  lua_pushinteger(L, chain->count);
  return 1;
}

/* chain:result(index) -> number | nil: not answered */
static int l_result(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  uint32_t index = (uint32_t)luaL_checkint(L, 2) - 1;
  if (index >= chain->count || chain->outcomes[index].state != OUTCOME_DONE)
    return 0;
  lua_pushnumber(L, (lua_Number)chain->outcomes[index].result);
  return 1;
}

/* chain:data(index) -> string | nil: what a READ brought */
static int l_data(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  uint32_t index = (uint32_t)luaL_checkint(L, 2) - 1;
  if (index >= chain->count || chain->outcomes[index].state != OUTCOME_DONE)
    return 0;
  struct outcome *outcome = &chain->outcomes[index];
  lua_pushlstring(L, outcome->data ? outcome->data : "", outcome->length);
  return 1;
}

static int l_count(lua_State *L) {
  lua_pushinteger(L, chain_check(L, 1)->count);
  return 1;
}

static int l_chain_gc(lua_State *L) {
  chain_unref(chain_check(L, 1));
  return 0;
}
static const luaL_Reg methods[] = {
    {"add", l_add},     {"write", l_write},   {"result", l_result}, {"data", l_data},
    {"count", l_count}, {"__gc", l_chain_gc}, {NULL, NULL},
};

void chain_class(lua_State *L) {
  luaL_newmetatable(L, TYPE);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
