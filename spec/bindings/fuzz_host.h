/* What the host may do in a conversation: all that a script can, through the methods that Lua has. */
#ifndef FUZZ_HOST_H
#define FUZZ_HOST_H

#include <sys/socket.h>

#include "fuzz_ring.h"
#include "fuzz_world.h"

/* ---- the start of a stream ---- */

static void make_hello(struct bytes *out) {
  struct chance *c = &f.chance;
  struct afar_hello hello = {.magic = AFAR_MAGIC,
                             .major = AFAR_MAJOR,
                             .size = sizeof hello,
                             .hold_slots = SLOTS,
                             .read_max = READ_MOST,
                             .groups = below(c, 3),
                             .argv_length = below(c, 20),
                             .environ_length = below(c, 40),
                             .release = "6.1",
                             .machine = 62};
  if (one_in(c, 4))
    hello.size += below(c, 64);
  if (!f.right && one_in(c, 8))
    hello.size = (uint32_t)odd_value(c);
  hello.more = hello.groups * 4 + hello.argv_length + hello.environ_length;
  if (!f.right && one_in(c, 8))
    hello.groups = (uint32_t)odd_value(c);
  bytes_append(out, &hello, sizeof hello);
  uint32_t more = hello.size < 1000 && hello.size > sizeof hello ? hello.size - (uint32_t)sizeof hello : 0;
  for (more += hello.more < 1000 ? hello.more : 0; more > 0; more--)
    bytes_append(out, &(char){(char)below(c, 4)}, 1);
}

static void make_start(struct bytes *out) {
  struct chance *c = &f.chance;
  for (uint32_t i = one_in(c, 3) ? below(c, 80) : 0; i > 0; i--)
    bytes_append(out, &(char){(char)below(c, 128)}, 1);
  if (one_in(c, 4))
    bytes_append(out, MARKER, below(c, MARKER_LENGTH + 1));
  bytes_append(out, MARKER, MARKER_LENGTH);
  make_hello(out);
  if (!f.right && one_in(c, 6))
    damage(c, out);
}

static void stream_over(struct side *side, int channel, int line) {
  lua_getfield(f.L, 2, "over");
  lua_pushvalue(f.L, channel);
  lua_pushliteral(f.L, MARKER);
  side->object = make(2);
  side->stream = lua_touserdata(f.L, side->object);
  side->far.chance = &f.chance;
  side->far.right = f.right;
  side->far.inner = line != 0;
  side->root = NULL;
  side->above = line;
  make_start(&side->start);
  method(side->object, "wait_open");
  take_id(1);
  method(side->object, "wait_end");
  take_id(1);
  f.side_count++;
}

/* The stream has just opened: its root, and its hello in Lua. */
static void opened(struct side *side) {
  method(side->object, "hello");
  int bytes = make(1);
  if (one_in(&f.chance, 8)) {
    lua_getfield(f.L, 4, "hello");
    lua_pushvalue(f.L, bytes);
    act(1);
  }
  lua_getfield(f.L, 3, "root");
  lua_pushvalue(f.L, side->object);
  lua_pushinteger(f.L, SLOTS);
  lua_pushinteger(f.L, READ_MOST);
  keep_task(make(3));
  side->root = f.tasks[f.task_count - 1];
  side->far.lines[0] = (struct line){.kind = LINE_TASK, .task = side->root};
  seen->open++;
}

/* ---- acts of the host ---- */

static int is_open(const struct side *side) {
  return !is_gone(side->object) && side->stream->state == STREAM_OPEN;
}

static uint32_t free_number(const struct side *side) {
  uint32_t number = 1;
  while (number < side->stream->channels_size && side->stream->channels[number])
    number++;
  return number;
}

static void do_channel(void) {
  struct chance *c = &f.chance;
  struct side *side = some_side();
  if (!is_open(side) || !side->root || f.task_count == LINES)
    return;
  uint32_t to_host = one_in(c, 2) ? CHANNEL_WINDOW : 16 + below(c, 2000);
  uint32_t from_host = one_in(c, 2) ? CHANNEL_WINDOW : below(c, 2000), number = free_number(side);
  if (number >= LINES)
    return;
  method(side->object, "channel");
  lua_pushnumber(f.L, to_host);
  lua_pushnumber(f.L, from_host);
  int channel = make(3);
  struct line *line = &side->far.lines[number];
  line_clear(line);
  *line = (struct line){.kind = LINE_RAW, .credit = to_host, .host_credit = from_host};
  if (one_in(c, 2)) {
    lua_getfield(f.L, 3, "child");
    lua_pushvalue(f.L, channel);
    lua_pushinteger(f.L, SLOTS);
    lua_pushinteger(f.L, READ_MOST);
    keep_task(make(3));
    line->kind = LINE_TASK;
    line->task = f.tasks[f.task_count - 1];
  } else if (side == &f.sides[0] && f.side_count == 1 && one_in(c, 3)) {
    line->kind = LINE_STREAM;
    line->nested = &f.sides[1].far;
    stream_over(&f.sides[1], channel, (int)number);
  }
}

static void add_request(struct sent *sent, int last) {
  static const unsigned char ops[] = {AFAR_OP_CALL,  AFAR_OP_READ, AFAR_OP_READ,
                                      AFAR_OP_VALUE, AFAR_OP_HOLD, AFAR_OP_PING};
  struct chance *c = &f.chance;
  int quiet = !last && one_in(c, 3) ? AFAR_QUIET : 0;
  int chain = sent->object;
  if (!sent->chain->held && one_in(c, 5)) {
    sent->ops[sent->chain->count] = AFAR_OP_WRITE;
    method(chain, "write");
    lua_pushnumber(f.L, 4096);
    lua_pushlstring(f.L, "0123456789012345678901234567890123456789", below(c, 40));
    lua_pushinteger(f.L, quiet);
    return act(4);
  }
  method(chain, "add");
  int op = sent->ops[sent->chain->count] = ops[below(c, sizeof ops)];
  int numbers[] = {op, (int)below(c, 400), op == AFAR_OP_READ ? 0 : quiet, 0, 0, 0, 0, 4096};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    lua_pushinteger(f.L, numbers[i]);
  lua_pushnumber(f.L, some_length(c, 2 * READ_MOST));
  act(10);
}

/* Of a chain that was submitted, and nobody waits for. */
static void await(int which, struct sent *sent) {
  method(f.task_objects[which], "await");
  lua_pushvalue(f.L, sent->object);
  lua_pushboolean(f.L, one_in(&f.chance, 16));
  sent->id = take_id(3);
}

static void submit_to(int which) {
  struct chance *c = &f.chance;
  if (f.sent_count == CHAINS || is_gone(f.task_objects[which]))
    return;
  lua_getfield(f.L, 3, "chain");
  struct sent *sent = &f.sent[f.sent_count++];
  *sent = (struct sent){.object = make(0), .task = f.tasks[which]};
  sent->chain = *(struct chain **)lua_touserdata(f.L, sent->object);
  for (int i = 0; i < REQUESTS; i++)
    sent->want[i].result = -ECANCELED; /* of what was cancelled before it went */
  uint32_t count = one_in(c, 3) ? 1 + below(c, REQUESTS) : 1;
  for (uint32_t i = 0; i < count; i++)
    add_request(sent, i + 1 == count);
  method(f.task_objects[which], "submit");
  lua_pushvalue(f.L, sent->object);
  int later = one_in(c, 8);
  lua_pushboolean(f.L, later);
  sent->id = take_id(3);
  if (later && !sent->task->ended && one_in(c, 2))
    await(which, sent);
}

static void do_submit(void) {
  if (f.task_count > 0)
    submit_to((int)below(&f.chance, (uint32_t)f.task_count));
}

/* One call without a chain of its own. */
static void do_call(void) {
  if (f.task_count == 0)
    return;
  uint32_t which = below(&f.chance, (uint32_t)f.task_count);
  if (is_gone(f.task_objects[which]))
    return;
  method(f.task_objects[which], "call");
  lua_pushinteger(f.L, 39);
  lua_pushinteger(f.L, 0);
  lua_pushboolean(f.L, one_in(&f.chance, 32));
  lua_call(f.L, 4, 2);
  uint64_t id = take_pushed_id();
  if (id != 0)
    f.want[id - f.first_id] = 0;
  lua_pop(f.L, 1);
}

static void do_cancel(void) {
  if (f.sent_count == 0)
    return;
  struct sent *sent = &f.sent[below(&f.chance, (uint32_t)f.sent_count)];
  for (int i = 0; i < f.task_count; i++)
    if (f.tasks[i] == sent->task && !is_gone(f.task_objects[i]) && !is_gone(sent->object)) {
      method(f.task_objects[i], "cancel");
      lua_pushvalue(f.L, sent->object);
      act(2);
    }
}

static struct channel *some_channel(int *object) {
  int top = lua_gettop(f.L);
  for (int tries = 0; tries < 4; tries++) {
    *object = 5 + (int)below(&f.chance, (uint32_t)(top - 4));
    if (*object > top || !lua_getmetatable(f.L, *object))
      continue;
    luaL_getmetatable(f.L, "afar.channel");
    int same = lua_rawequal(f.L, -1, -2);
    lua_pop(f.L, 2);
    if (same)
      return *(struct channel **)lua_touserdata(f.L, *object);
  }
  return NULL;
}

static void channel_wait(int object, const uint64_t *id, const char *name) {
  if (*id != 0)
    return;
  method(object, name);
  take_id(1);
}

static void channel_transfer(int object, const char *name) {
  static const char text[3000];
  method(object, name);
  if (*name == 'r')
    lua_pushnumber(f.L, 1 + some_length(&f.chance, 1000));
  else
    lua_pushlstring(f.L, text, some_length(&f.chance, sizeof text));
  act(2);
}

/* The other end of what a pump goes through takes and gives. */
static void use_pair(const int pair[2]) {
  char bytes[2000];
  if (one_in(&f.chance, 8))
    shutdown(pair[1], SHUT_RDWR);
  else if (one_in(&f.chance, 2))
    send(pair[1], memset(bytes, 'p', sizeof bytes), 1 + below(&f.chance, sizeof bytes), MSG_NOSIGNAL);
  else
    while (recv(pair[1], bytes, sizeof bytes, 0) > 0)
      ;
}

/* A channel's bytes go into an fd of the host's, or come from there. */
static void do_pump_fd(void) {
  int object;
  struct channel *channel = some_channel(&object);
  if (!channel || channel->sink || channel->pump || f.pair_count == PAIRS)
    return;
  int *pair = f.pairs[f.pair_count];
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
  f.pair_count++;
  if (one_in(&f.chance, 2))
    use_pair(pair);
  method(object, one_in(&f.chance, 2) ? "pump_out" : "pump_in");
  lua_pushinteger(f.L, pair[0]);
  lua_pushnumber(f.L, some_length(&f.chance, 5000));
  take_id(3);
}

static void do_pair(void) {
  if (f.pair_count > 0 && one_in(&f.chance, 2))
    return use_pair(f.pairs[below(&f.chance, (uint32_t)f.pair_count)]);
  do_pump_fd();
}

static void close_pairs(void) {
  for (; f.pair_count > 0; f.pair_count--) {
    close(f.pairs[f.pair_count - 1][0]);
    close(f.pairs[f.pair_count - 1][1]);
  }
}

/* One channel's bytes go into another, or no more. */
static void do_pump(void) {
  int from_object, to_object;
  struct channel *from = some_channel(&from_object), *to = some_channel(&to_object);
  if (!from || !to || from == to || from->sink || to->sink)
    return;
  if (from->pump || to->pump) {
    method(from_object, "stop");
    return act(1);
  }
  method(from_object, "pump");
  lua_pushvalue(f.L, to_object);
  lua_pushnumber(f.L, some_length(&f.chance, 5000));
  take_id(3);
}

static void do_channel_call(void) {
  int object;
  struct channel *channel = some_channel(&object);
  if (!channel)
    return;
  switch (below(&f.chance, 7)) {
  case 0:
    return channel_transfer(object, "read");
  case 1:
    return channel->sink ? (void)0 : channel_transfer(object, "write");
  case 2:
    return channel_wait(object, &channel->read_id, "wait_read");
  case 3:
    return channel_wait(object, &channel->write_id, "wait_write");
  case 4:
    forget_id(channel->read_id);
    forget_id(channel->write_id);
    method(object, "forget");
    return act(1);
  case 5:
    method(object, channel->sink || !one_in(&f.chance, 3) ? "number" : "eof");
    return act(1);
  default:
    method(object, one_in(&f.chance, 4) ? "close" : "number");
    return act(1);
  }
}

static void do_stream_call(void) {
  static const char *const names[] = {"ping", "received", "state", "noise", "hello"};
  struct side *side = some_side();
  if (is_gone(side->object))
    return;
  if (side->stream->state == STREAM_NOISE && side->stream->noise_id == 0 && one_in(&f.chance, 2)) {
    method(side->object, "wait_noise");
    take_id(1);
    return;
  }
  method(side->object, names[below(&f.chance, sizeof names / sizeof *names)]);
  act(1);
}

static void do_task_call(void) {
  if (f.task_count == 0)
    return;
  uint32_t which = below(&f.chance, (uint32_t)f.task_count);
  int object = f.task_objects[which];
  if (is_gone(object))
    return;
  method(object, one_in(&f.chance, 6) ? "close" : one_in(&f.chance, 2) ? "state" : "in_flight");
  act(1);
}

static void do_wait_for_task(void) {
  if (f.task_count == 0)
    return;
  uint32_t which = below(&f.chance, (uint32_t)f.task_count);
  if (is_gone(f.task_objects[which]))
    return;
  if (f.tasks[which]->end_id == 0 && one_in(&f.chance, 2)) {
    method(f.task_objects[which], "wait_end");
    take_id(1);
    return;
  }
  method(f.task_objects[which], "expect_fd");
  uint64_t id = take_id(1);
  if (id != 0 && f.tasks[which]->linked)
    f.ids[id - f.first_id] = 3;
  if (id == 0 || !one_in(&f.chance, 4))
    return;
  method(f.task_objects[which], "forget_fd");
  lua_pushnumber(f.L, (lua_Number)id);
  act(2);
  forget_id(id);
}

/* The task of this object is no more; object 0: none is. */
static void forget_task(int object) {
  struct far *const fars[] = {&f.sides[0].far, &f.sides[1].far, &ring.far};
  for (int i = 0; i < f.task_count; i++)
    for (int at = 0; at < 3 * LINES; at++) {
      struct line *line = &fars[at / LINES]->lines[at % LINES];
      if ((object == 0 || f.task_objects[i] == object) && line->task == f.tasks[i])
        line->task = NULL;
    }
}

/* The script lets an object go. */
static void do_drop(void) {
  int top = lua_gettop(f.L);
  if (top <= 6 || !one_in(&f.chance, 8))
    return;
  int object = 6 + (int)below(&f.chance, (uint32_t)(top - 5));
  if (object == f.sides[0].object)
    return;
  forget_task(object);
  lua_pushnil(f.L);
  lua_replace(f.L, object);
  lua_gc(f.L, LUA_GCCOLLECT, 0);
}

#endif
