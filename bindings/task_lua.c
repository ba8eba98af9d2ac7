/* What Lua sees of tasks. */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "bindings.h"
#include "stream.h"
#include "task.h"

#define TASK "afar.task"

static struct task *task_check(lua_State *L, int index) {
  return *(struct task **)luaL_checkudata(L, index, TASK);
}

static struct task *task_push(lua_State *L, int limits) {
  uint32_t hold_slots = (uint32_t)luaL_checknumber(L, limits), read_max = (uint32_t)luaL_checknumber(L, limits + 1);
  struct task *task = task_new(loop_of(L), hold_slots, read_max);
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
  luaL_argcheck(L, !chain->in_parts && bytes_length(&chain->far) == 0, 2, "goes in parts");
  luaL_argcheck(L, chain->held <= task->hold_slots, 2, "more behind the hold than the stub can keep");
  if (task->ended)
    return ended(L, task);
  chain->id = lua_toboolean(L, 3) ? 0 : loop_id(task->loop);
  lua_pushnumber(L, (lua_Number)chain->id);
  task_submit(task, chain);
  return 1;
}

/* Looks for the chain's answers for a moment, if they come through a ring, and if nobody has an answer already with
 * which to go on. */
static void look_for(struct task *task, struct chain *chain) {
  if (!task->ring || loop_is_ready(task->loop))
    return;
  loop_flush(task->loop);
  while (!chain->done && task->ring && ring_spin(task->ring))
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

enum { AT_ONCE = 1024 /* bytes of requests with which a stub that looks for them had better begin */ };

static void queue_one(struct task *task, struct chain *chain, struct afar_request *request) {
  uint32_t index = chain->count++;
  request->tag = task_take_tag(task, chain, index);
  task->queued += sizeof *request;
  chain->outcomes[index] = (struct outcome){
      .tag = request->tag, .state = OUTCOME_SENT, .upto = task->queued, .quiet = (request->flags & AFAR_QUIET) != 0};
  bytes_append(&task->out, request, sizeof *request);
}

/* The call that the arguments from `first` on are: its number + 2^16 * flags, then its own arguments. Whether all are
 * numbers that the kernel can be given as they are. */
static int call_of(lua_State *L, int first, struct afar_request *request) {
  int count = lua_gettop(L) - first;
  uint32_t head = (uint32_t)lua_tonumber(L, first);
  *request = (struct afar_request){.op = AFAR_OP_CALL, .nr = (uint16_t)head, .flags = (uint8_t)(head >> 16)};
  for (int i = 0; i < count; i++) {
    if (lua_isnil(L, first + 1 + i))
      continue;
    if (i >= 6 || lua_type(L, first + 1 + i) != LUA_TNUMBER ||
        !chain_fits(lua_tonumber(L, first + 1 + i), &request->args[i]))
      return 0;
  }
  return 1;
}

static int push_answer(lua_State *L, struct task *task, struct chain *chain) {
  int count = 1;
  if (chain->done && chain->fate == FATE_DONE) {
    lua_pushnumber(L, (lua_Number)chain_call_result(chain));
  } else {
    count = 2;
    chain->id = loop_id(task->loop);
    lua_pushnil(L);
    lua_pushnumber(L, (lua_Number)chain->id);
    if (chain->done) /* the task ended while we looked */
      loop_complete(task->loop, chain->id, 0, chain->fate);
  }
  chain_unref(chain);
  return count;
}

/* The call that begins at `first`, once `ready`, a HOLD, has succeeded, if there is one. */
static int call(lua_State *L, int first, struct afar_request *ready) {
  struct task *task = task_check(L, 1);
  struct afar_request request;
  if (!call_of(L, first, &request) || !lua_isyieldable(L)) {
    lua_pushboolean(L, 0);
    return 1;
  }
  if (task->ended)
    return 0;
  struct chain *chain = chain_of_call();
  chain->refs++;
  chain->at = task->queued;
  if (ready) {
    queue_one(task, chain, ready);
    request.flags |= AFAR_CHAIN;
    request.if_ok = 1;
  }
  queue_one(task, chain, &request);
  task_flush_later(task);
  if (task->ring && bytes_length(&task->out) >= AT_ONCE && ring_useful())
    task_flush(task);
  if (lua_toboolean(L, 2))
    look_for(task, chain);
  return push_answer(L, task, chain);
}

/* call(spin, nr + 2^16 * flags, a1..a6) -> result | nil, id: not answered yet, the completion brings the result | nil,
 * nil: the task has ended | false: arguments that are not just numbers, or a place where one can't wait. A single
 * system call. spin: nobody else has anything to do meanwhile. */
static int l_call(lua_State *L) {
  return call(L, 3, NULL);
}

/* call_ready(spin, fd, events, nr + 2^16 * flags, a1..a6) -> as call: if poll(2) reports one of the events at that
 * moment; else the result is -EAGAIN, and nothing was done */
static int l_call_ready(lua_State *L) {
  struct afar_request ready = {.op = AFAR_OP_HOLD,
                               .flags = AFAR_QUIET,
                               .args = {(uint64_t)luaL_checkint(L, 3), (uint64_t)luaL_checkint(L, 4), 1}};
  return call(L, 5, &ready);
}

static void use_ring_of_root(struct task *task, struct afar_ring *ring, uint64_t address) {
  if (!ring_useful())
    return;
  task_ask_ring(task, ring, address);
  task_flush(task);
  stream_use_ring(task->stream, ring);
  task->ring = &task->stream->ring;
  ring_await(task->ring, 1);
}

/* ring(arena, address): requests go through a ring in the arena, at that address for its process: a child's once it is
 * used often. A root, which can do without, has one from now on where that is quicker, and none if it says no. */
static int l_ring(lua_State *L) {
  struct task *task = task_check(L, 1);
  uint64_t address = (uint64_t)luaL_checknumber(L, 3);
  struct afar_ring *ring = arena_at(arena_check(L, 2), address, sizeof *ring);
  int fresh = task->stream ? task->in_flight == 0 : task->linked && !task->prospect.at;
  luaL_argcheck(L, ring && fresh && !task->ring, 3, "no place for a ring, or too late");
  if (task->stream)
    use_ring_of_root(task, ring, address);
  else
    task->prospect = (struct prospect){.at = ring, .address = address};
  return 0;
}

/* wake(): requests will come soon. What takes a moment until then, a CPU's waking up, is done meanwhile. */
static int l_wake(lua_State *L) {
  struct task *task = task_check(L, 1);
  if (task->ring)
    ring_wake(task->ring);
  return 0;
}

/* hurry(): what was submitted leaves at once, and nothing will follow soon: it makes somebody else run, who needs the
 * CPU. Where nobody could begin with it meanwhile, it leaves with this turn's others; a root's, before what its
 * channels send from now on. */
static int l_hurry(lua_State *L) {
  struct task *task = task_check(L, 1);
  if (!task->ring && !task->stream)
    return 0;
  task_flush(task);
  if (task->ring)
    ring_rest(task->ring);
  return 0;
}

/* Ends the holds of a chain that was not sent yet: each just answers so. Returns whether something is performed behind
 * them all the same. */
static int end_holds(struct chain *chain) {
  int ended = 0, left = 0;
  char *at = bytes_head(&chain->requests), *end = at + bytes_length(&chain->requests);
  while (at < end) {
    struct afar_request request;
    memcpy(&request, at, sizeof request);
    if (request.op == AFAR_OP_HOLD) {
      ended = 1;
      request.op = AFAR_OP_VALUE;
      request.flags &= (uint8_t) ~(AFAR_EXPECT | AFAR_EXPECT_ARG);
      request.kinds = 0;
      request.args[0] = (uint64_t)-ECANCELED;
      memcpy(at, &request, sizeof request);
    }
    left |= ended && request.op != AFAR_OP_VALUE && !request.if_ok;
    at += sizeof request + (request.op == AFAR_OP_WRITE ? request.args[1] : 0);
  }
  chain->held = 0;
  return left;
}

/* A chain that still waits for slots needs none without its holds. It just goes, unless something has to be performed
 * in any case. */
static int forget_waiting(struct task *task, struct chain *chain) {
  for (struct chain **at = &task->waiting; *at; at = &(*at)->next) {
    if (*at != chain)
      continue;
    *at = chain->next;
    if (!*at)
      task->waiting_last = at;
    if (end_holds(chain)) {
      task_queue(task, chain);
      return 1;
    }
    for (uint32_t i = 0; i < chain->count; i++)
      chain->outcomes[i].state = OUTCOME_DONE;
    task_complete(task, chain, 0, FATE_DONE);
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
    task_submit(task, cancel);
    chain_unref(cancel);
  }
  return 0;
}

/* state() -> "open" | "eof" | "lost" | "done" ...: how it ended[, what was not understood, if that ended it] */
static int l_state(lua_State *L) {
  struct task *task = task_check(L, 1);
  lua_pushstring(L, task->ended ? fate_name(task->ended - 1) : "open");
  lua_pushstring(L, task->ended ? task->sink.fault : NULL);
  return 2;
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
  task_forget_fd(task_check(L, 1), (uint64_t)luaL_checknumber(L, 2));
  return 0;
}

/* submit_last(chain) -> as submit: its last request ends the carrier, if it succeeds, and all that is queued behind it
 * waits for the next one: see resume() */
static int l_submit_last(lua_State *L) {
  struct task *task = task_check(L, 1);
  struct chain *chain = chain_check(L, 2);
  luaL_argcheck(L, !task->last && !task->session.on, 1, "has a last one already, or outlives its carriers");
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
  task_flush_later(task);
}

/* go_on(): what was submitted last failed, and the carrier goes on */
static int l_go_on(lua_State *L) {
  forget_last(task_check(L, 1));
  return 0;
}

/* leave_stream(): a root's; its last chain was answered, and the stream is another's */
static int l_leave_stream(lua_State *L) {
  struct task *task = task_check(L, 1);
  luaL_argcheck(L, task->last && task->last->done, 1, "was not told to");
  task_leave_stream(task);
  return 0;
}

/* The most bytes that the replies to all that was sent, or will be, can have. */
static uint64_t awaited(const struct task *task) {
  uint64_t sum = 0;
  for (uint32_t tag = 0; tag < task->pending_size; tag++) {
    const struct pending *pending = &task->pending[tag];
    if (pending->chain)
      sum += task_cost(task, &pending->chain->outcomes[pending->index]);
  }
  return sum;
}

/* fits_session() -> whether a process that becomes persistent now can keep all answers that are awaited */
static int l_fits_session(lua_State *L) {
  lua_pushboolean(L, awaited(task_check(L, 1)) <= AFAR_PERSIST_WINDOW);
  return 1;
}

/* What is in `out` has not been sent, so it isn't awaited yet. */
static void begin_session(struct task *task, uint32_t window) {
  struct bytes out = task->out;
  task->session.promised = awaited(task);
  for (size_t at = 0; at < bytes_length(&out);) {
    struct afar_request request;
    memcpy(&request, bytes_head(&out) + at, sizeof request);
    struct pending *pending = &task->pending[request.tag];
    task->session.promised -= task_cost(task, &pending->chain->outcomes[pending->index]);
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
  task_drop_channel(task);
  task_drop_link(task);
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

/* cut(): a session's carrier ends now: what it has not brought is to come by the next one */
static int l_cut(lua_State *L) {
  struct task *task = task_check(L, 1);
  if (task->session.on && !task->ended)
    task_cut(task, FATE_LOST);
  return 0;
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
  static struct task gone = {.ended = 1 + FATE_EOF, .refs = 1, .pending_free = TASK_NO_TAG};
  struct task **place = luaL_checkudata(L, 1, TASK), *task = *place;
  if (task == &gone)
    return 0;
  *place = &gone;
  give_up(task);
  task_release(task);
  return 0;
}

static const luaL_Reg task_methods[] = {
    {"await", l_await},
    {"call", l_call},
    {"call_ready", l_call_ready},
    {"ring", l_ring},
    {"wake", l_wake},
    {"hurry", l_hurry},
    {"submit", l_submit},
    {"cancel", l_cancel},
    {"state", l_state},
    {"in_flight", l_in_flight},
    {"close", l_close},
    {"submit_last", l_submit_last},
    {"go_on", l_go_on},
    {"leave_stream", l_leave_stream},
    {"resume", l_resume},
    {"cut", l_cut},
    {"received", l_received},
    {"fits_session", l_fits_session},
    {"wait_break", l_wait_break},
    {"fail", l_fail},
    {"wait_end", l_wait_end},
    {"expect_fd", l_expect_fd},
    {"forget_fd", l_forget_fd},
    {"__gc", l_task_gc},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {{"chain", chain_create}, {"root", l_root},       {"child", l_child},
                                     {"direct", l_direct},    {"session", l_session}, {NULL, NULL}};

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int luaopen_afar_task(lua_State *L) {
  chain_class(L);
  new_class(L, TASK, task_methods);
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  return 1;
}
