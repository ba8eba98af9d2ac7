#include "chain.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bulk.h"
#include "split.h"

#define TYPE "afar.chain"

enum { LUA_TCDATA = 10, KEPT = 1024 /* requests for which an empty chain keeps memory */, SPARES = 1024 };

/* Chains of calls that were answered, for the next ones. */
static struct chain *spares;
static unsigned spare_count;

/* ---- the core, without Lua ---- */

void *array_grow(void *array, uint32_t *capacity, size_t size) {
  *capacity = *capacity ? *capacity * 2 : 8;
  array = realloc(array, *capacity * size);
  if (!array)
    abort();
  return array;
}

static void keep_call(struct chain *chain) {
  chain->next = spares;
  spares = chain;
  spare_count++;
}

struct chain *chain_of_call(void) {
  struct chain *chain = spares;
  if (chain) {
    spares = chain->next;
    spare_count--;
    *chain = (struct chain){.outcomes = chain->outcomes, .capacity = chain->capacity};
  } else {
    chain = calloc(1, sizeof *chain);
    if (!chain)
      abort();
    chain->outcomes = array_grow(NULL, &chain->capacity, sizeof *chain->outcomes);
  }
  chain->refs = chain->call = 1;
  return chain;
}

int64_t chain_call_result(const struct chain *chain) {
  const struct outcome *first = chain->outcomes, *last = first + chain->count - 1;
  return last->result == -ECANCELED && first->result < 0 ? first->result : last->result;
}

void chain_unref(struct chain *chain) {
  if (--chain->refs > 0)
    return;
  if (chain->call && spare_count < SPARES)
    return keep_call(chain);
  for (uint32_t i = 0; i < chain->count; i++)
    free(chain->outcomes[i].data);
  free(chain->outcomes);
  bytes_free(&chain->requests);
  bytes_free(&chain->kept);
  bytes_free(&chain->far);
  split_free(chain->split);
  free(chain);
}

static void chain_clear(struct chain *chain) {
  for (uint32_t i = 0; i < chain->count; i++)
    free(chain->outcomes[i].data);
  bytes_drop(&chain->requests, bytes_length(&chain->requests));
  bytes_free(&chain->kept);
  bytes_free(&chain->far);
  split_free(chain->split);
  struct chain empty = {
      .refs = 1, .requests = chain->requests, .outcomes = chain->outcomes, .capacity = chain->capacity};
  *chain = empty;
}

/* What the reply may bring. */
static struct outcome unanswered(const struct afar_request *request) {
  struct outcome outcome = {.result = -ECANCELED, .quiet = (request->flags & AFAR_QUIET) != 0};
  if (request->op != AFAR_OP_READ)
    return outcome;
  outcome.open = (request->kinds >> 2 & 3) != AFAR_LITERAL || request->args[1] > UINT32_MAX;
  outcome.most = outcome.open ? UINT32_MAX : (uint32_t)request->args[1];
  return outcome;
}

void chain_add(struct chain *chain, struct afar_request request) {
  if (request.op == AFAR_OP_READ)
    request.flags &= (uint8_t)~AFAR_QUIET; /* without a reply there is no data */
  if (chain->count == chain->capacity)
    chain->outcomes = array_grow(chain->outcomes, &chain->capacity, sizeof *chain->outcomes);
  chain->outcomes[chain->count++] = unanswered(&request);
  if (chain->count > 1)
    request.flags |= AFAR_CHAIN;
  if (request.op == AFAR_OP_HOLD || chain->held)
    chain->held++;
  memcpy(bytes_room(&chain->requests, sizeof request), &request, sizeof request);
  bytes_grow(&chain->requests, sizeof request);
}

static uint64_t u64_of(double number) {
  return number < 0x1p63 ? (uint64_t)(int64_t)number : (uint64_t)number;
}

int chain_fits(double number, uint64_t *value) {
  if (!(number >= -0x1p63 && number < 0x1p64))
    return 0;
  *value = u64_of(number);
  return (number < 0 ? (double)(int64_t)*value : (double)*value) == number;
}

/* RESULT arguments come as distance * 2^40 + (constant + 2^39). */
static uint64_t argument_of(uint64_t value, unsigned kind) {
  if (kind != AFAR_RESULT)
    return value;
  int64_t constant = (int64_t)(value & 0xffffffffff) - ((int64_t)1 << 39);
  return (value >> 40) << 56 | ((uint64_t)constant & 0xffffffffffffff);
}

int is_errno(int64_t result) {
  return result < 0 && result >= -4095;
}

/* ---- for LuaJIT's FFI: what is called for each request, and must cost next to nothing (lua/afar/record.lua) ----
 * `box` is Lua's object. Numbers come as doubles, which is what Lua has. */

/* head: op + flags * 2^8 + nr * 2^16. conditions: if_ok + if_failed * 2^8 + kinds * 2^16. */
void afar_chain_add(struct chain **box, double head, double conditions, double expect, double a, double b, double c,
                    double d, double e, double f) {
  uint32_t what = (uint32_t)head, when = (uint32_t)conditions, kinds = when >> 16;
  struct afar_request request = {.op = (uint8_t)what,
                                 .flags = (uint8_t)(what >> 8),
                                 .nr = (uint16_t)(what >> 16),
                                 .kinds = (uint16_t)kinds,
                                 .if_ok = (uint8_t)when,
                                 .if_failed = (uint8_t)(when >> 8),
                                 .expect = (uint32_t)(int32_t)expect,
                                 .args = {u64_of(a), u64_of(b), u64_of(c), u64_of(d), u64_of(e), u64_of(f)}};
  for (int i = 0; kinds != 0; i++, kinds >>= 2)
    request.args[i] = argument_of(request.args[i], kinds & 3);
  chain_add(*box, request);
}

/* The result of request `index`, from 1; NaN: it was not answered. */
double afar_chain_result(struct chain **box, uint32_t index) {
  struct chain *chain = *box;
  if (index - 1 >= chain->count || chain->outcomes[index - 1].state != OUTCOME_DONE)
    return NAN;
  return (double)chain->outcomes[index - 1].result;
}

/* The first request from `index` on that was answered by an errno: by ECANCELED, or by any other. 0: none. */
uint32_t afar_chain_failure(struct chain **box, uint32_t index, int canceled) {
  struct chain *chain = *box;
  for (uint32_t i = index - 1; i < chain->count; i++) {
    int64_t result = chain->outcomes[i].result;
    if (is_errno(result) && (result == -ECANCELED) == (canceled != 0))
      return i + 1;
  }
  return 0;
}

/* ---- the same, for chains that are recorded once and sent often (lua/afar/prepared.lua) ---- */

/* Bytes of all that was recorded: where the next request will be. */
double afar_chain_length(struct chain **box) {
  return (double)bytes_length(&(*box)->requests);
}

/* What was recorded stays, to be sent again and again: see l_again. */
void afar_chain_keep(struct chain **box) {
  bytes_move(&(*box)->kept, &(*box)->requests);
}

/* An argument, from 0, of the request at byte `at` of what is kept. */
void afar_chain_put(struct chain **box, double at, uint32_t argument, double value) {
  struct bytes *kept = &(*box)->kept;
  uint64_t number = u64_of(value);
  if (argument < 6 && at >= 0 && at + sizeof(struct afar_request) <= (double)bytes_length(kept))
    memcpy(bytes_head(kept) + (size_t)at + offsetof(struct afar_request, args) + argument * sizeof number, &number,
           sizeof number);
}

/* ---- methods ---- */

struct chain *chain_check(lua_State *L, int index) {
  return *(struct chain **)luaL_checkudata(L, index, TYPE);
}

/* Gives Lua the reference that the caller has. */
static int push_chain(lua_State *L, struct chain *chain) {
  *(struct chain **)lua_newuserdata(L, sizeof chain) = chain;
  luaL_getmetatable(L, TYPE);
  lua_setmetatable(L, -2);
  return 1;
}

int chain_create(lua_State *L) {
  struct chain *chain = calloc(1, sizeof *chain);
  if (!chain)
    return luaL_error(L, "out of memory");
  chain->refs = 1;
  return push_chain(L, chain);
}

/* A 64-bit argument: a number, or an int64_t/uint64_t cdata. */
uint64_t chain_check_u64(lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TCDATA) {
    uint64_t value;
    memcpy(&value, lua_topointer(L, index), sizeof value);
    return value;
  }
  return u64_of(lua_tonumber(L, index));
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
    request.args[i] = argument_of(chain_check_u64(L, 9 + i), request.kinds >> 2 * i & 3);
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
  chain->in_parts |= chain->held > 0;
  struct afar_request request = {
      .op = AFAR_OP_WRITE,
      .flags = (uint8_t)luaL_optint(L, 4, 0),
      .if_ok = (uint8_t)luaL_optint(L, 5, 0),
      .if_failed = (uint8_t)luaL_optint(L, 6, 0),
      .kinds = (uint16_t)luaL_optint(L, 7, 0),
  };
  request.args[0] = argument_of(chain_check_u64(L, 2), request.kinds & 3);
  request.args[1] = length;
  chain_add(chain, request);
  bytes_append(&chain->requests, data, length);
  lua_pushinteger(L, chain->count);
  return 1;
}

/* far(place, source): the request that is added next refers, in argument `place` (from 0), if_ok (6) or if_failed (7),
 * to request `source`, which is too far back for its header to say so; see split.h */
static int l_far(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  struct reference far = {chain->count, (uint32_t)luaL_checkint(L, 2), (uint32_t)luaL_checkint(L, 3) - 1};
  bytes_append(&chain->far, &far, sizeof far);
  return 0;
}

/* part(limit, canceled) -> chain: what is to be sent next of one that goes in parts; see split.h | nil: all is
 * answered. Takes what came of the part before. */
static int l_part(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  split_take(chain);
  struct chain *part = split_next(chain, (uint32_t)luaL_checkint(L, 2), lua_toboolean(L, 3));
  if (!part)
    return 0;
  part->refs++;
  return push_chain(L, part);
}

/* take(): what came of the last part, of which nothing follows */
static int l_take(lua_State *L) {
  split_take(chain_check(L, 1));
  return 0;
}

/* ---- a script: what a child performs from memory ---- */

static void number_requests(struct chain *chain) {
  char *at = bytes_head(&chain->requests);
  for (uint32_t i = 0; i < chain->count; i++, at += sizeof(struct afar_request)) {
    memcpy(at + offsetof(struct afar_request, tag), &i, sizeof i);
    chain->outcomes[i].tag = i;
    chain->outcomes[i].state = OUTCOME_SENT;
  }
}

/* Takes one reply of a script. Quiet requests before it have succeeded. */
static int take_reply(struct chain *chain, const struct afar_reply *reply) {
  if (reply->tag >= chain->count || reply->tag < chain->answered || reply->length != 0)
    return -EPROTO;
  for (; chain->answered < reply->tag; chain->answered++) {
    struct outcome *outcome = &chain->outcomes[chain->answered];
    if (!outcome->quiet)
      return -EPROTO;
    outcome->result = 0;
    outcome->state = OUTCOME_DONE;
  }
  chain->outcomes[reply->tag].result = reply->result;
  chain->outcomes[reply->tag].state = OUTCOME_DONE;
  chain->answered++;
  return 0;
}

/* chain:script() -> its requests, encoded, for a child's memory; from then on it is answered by take_replies() */
static int l_script(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  size_t length = bytes_length(&chain->requests);
  luaL_argcheck(L, length == chain->count * sizeof(struct afar_request), 1, "no script: it has payload, or was sent");
  luaL_argcheck(L, bytes_length(&chain->far) == 0, 1, "goes in parts");
  number_requests(chain);
  lua_pushlstring(L, bytes_head(&chain->requests), length);
  bytes_drop(&chain->requests, length);
  return 1;
}

/* chain:take_replies(bytes) -> whether they are understood: what the child has answered; all else it has not */
static int l_take_replies(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  size_t length;
  const char *data = luaL_checklstring(L, 2, &length);
  int error = 0;
  for (; !error && length >= sizeof(struct afar_reply); length -= sizeof(struct afar_reply)) {
    struct afar_reply reply;
    memcpy(&reply, data, sizeof reply);
    data += sizeof reply;
    error = take_reply(chain, &reply);
  }
  lua_pushboolean(L, !error && length == 0);
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

/* chain:results(list) -> failed, canceled: the result of each request as list[1] ...; nil where it was not answered.
 * failed: the first that was answered by an errno; canceled: the first that was by ECANCELED; nil: none */
static int l_results(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  uint32_t first[2] = {0, 0};
  luaL_checktype(L, 2, LUA_TTABLE);
  for (uint32_t i = 0; i < chain->count; i++) {
    const struct outcome *outcome = &chain->outcomes[i];
    int canceled = outcome->result == -ECANCELED;
    if (is_errno(outcome->result) && first[canceled] == 0)
      first[canceled] = i + 1;
    if (outcome->state == OUTCOME_DONE)
      lua_pushnumber(L, (lua_Number)outcome->result);
    else
      lua_pushnil(L);
    lua_rawseti(L, 2, (int)i + 1);
  }
  for (int i = 0; i < 2; i++)
    if (first[i])
      lua_pushinteger(L, first[i]);
    else
      lua_pushnil(L);
  return 2;
}

/* chain:data(index) -> string | nil: what a READ brought */
static int l_data(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  uint32_t index = (uint32_t)luaL_checkint(L, 2) - 1;
  if (index >= chain->count || chain->outcomes[index].state != OUTCOME_DONE)
    return 0;
  struct outcome *outcome = &chain->outcomes[index];
  bulk_push(L, outcome->data ? outcome->data : "", outcome->length);
  return 1;
}

static int l_count(lua_State *L) {
  lua_pushinteger(L, chain_check(L, 1)->count);
  return 1;
}

/* reset() -> boolean: it is empty again, with the memory that it had; false: it is still in use */
static int l_reset(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  int free_ = chain->refs == 1 && chain->capacity <= KEPT;
  if (free_)
    chain_clear(chain);
  lua_pushboolean(L, free_);
  return 1;
}

static void send_again(struct chain *chain) {
  for (uint32_t i = 0; i < chain->count; i++) {
    free(chain->outcomes[i].data);
    chain->outcomes[i].data = NULL;
    chain->outcomes[i].result = -ECANCELED;
    chain->outcomes[i].length = 0;
    chain->outcomes[i].end = 0;
    chain->outcomes[i].state = OUTCOME_NONE;
  }
  chain->answered = 0;
  chain->end = 0;
  chain->done = 0;
  bytes_drop(&chain->requests, bytes_length(&chain->requests));
  bytes_append(&chain->requests, bytes_head(&chain->kept), bytes_length(&chain->kept));
}

/* again(): what was kept can be submitted once more; it is not in flight */
static int l_again(lua_State *L) {
  struct chain *chain = chain_check(L, 1);
  luaL_argcheck(L, chain->refs == 1, 1, "is in flight");
  send_again(chain);
  return 0;
}

static int l_chain_gc(lua_State *L) {
  chain_unref(chain_check(L, 1));
  return 0;
}
static const luaL_Reg methods[] = {
    {"add", l_add},
    {"write", l_write},
    {"result", l_result},
    {"data", l_data},
    {"count", l_count},
    {"reset", l_reset},
    {"far", l_far},
    {"part", l_part},
    {"take", l_take},
    {"results", l_results},
    {"again", l_again},
    {"script", l_script},
    {"take_replies", l_take_replies},
    {"__gc", l_chain_gc},
    {NULL, NULL},
};

void chain_class(lua_State *L) {
  luaL_newmetatable(L, TYPE);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
