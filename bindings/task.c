#include "task.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "bindings.h"
#include "stream.h"

#define CHAIN "afar.chain"
#define TASK  "afar.task"

enum { NOWHERE = 0xffffffff, LUA_TCDATA = 10 };

static void *grow(void *array, uint32_t *capacity, size_t size) {
  *capacity = *capacity ? *capacity * 2 : 8;
  array = realloc(array, *capacity * size);
  if (!array)
    abort();
  return array;
}

/* ---- chains ---- */

static void chain_unref(struct chain *chain) {
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

static void chain_add(struct chain *chain, struct afar_request request) {
  if (chain->count == chain->capacity)
    chain->outcomes = grow(chain->outcomes, &chain->capacity, sizeof *chain->outcomes);
  chain->outcomes[chain->count++] =
      (struct outcome){.result = -ECANCELED, .most = most_of(&request), .quiet = (request.flags & AFAR_QUIET) != 0};
  if (chain->count > 1)
    request.flags |= AFAR_CHAIN;
  if (request.op == AFAR_OP_HOLD || chain->held)
    chain->held++;
  bytes_append(&chain->requests, &request, sizeof request);
}

/* ---- requests in flight ---- */

static uint32_t pending_take(struct task *task, struct chain *chain, uint32_t index) {
  if (task->pending_free == NOWHERE) {
    uint32_t old = task->pending_size;
    task->pending = grow(task->pending, &task->pending_size, sizeof *task->pending);
    for (uint32_t i = task->pending_size; i-- > old; task->pending_free = i)
      task->pending[i] = (struct pending){.index = task->pending_free};
  }
  uint32_t tag = task->pending_free;
  task->pending_free = task->pending[tag].index;
  task->pending[tag] = (struct pending){chain, index};
  if (task->in_flight++ == 0 && task->linked)
    link_await(&task->link, 1);
  return tag;
}

static void pending_give(struct task *task, uint32_t tag) {
  task->pending[tag] = (struct pending){.index = task->pending_free};
  task->pending_free = tag;
  if (--task->in_flight == 0 && task->linked)
    link_await(&task->link, 0);
}

static void out_later(struct task *task) {
  loop_flush_later(task->loop, &task->flush);
}

/* Puts a chain into the queue that leaves at the end of this turn. */
static void chain_queue(struct task *task, struct chain *chain) {
  char *at = bytes_head(&chain->requests), *end = at + bytes_length(&chain->requests);
  for (uint32_t i = 0; at < end; i++) {
    struct afar_request request;
    memcpy(&request, at, sizeof request);
    request.tag = chain->outcomes[i].tag = pending_take(task, chain, i);
    chain->outcomes[i].state = OUTCOME_SENT;
    memcpy(at, &request, sizeof request);
    at += sizeof request + (request.op == AFAR_OP_WRITE ? request.args[1] : 0);
  }
  chain->at = task->queued;
  task->queued += bytes_length(&chain->requests);
  bytes_append(&task->out, bytes_head(&chain->requests), bytes_length(&chain->requests));
  bytes_free(&chain->requests);
  task->held += chain->held;
  out_later(task);
}

static void chain_submit(struct task *task, struct chain *chain) {
  chain->refs++;
  if (chain->held && task->held > 0 && task->held + chain->held > task->hold_slots) {
    chain->next = NULL;
    *task->waiting_last = chain;
    task->waiting_last = &chain->next;
    return;
  }
  chain_queue(task, chain);
}

static void submit_waiting(struct task *task) {
  while (task->waiting && (task->held == 0 || task->held + task->waiting->held <= task->hold_slots)) {
    struct chain *chain = task->waiting;
    task->waiting = chain->next;
    if (!task->waiting)
      task->waiting_last = &task->waiting;
    chain_queue(task, chain);
  }
}

/* Gives up a reference; that of a call is kept for the next one. */
static void chain_drop(struct task *task, struct chain *chain) {
  if (chain->call && chain->refs == 1 && !task->spare)
    task->spare = chain;
  else
    chain_unref(chain);
}

/* Tells who waits; gives up the task's reference. */
static void chain_complete(struct task *task, struct chain *chain, int64_t result, enum fate fate) {
  loop_complete(task->loop, chain->id, result, fate);
  chain->id = 0;
  chain->done = 1;
  chain->fate = fate;
  chain_drop(task, chain);
}

static void chain_done(struct task *task, struct chain *chain, enum fate fate) {
  task->held -= chain->held;
  chain_complete(task, chain, chain->call ? chain->outcomes[0].result : 0, fate);
  submit_waiting(task);
}

/* Bytes that its reply may have. */
static uint32_t cost_of(const struct task *task, const struct outcome *outcome) {
  uint32_t most = outcome->most < task->read_max ? outcome->most : task->read_max;
  return (uint32_t)sizeof(struct afar_reply) + most;
}

static void settle(struct task *task, struct outcome *outcome) {
  outcome->state = OUTCOME_DONE;
  pending_give(task, outcome->tag);
  if (task->session.on)
    session_answered(&task->session, outcome->end, cost_of(task, outcome));
}

/* Quiet requests before this one that were not answered have succeeded; others can't be without an answer. */
static int settle_quiet(struct task *task, struct chain *chain, uint32_t upto) {
  for (uint32_t i = upto; i-- > 0 && chain->outcomes[i].state == OUTCOME_SENT;) {
    if (!chain->outcomes[i].quiet)
      return -EPROTO;
    chain->outcomes[i].result = 0;
    chain->answered++;
    settle(task, &chain->outcomes[i]);
  }
  return 0;
}

/* One reply is whole. */
static int answered(struct task *task, uint32_t tag, int64_t result) {
  struct chain *chain = task->pending[tag].chain;
  uint32_t index = task->pending[tag].index;
  int error = settle_quiet(task, chain, index);
  if (error)
    return error;
  chain->outcomes[index].result = result;
  settle(task, &chain->outcomes[index]);
  if (++chain->answered == chain->count)
    chain_done(task, chain, FATE_DONE);
  return 0;
}

/* ---- fds that it hands to the root ---- */

static int forget_fd(struct task *task, uint64_t id) {
  char *at = bytes_head(&task->fd_ids), *end = at + bytes_length(&task->fd_ids);
  for (; at < end; at += sizeof id) {
    if (memcmp(at, &id, sizeof id) != 0)
      continue;
    memmove(at, at + sizeof id, (size_t)(end - at) - sizeof id);
    task->fd_ids.tail -= sizeof id;
    return 1;
  }
  return 0;
}

/* The message has come that says for whom an fd is; the fd came right before it. One that nobody waits for is closed;
 * if it is the root's, it stays open there until that ends. */
static int on_fd(struct task *task, const struct afar_reply *reply) {
  int fd = task->linked ? link_take_fd(&task->link) : task->channel ? channel_take_fd(task->channel) : -1;
  int awaited = reply->length == 0 && fd >= 0 && forget_fd(task, (uint64_t)reply->result);
  if (awaited)
    loop_complete(task->loop, (uint64_t)reply->result, fd, FATE_DONE);
  else if (task->linked && fd >= 0)
    close(fd);
  return reply->length == 0 && fd >= 0 ? 0 : -EPROTO;
}

static void end_fds(struct task *task, enum fate fate) {
  while (bytes_length(&task->fd_ids) > 0) {
    uint64_t id;
    memcpy(&id, bytes_head(&task->fd_ids), sizeof id);
    bytes_drop(&task->fd_ids, sizeof id);
    loop_complete(task->loop, id, -EPIPE, fate);
  }
}

/* ---- receiving ---- */

/* A reply's header is there: makes room for its payload. */
static int reply_begin(struct task *task) {
  struct afar_reply *reply = &task->reply;
  if (reply->tag == AFAR_TAG_FD)
    return on_fd(task, reply);
  if (reply->tag >= task->pending_size || !task->pending[reply->tag].chain || reply->length > task->read_max)
    return -EPROTO;
  struct pending *pending = &task->pending[reply->tag];
  struct outcome *outcome = &pending->chain->outcomes[pending->index];
  if (outcome->data || reply->length > outcome->most)
    return -EPROTO;
  if (reply->length == 0)
    return answered(task, reply->tag, reply->result);
  if (reply->result != (int64_t)reply->length)
    return -EPROTO;
  outcome->data = malloc(reply->length);
  if (!outcome->data)
    return -ENOMEM;
  outcome->length = reply->length;
  task->data_left = reply->length;
  return 0;
}

/* Takes a piece of a reply's payload; returns how many bytes that was, or a negative errno. */
static long take_payload(struct task *task, const char *data, size_t length) {
  struct pending *pending = &task->pending[task->reply.tag];
  struct outcome *outcome = &pending->chain->outcomes[pending->index];
  size_t part = length < task->data_left ? length : task->data_left;
  memcpy(outcome->data + outcome->length - task->data_left, data, part);
  task->data_left -= (uint32_t)part;
  int error = task->data_left == 0 ? answered(task, task->reply.tag, task->reply.result) : 0;
  return error ? error : (long)part;
}

/* The same for its header. */
static long take_header(struct task *task, const char *data, size_t length) {
  size_t part = sizeof task->reply - task->reply_have;
  part = length < part ? length : part;
  memcpy((char *)&task->reply + task->reply_have, data, part);
  task->reply_have += part;
  if (task->reply_have < sizeof task->reply)
    return (long)part;
  task->reply_have = 0;
  int error = reply_begin(task);
  return error ? error : (long)part;
}

static int on_data(struct sink *sink, const char *data, size_t length) {
  struct task *task = (struct task *)((char *)sink - offsetof(struct task, sink));
  while (length > 0 && !task->ended) {
    long part = task->data_left > 0 ? take_payload(task, data, length) : take_header(task, data, length);
    if (part < 0)
      return (int)part;
    data += part;
    length -= (size_t)part;
    task->session.received += (uint64_t)part;
  }
  if (task->session.on && !task->ended)
    out_later(task); /* there may be room for more now */
  return 0;
}

static int on_message(struct sink *sink, const struct afar_reply *message) {
  return on_fd((struct task *)((char *)sink - offsetof(struct task, sink)), message);
}

/* ---- sending ---- */

/* How much of what is queued may be sent now. */
static size_t sendable(const struct task *task) {
  uint64_t length = bytes_length(&task->out);
  if (!task->last)
    return length;
  uint64_t left = task->last->end - task->sent;
  return left < length ? left : length;
}

/* Lets requests into the session, one after the other, as far as there is room for their replies. */
static void admit(struct task *task) {
  while (bytes_length(&task->out) > 0) {
    struct afar_request request;
    memcpy(&request, bytes_head(&task->out), sizeof request);
    size_t length = sizeof request + (request.op == AFAR_OP_WRITE ? request.args[1] : 0);
    struct pending *pending = &task->pending[request.tag];
    struct outcome *outcome = &pending->chain->outcomes[pending->index];
    outcome->end = session_admit(&task->session, bytes_head(&task->out), length, cost_of(task, outcome));
    if (outcome->end == 0)
      return;
    bytes_drop(&task->out, length);
    task->sent += length;
  }
}

static void session_flush(struct task *task) {
  size_t length;
  admit(task);
  const char *data = session_next(&task->session, &length);
  long count = task->channel && length > 0 ? channel_write(task->channel, data, length) : 0;
  if (count > 0)
    task->session.written += (uint64_t)count;
}

static void task_flush(struct task *task) {
  if (task->ended)
    return;
  if (task->session.on)
    return session_flush(task);
  size_t length = sendable(task);
  if (length == 0)
    return;
  if (task->stream) {
    stream_data(task->stream, 0, bytes_head(&task->out), length);
    task->sent = task->queued;
    return bytes_drop(&task->out, length);
  }
  long count = task->linked ? link_write(&task->link, bytes_head(&task->out), length)
                            : channel_write(task->channel, bytes_head(&task->out), length);
  if (count <= 0)
    return;
  task->sent += (uint64_t)count;
  bytes_drop(&task->out, (size_t)count);
}

static void run_flush(struct flush *flush) {
  task_flush((struct task *)((char *)flush - offsetof(struct task, flush)));
}

static void on_credit(struct sink *sink) {
  task_flush((struct task *)((char *)sink - offsetof(struct task, sink)));
}

/* ---- the end ---- */

static void task_release(struct task *task) {
  if (--task->refs > 0)
    return;
  loop_flush_forget(task->loop, &task->flush);
  bytes_free(&task->out);
  bytes_free(&task->fd_ids);
  session_free(&task->session);
  if (task->spare)
    chain_unref(task->spare);
  free(task->pending);
  free(task);
}

static void drop_channel(struct task *task) {
  if (!task->channel)
    return;
  task->channel->sink = NULL;
  channel_close(task->channel);
  channel_unref(task->channel);
  task->channel = NULL;
}

static void tell_break(struct task *task, enum fate fate) {
  loop_complete(task->loop, task->break_id, 0, fate);
  task->break_id = 0;
}

/* It has to do without a carrier until another comes: whether that is so. */
static int outlives_carrier(struct task *task, enum fate fate) {
  int is_last = task->last && task->last->done && task->last->outcomes[task->last->count - 1].result == 0;
  if (!task->session.on && !is_last)
    return 0;
  drop_channel(task);
  if (task->linked)
    link_close(&task->link);
  task->linked = 0;
  tell_break(task, fate);
  return 1;
}

static void task_end(struct task *task, enum fate fate) {
  if (task->ended)
    return;
  task->ended = 1 + (int)fate;
  tell_break(task, fate);
  if (task->last)
    chain_unref(task->last);
  task->last = NULL;
  loop_complete(task->loop, task->end_id, 0, fate);
  task->end_id = 0;
  end_fds(task, fate);
  for (uint32_t tag = 0; tag < task->pending_size; tag++) {
    struct chain *chain = task->pending[tag].chain;
    if (!chain)
      continue;
    enum fate how = chain->at >= task->sent ? FATE_UNSENT : fate;
    for (uint32_t i = 0; i < chain->count; i++)
      if (chain->outcomes[i].state == OUTCOME_SENT)
        task->pending[chain->outcomes[i].tag].chain = NULL;
    chain_complete(task, chain, 0, how);
  }
  while (task->waiting) {
    struct chain *chain = task->waiting;
    task->waiting = chain->next;
    chain_complete(task, chain, 0, FATE_UNSENT);
  }
  if (task->stream)
    task->stream->root = NULL;
  task->stream = NULL;
  drop_channel(task);
  if (task->linked)
    link_close(&task->link);
  bytes_free(&task->out);
}

static void on_end(struct sink *sink, enum fate fate, int error) {
  struct task *task = (struct task *)((char *)sink - offsetof(struct task, sink));
  if (outlives_carrier(task, fate))
    return;
  /* A carrier that ends inside a reply, or by an error, broke. But a process that ends with requests unread says that.
   */
  int broke = (error && error != ECONNRESET) || task->reply_have || task->data_left;
  task_end(task, fate == FATE_EOF && broke ? FATE_LOST : fate);
}

/* ---- chains in Lua ---- */

static struct chain *chain_check(lua_State *L, int index) {
  return *(struct chain **)luaL_checkudata(L, index, CHAIN);
}

static int l_chain(lua_State *L) {
  struct chain *chain = calloc(1, sizeof *chain);
  if (!chain)
    return luaL_error(L, "out of memory");
  chain->refs = 1;
  *(struct chain **)lua_newuserdata(L, sizeof chain) = chain;
  luaL_getmetatable(L, CHAIN);
  lua_setmetatable(L, -2);
  return 1;
}

/* A 64-bit argument: a number, or an int64_t/uint64_t cdata. */
static uint64_t check_u64(lua_State *L, int index) {
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
  uint64_t value = check_u64(L, index);
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

/* ---- tasks in Lua ---- */

static struct task *task_check(lua_State *L, int index) {
  return *(struct task **)luaL_checkudata(L, index, TASK);
}

static struct task *task_push(lua_State *L, int limits) {
  struct task *task = calloc(1, sizeof *task);
  if (!task)
    abort();
  task->loop = loop_of(L);
  task->refs = 1;
  task->hold_slots = (uint32_t)luaL_checknumber(L, limits);
  task->read_max = (uint32_t)luaL_checknumber(L, limits + 1);
  task->pending_free = NOWHERE;
  task->waiting_last = &task->waiting;
  task->sink = (struct sink){on_data, on_end, on_credit, on_message};
  task->flush.run = run_flush;
  *(struct task **)lua_newuserdata(L, sizeof task) = task;
  luaL_getmetatable(L, TASK);
  lua_setmetatable(L, -2);
  return task;
}

/* root(stream, hold_slots, read_max) -> task */
static int l_root(lua_State *L) {
  struct stream *stream = stream_check(L, 1);
  luaL_argcheck(L, stream->state == STREAM_OPEN && !stream->root, 1, "not open, or has its root already");
  struct task *task = task_push(L, 2);
  task->stream = stream;
  stream->root = &task->sink;
  return 1;
}

/* child(channel, hold_slots, read_max) -> task; takes the channel over */
static int l_child(lua_State *L) {
  struct channel *channel = channel_check(L, 1);
  luaL_argcheck(L, channel->stream && !channel->sink, 1, "has ended, or is in use");
  struct task *task = task_push(L, 2);
  task->channel = channel;
  channel->refs++;
  channel->sink = &task->sink;
  return 1;
}

/* direct(fd, hold_slots, read_max) -> task of a process on this machine; takes the socket over */
static int l_direct(lua_State *L) {
  int fd = luaL_checkint(L, 1);
  struct task *task = task_push(L, 2);
  task->linked = 1;
  link_open(&task->link, task->loop, fd, &task->sink);
  return 1;
}

/* session(hold_slots, read_max) -> task of a persistent process, which gets its carrier by resume() */
static int l_session(lua_State *L) {
  task_push(L, 1);
  return 1;
}

static int ended(lua_State *L, struct task *task) {
  lua_pushnil(L);
  lua_pushstring(L, "unsent");
  lua_pushstring(L, fate_name(task->ended - 1));
  return 3;
}

/* submit(chain[, nobody_waits]) -> id, which completes when all replies are there | nil, "unsent": the task has ended
 */
static int l_submit(lua_State *L) {
  struct task *task = task_check(L, 1);
  struct chain *chain = chain_check(L, 2);
  luaL_argcheck(L, chain->count > 0 && bytes_length(&chain->requests) > 0, 2, "empty, or submitted already");
  luaL_argcheck(L, chain->held <= task->hold_slots, 2, "more behind the hold than the stub can keep");
  if (task->ended)
    return ended(L, task);
  chain->id = lua_toboolean(L, 3) ? 0 : loop_id(task->loop);
  lua_pushnumber(L, (lua_Number)chain->id);
  chain_submit(task, chain);
  return 1;
}

static struct chain *chain_of_call(struct task *task) {
  struct chain *chain = task->spare;
  task->spare = NULL;
  if (!chain) {
    chain = calloc(1, sizeof *chain);
    if (!chain)
      abort();
    chain_add(chain, (struct afar_request){.op = AFAR_OP_CALL});
    bytes_free(&chain->requests);
    chain->refs = 1;
    chain->call = 1;
  }
  chain->answered = 0;
  chain->done = 0;
  return chain;
}

/* Looks for the chain's answers for a moment, if they come through a ring. */
static void look_for(struct task *task, struct chain *chain) {
  if (!task->linked || !task->link.ring)
    return;
  loop_flush(task->loop);
  while (!chain->done && link_spin(&task->link))
    ;
}

/* await(chain, spin) -> id, which completes when all is answered | nil: it is | nil, fate: it never will be. spin:
 * nobody else has anything to do meanwhile. For chains that were submitted without an id. */
static int l_await(lua_State *L) {
  struct task *task = task_check(L, 1);
  struct chain *chain = chain_check(L, 2);
  if (lua_toboolean(L, 3))
    look_for(task, chain);
  if (!chain->done) {
    chain->id = loop_id(task->loop);
    lua_pushnumber(L, (lua_Number)chain->id);
    return 1;
  }
  lua_pushnil(L);
  if (chain->fate == FATE_DONE)
    return 1;
  lua_pushstring(L, fate_name(chain->fate));
  return 2;
}

static void queue_call(struct task *task, struct chain *chain, struct afar_request *request) {
  chain->refs++;
  request->tag = pending_take(task, chain, 0);
  chain->outcomes[0] = (struct outcome){.tag = request->tag, .state = OUTCOME_SENT};
  chain->at = task->queued;
  task->queued += sizeof *request;
  bytes_append(&task->out, request, sizeof *request);
}

/* call(nr, flags, spin, a1..a6) -> result | nil, id: not answered yet, the completion brings the result | nil, nil: the
 * task has ended. A single system call of numbers. spin: nobody else has anything to do meanwhile. */
static int l_call(lua_State *L) {
  struct task *task = task_check(L, 1);
  struct afar_request request = {
      .op = AFAR_OP_CALL, .nr = (uint16_t)luaL_checkint(L, 2), .flags = (uint8_t)luaL_checkint(L, 3)};
  int top = lua_gettop(L);
  if (task->ended)
    return 0;
  for (int i = 0; i < 6 && 5 + i <= top; i++)
    request.args[i] = check_u64(L, 5 + i);
  struct chain *chain = chain_of_call(task);
  queue_call(task, chain, &request);
  out_later(task);
  if (lua_toboolean(L, 4))
    look_for(task, chain);
  if (chain->outcomes[0].state == OUTCOME_DONE) {
    lua_pushnumber(L, (lua_Number)chain->outcomes[0].result);
    chain_drop(task, chain);
    return 1;
  }
  lua_pushnil(L);
  chain->id = loop_id(task->loop);
  lua_pushnumber(L, (lua_Number)chain->id);
  if (chain->done) /* the task ended while we looked */
    loop_complete(task->loop, chain->id, 0, chain->fate);
  chain_drop(task, chain);
  return 2;
}

/* ring(arena, address): from now on requests go through a ring in the arena, at that address for its process */
static int l_ring(lua_State *L) {
  struct task *task = task_check(L, 1);
  lua_Number address = luaL_checknumber(L, 3);
  struct afar_ring *ring = arena_at(arena_check(L, 2), (uint64_t)address, sizeof *ring);
  luaL_argcheck(L, ring && task->linked && !task->link.ring && task->queued == 0, 3,
                "no place for a ring, or too late");
  struct chain *chain = calloc(1, sizeof *chain);
  if (!chain)
    abort();
  chain->refs = 1;
  link_prepare_ring(ring);
  chain_add(chain, (struct afar_request){.op = AFAR_OP_RING, .args = {(uint64_t)address}});
  chain_queue(task, chain);
  task_flush(task);
  link_use_ring(&task->link, ring);
  link_await(&task->link, 1);
  return 0;
}

/* A chain that still waits for slots just goes: nothing of it was ever sent. */
static int forget_waiting(struct task *task, struct chain *chain) {
  for (struct chain **at = &task->waiting; *at; at = &(*at)->next) {
    if (*at != chain)
      continue;
    *at = chain->next;
    if (!*at)
      task->waiting_last = at;
    for (uint32_t i = 0; i < chain->count; i++)
      chain->outcomes[i].state = OUTCOME_DONE;
    chain_complete(task, chain, 0, FATE_DONE);
    return 1;
  }
  return 0;
}

/* cancel(chain): ends its hold, if it is held; its other requests are performed as their conditions say */
static int l_cancel(lua_State *L) {
  struct task *task = task_check(L, 1);
  struct chain *chain = chain_check(L, 2);
  if (task->ended || forget_waiting(task, chain))
    return 0;
  for (uint32_t i = 0; i < chain->count; i++) {
    if (chain->outcomes[i].state != OUTCOME_SENT)
      continue;
    struct chain *cancel = calloc(1, sizeof *cancel);
    if (!cancel)
      abort();
    cancel->refs = 1;
    chain_add(cancel, (struct afar_request){.op = AFAR_OP_CANCEL, .args = {chain->outcomes[i].tag}});
    chain_submit(task, cancel);
    chain_unref(cancel);
  }
  return 0;
}

/* state() -> "open" | "eof" | "lost" | "done" ... how it ended */
static int l_state(lua_State *L) {
  struct task *task = task_check(L, 1);
  lua_pushstring(L, task->ended ? fate_name(task->ended - 1) : "open");
  return 1;
}

static int l_in_flight(lua_State *L) {
  lua_pushinteger(L, task_check(L, 1)->in_flight);
  return 1;
}

/* expect_fd() -> id, which completes with the number, in the root, of the fd that comes with the message of this id
 * (see hello.message) | nil: it has ended */
static int l_expect_fd(lua_State *L) {
  struct task *task = task_check(L, 1);
  if (task->ended)
    return 0;
  uint64_t id = loop_id(task->loop);
  bytes_append(&task->fd_ids, &id, sizeof id);
  lua_pushnumber(L, (lua_Number)id);
  return 1;
}

/* forget_fd(id): the message was not sent */
static int l_forget_fd(lua_State *L) {
  forget_fd(task_check(L, 1), (uint64_t)luaL_checknumber(L, 2));
  return 0;
}

/* submit_last(chain) -> as submit: its last request ends the carrier, if it succeeds, and all that is queued behind it
 * waits for the next one: see resume() */
static int l_submit_last(lua_State *L) {
  struct task *task = task_check(L, 1);
  struct chain *chain = chain_check(L, 2);
  luaL_argcheck(L, !task->stream && !task->last && !task->session.on, 1, "is no process with a carrier of its own");
  luaL_argcheck(L, chain->held == 0, 2, "has a hold");
  if (task->ended)
    return ended(L, task);
  lua_settop(L, 2);
  int results = l_submit(L);
  chain->end = task->queued;
  chain->refs++;
  task->last = chain;
  return results;
}

static void forget_last(struct task *task) {
  if (task->last)
    chain_unref(task->last);
  task->last = NULL;
  out_later(task);
}

/* go_on(): what was submitted last failed, and the carrier goes on */
static int l_go_on(lua_State *L) {
  forget_last(task_check(L, 1));
  return 0;
}

static void promise_pending(struct task *task) {
  for (uint32_t tag = 0; tag < task->pending_size; tag++) {
    struct pending *pending = &task->pending[tag];
    if (pending->chain)
      task->session.promised += cost_of(task, &pending->chain->outcomes[pending->index]);
  }
}

/* What is in `out` has not been sent, so it isn't awaited yet. */
static void begin_session(struct task *task, uint32_t window) {
  struct bytes out = task->out;
  promise_pending(task);
  for (size_t at = 0; at < bytes_length(&out);) {
    struct afar_request request;
    memcpy(&request, bytes_head(&out) + at, sizeof request);
    struct pending *pending = &task->pending[request.tag];
    task->session.promised -= cost_of(task, &pending->chain->outcomes[pending->index]);
    at += sizeof request + (request.op == AFAR_OP_WRITE ? request.args[1] : 0);
  }
  session_begin(&task->session, window);
  task->session.received = 0;
}

/* resume(channel, requests, window) -> true | false: that can't be the same session. A new carrier, behind the
 * welcome; the first one begins the session. */
static int l_resume(lua_State *L) {
  struct task *task = task_check(L, 1);
  struct channel *channel = channel_check(L, 2);
  uint64_t requests = (uint64_t)luaL_checknumber(L, 3);
  luaL_argcheck(L, channel->stream && !channel->sink, 2, "has ended, or is in use");
  luaL_argcheck(L, !task->stream && !task->ended, 1, "has ended, or is a root's");
  if (!task->session.on)
    begin_session(task, (uint32_t)luaL_checknumber(L, 4));
  drop_channel(task);
  if (task->linked)
    link_close(&task->link);
  task->linked = 0;
  int error = session_resume(&task->session, requests);
  lua_pushboolean(L, error == 0);
  if (error)
    return 1;
  forget_last(task);
  task->channel = channel;
  channel->refs++;
  channel_adopt(channel, &task->sink);
  return 1;
}

/* received() -> bytes of the session's replies */
static int l_received(lua_State *L) {
  struct task *task = task_check(L, 1);
  lua_pushnumber(L, task->session.on ? (lua_Number)task->session.received : 0);
  return 1;
}

/* wait_break() -> id, which completes when it has no carrier any more | nil: it has none */
static int l_wait_break(lua_State *L) {
  struct task *task = task_check(L, 1);
  if (task->ended || (!task->channel && !task->linked))
    return 0;
  if (!task->break_id)
    task->break_id = loop_id(task->loop);
  lua_pushnumber(L, (lua_Number)task->break_id);
  return 1;
}

/* fail(fate): it will have no carrier any more; fate: "eof": its process has ended or execed; "lost" */
static int l_fail(lua_State *L) {
  struct task *task = task_check(L, 1);
  task_end(task, strcmp(luaL_checkstring(L, 2), "eof") == 0 ? FATE_EOF : FATE_LOST);
  return 0;
}

/* wait_end() -> id, which completes when it ends ("eof": its process has ended or execed) | nil: it has */
static int l_wait_end(lua_State *L) {
  struct task *task = task_check(L, 1);
  if (task->ended)
    return 0;
  if (!task->end_id)
    task->end_id = loop_id(task->loop);
  lua_pushnumber(L, (lua_Number)task->end_id);
  return 1;
}

/* Its process may live a moment longer: whoever waits for the end is told that it is not known. */
static void give_up(struct task *task) {
  loop_complete(task->loop, task->end_id, 0, FATE_DONE);
  task->end_id = 0;
  task_end(task, FATE_EOF);
}

/* close(): gives the channel up; a child's carrier ends with it, and so does the child */
static int l_close(lua_State *L) {
  struct task *task = task_check(L, 1);
  task_flush(task);
  give_up(task);
  return 0;
}

/* Finalizers of the same collection that run later may still ask this one: it has ended. */
static int l_task_gc(lua_State *L) {
  static struct task gone = {.ended = 1 + FATE_EOF, .refs = 1, .pending_free = NOWHERE};
  struct task **place = luaL_checkudata(L, 1, TASK), *task = *place;
  if (task == &gone)
    return 0;
  *place = &gone;
  give_up(task);
  task_release(task);
  return 0;
}

static const luaL_Reg chain_methods[] = {
    {"add", l_add},     {"write", l_write},   {"result", l_result}, {"data", l_data},
    {"count", l_count}, {"__gc", l_chain_gc}, {NULL, NULL},
};

static const luaL_Reg task_methods[] = {
    {"await", l_await},
    {"call", l_call},
    {"ring", l_ring},
    {"submit", l_submit},
    {"cancel", l_cancel},
    {"state", l_state},
    {"in_flight", l_in_flight},
    {"close", l_close},
    {"submit_last", l_submit_last},
    {"go_on", l_go_on},
    {"resume", l_resume},
    {"received", l_received},
    {"wait_break", l_wait_break},
    {"fail", l_fail},
    {"wait_end", l_wait_end},
    {"expect_fd", l_expect_fd},
    {"forget_fd", l_forget_fd},
    {"__gc", l_task_gc},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {{"chain", l_chain},   {"root", l_root},       {"child", l_child},
                                     {"direct", l_direct}, {"session", l_session}, {NULL, NULL}};

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int luaopen_afar_task(lua_State *L) {
  new_class(L, CHAIN, chain_methods);
  new_class(L, TASK, task_methods);
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  return 1;
}
