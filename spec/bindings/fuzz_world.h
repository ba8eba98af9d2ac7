/* What a conversation consists of, and how the fuzzer follows it: the objects in Lua, who waits for what, the answers
 * that must come, and the carrier below all of it. */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include <errno.h>
#include <lauxlib.h>
#include <unistd.h>

#include "bindings.h"
#include "far_side.h"
#include "stream.h"

#define MARKER "0123456789abcdef0123456789abcdef"

enum { NOT_A_CALL = -5000, CHAINS = 24, REQUESTS = 8, IDS = 512, PAIRS = 4, OBJECTS = 120 };

/* A chain that was submitted, and what it must bring if the far side does nothing wrong. */
struct sent {
  struct chain *chain;
  struct task *task;
  int object;
  uint64_t id;
  int reached; /* the far side has seen some of it */
  unsigned char ops[REQUESTS];
  struct {
    int64_t result;
    uint32_t length;
    char first;
  } want[REQUESTS];
};

/* One stream of the host's, with its far side. */
struct side {
  struct stream *stream;
  struct far far;
  struct bytes start; /* marker and hello, as far as it was not delivered yet */
  struct task *root;
  int object, above; /* above: the line that carries it, of the first side */
};

static struct {
  lua_State *L;
  struct loop *loop;
  struct chance chance;
  uint64_t seed, number;
  int fds;   /* that are open between two inputs */
  int right; /* the far side does nothing wrong */
  int about_session;
  int pairs[PAIRS][2], pair_count; /* fds that pumps go through */
  struct stream lower;
  struct channel *carrier;
  struct side sides[2];
  int side_count, task_count;
  struct task *tasks[LINES * 2];
  int task_objects[LINES * 2];
  struct sent sent[CHAINS];
  int sent_count;
  uint64_t first_id;
  signed char ids[IDS]; /* 1: somebody waits, 2: completed, 3: waits for an fd, -1: nobody waits any more */
  int64_t want[IDS];    /* of a call: the result */
} f;

/* Counted over all workers. */
static struct { _Atomic uint64_t open, kept, answers, right; } * seen;

/* ---- what must not happen ---- */

static void where(void) {
  fprintf(stderr, "FAILED at input %llu of seed %llu: host_fuzz 1 %llu %llu\n", (unsigned long long)f.number,
          (unsigned long long)f.seed, (unsigned long long)f.seed, (unsigned long long)f.number);
}

_Noreturn static void wrong(int line, const char *what) {
  fprintf(stderr, "line %d: not so: %s\n", line, what);
  where();
  _exit(1);
}

/* ---- Lua: objects are known by their place on the stack ---- */

static void method(int object, const char *name) {
  lua_getfield(f.L, object, name);
  lua_pushvalue(f.L, object);
}

/* Calls the method, and keeps what it gave as an object. */
static int make(int arguments) {
  lua_call(f.L, arguments, 1);
  return lua_gettop(f.L);
}

static void act(int arguments) {
  lua_call(f.L, arguments, 0);
}

/* Somebody waits for the id on top of the stack, if one is there. */
static uint64_t take_pushed_id(void) {
  uint64_t id = (uint64_t)lua_tonumber(f.L, -1);
  lua_pop(f.L, 1);
  if (id != 0) {
    MUST(id >= f.first_id && id - f.first_id < IDS);
    MUST(f.ids[id - f.first_id] == 0);
    f.ids[id - f.first_id] = 1;
  }
  return id;
}

static uint64_t take_id(int arguments) {
  lua_call(f.L, arguments, 1);
  return take_pushed_id();
}

static void forget_id(uint64_t id) {
  if (id != 0)
    f.ids[id - f.first_id] = -1;
}

static int is_gone(int object) {
  return lua_isnoneornil(f.L, object);
}

static struct side *some_side(void) {
  return &f.sides[below(&f.chance, (uint32_t)f.side_count)];
}

static void keep_task(int object) {
  f.task_objects[f.task_count] = object;
  f.tasks[f.task_count++] = *(struct task **)lua_touserdata(f.L, object);
}

/* ---- what was answered ---- */

static struct sent *sent_of(const struct chain *chain) {
  for (int i = 0; i < f.sent_count; i++)
    if (f.sent[i].chain == chain && !is_gone(f.sent[i].object))
      return &f.sent[i];
  return NULL;
}

static void will_get(struct task *task, uint32_t tag, int64_t result, uint32_t length, char first) {
  if (!task || tag >= task->pending_size || !task->pending[tag].chain)
    return;
  struct chain *chain = task->pending[tag].chain;
  struct sent *sent = sent_of(chain);
  if (chain->call && chain->id >= f.first_id)
    f.want[chain->id - f.first_id] = result;
  if (sent) {
    uint32_t i = task->pending[tag].index;
    sent->want[i].result = result;
    sent->want[i].length = length;
    sent->want[i].first = first;
  }
}

static uint64_t was_asked(struct task *task, uint32_t tag) {
  if (!task || tag >= task->pending_size || !task->pending[tag].chain)
    return UINT64_MAX;
  struct chain *chain = task->pending[tag].chain;
  struct sent *sent = sent_of(chain);
  if (sent)
    sent->reached = 1;
  return chain->at;
}

static void check_answer(const struct sent *sent, uint32_t i) {
  lua_State *L = f.L;
  size_t length = 0;
  MUST(lua_tonumber(L, -2) == (lua_Number)sent->want[i].result);
  const char *data = lua_tolstring(L, -1, &length);
  MUST(data && length == sent->want[i].length);
  for (size_t at = 0; at < length; at++)
    MUST(data[at] == (char)(sent->want[i].first + (char)at));
}

/* Lua decodes what a READ brings as what it asked for. */
static int brought_all(const struct outcome *outcome, lua_Number result, size_t length) {
  uint32_t most = outcome->most < READ_MOST ? outcome->most : READ_MOST;
  return (result < 0 && result >= -4095) || length == most;
}

static void look_at(const struct sent *sent, int answered) {
  for (uint32_t i = 0; i < sent->chain->count; i++) {
    method(sent->object, "result");
    lua_pushinteger(f.L, (int)i + 1);
    lua_call(f.L, 2, 1);
    method(sent->object, "data");
    lua_pushinteger(f.L, (int)i + 1);
    lua_call(f.L, 2, 1);
    if (answered) {
      MUST(!lua_isnil(f.L, -2));
      MUST(sent->ops[i] == AFAR_OP_READ || lua_objlen(f.L, -1) == 0);
      MUST(brought_all(&sent->chain->outcomes[i], lua_tonumber(f.L, -2), lua_objlen(f.L, -1)));
      seen->answers++;
      if (f.right)
        check_answer(sent, i);
    }
    lua_pop(f.L, 2);
  }
}

static void completed(uint64_t id, lua_Number result, const char *fate) {
  MUST(id >= f.first_id && id - f.first_id < IDS);
  signed char *state = &f.ids[id - f.first_id];
  MUST(*state == 1 || *state == 3);
  MUST(!f.right || fate || f.want[id - f.first_id] == NOT_A_CALL || (lua_Number)f.want[id - f.first_id] == result);
  if (*state == 3 && !fate)
    MUST(close((int)result) == 0);
  *state = 2;
  for (int i = 0; i < f.sent_count; i++) {
    struct sent *sent = &f.sent[i];
    if (sent->id != id)
      continue;
    MUST(!f.right || !fate || strcmp(fate, "unsent") != 0 || !sent->reached);
    if (!is_gone(sent->object))
      look_at(sent, fate == NULL);
  }
}

static void run_completions(void) {
  for (;;) {
    lua_getfield(f.L, 1, "next");
    lua_call(f.L, 0, 3);
    uint64_t id = (uint64_t)lua_tonumber(f.L, -3);
    if (id != 0)
      completed(id, lua_tonumber(f.L, -2), lua_tostring(f.L, -1));
    lua_settop(f.L, lua_gettop(f.L) - 3);
    if (id == 0)
      return;
  }
}

/* ---- the carrier of all: a channel of a stream that is none ---- */

static void lower_flush(struct flush *flush) {
  (void)flush;
}

/* What the host sent on the carrier, unwrapped. */
static void take_lower(void) {
  struct bytes *out = &f.lower.out;
  while (bytes_length(out) > 0) {
    struct afar_frame frame;
    memcpy(&frame, bytes_head(out), sizeof frame);
    uint32_t value = frame.word & 0xffffff;
    bytes_drop(out, sizeof frame);
    if (frame.word >> 24 != AFAR_DATA)
      continue;
    far_take(&f.sides[0].far, bytes_head(out), value);
    bytes_drop(out, value);
  }
  if (f.lower.starved) {
    f.lower.starved = 0;
    channel_wake_writer(f.carrier);
  }
}

/* One turn of the host's loop. */
static void turn(void) {
  lua_getfield(f.L, 1, "wait");
  lua_pushinteger(f.L, 0);
  act(1);
  take_lower();
  run_completions();
}

static void lower_open(void) {
  f.lower = (struct stream){
      .loop = f.loop, .state = STREAM_OPEN, .in_fd = -1, .out_fd = -1, .flush = {.run = lower_flush, .late = 1}};
  uint32_t credit = one_in(&f.chance, 4) ? below(&f.chance, 300) : 0xffffffff;
  f.carrier = channel_new(&f.lower, 1, 0xffffffff, credit);
  f.carrier->refs++;
}

static void lower_end(void) {
  channel_on_end(f.carrier, one_in(&f.chance, 2) ? FATE_EOF : FATE_LOST, one_in(&f.chance, 2) ? ECONNRESET : 0);
  f.carrier->stream = NULL;
}

static void lower_free(void) {
  loop_flush_forget(f.loop, &f.lower.flush);
  channel_unref(f.carrier);
  bytes_free(&f.lower.out);
}

/* ---- delivery ---- */

/* Bytes for the host, in pieces. They are copied, so that reading beyond a piece is seen. */
static void deliver_lower(struct bytes *bytes) {
  size_t length = bytes_length(bytes);
  if (length == 0)
    return;
  size_t part = one_in(&f.chance, 3) ? 1 + below(&f.chance, (uint32_t)length) : length;
  char *copy = malloc(part);
  memcpy(copy, bytes_head(bytes), part);
  bytes_drop(bytes, part);
  MUST(channel_on_data(f.carrier, copy, part) == 0 || !f.right);
  free(copy);
}

static void deliver(struct side *side) {
  struct bytes *bytes = bytes_length(&side->start) > 0 ? &side->start : &side->far.out;
  if (side == &f.sides[0])
    return deliver_lower(bytes);
  struct line *line = &f.sides[0].far.lines[side->above];
  if (line->kind != LINE_STREAM || line->nested != &side->far)
    return bytes_drop(bytes, bytes_length(bytes));
  bytes_append(&line->out, bytes_head(bytes), bytes_length(bytes));
  bytes_drop(bytes, bytes_length(bytes));
}

#endif
