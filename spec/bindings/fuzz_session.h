/* A persistent process, as the far side: what it remembers beyond its connections, which come and go. */
#ifndef FUZZ_SESSION_H
#define FUZZ_SESSION_H

#include "fuzz_host.h"
#include "fuzz_world.h"

static struct {
  struct task *task; /* the host's; NULL: there is none */
  int object;
  struct line state; /* what has arrived, and what was asked */
  struct bytes kept; /* replies that were not acknowledged */
  uint64_t requests, acked, made;
  uint32_t window, number; /* number: of the channel that carries it now; 0: none */
} session;

static void session_takes(struct far *far, uint32_t number, const char *data, size_t length) {
  if (session.number != number)
    return; /* it came too late */
  if (is_gone(session.object))
    session.state.task = NULL;
  session.requests += length;
  bytes_append(&session.state.in, data, length);
  while (take_request(far, &session.state))
    ;
}

static void session_forgets(uint32_t number) {
  if (session.number == number)
    session.number = 0;
}

static void was_acknowledged(uint64_t received) {
  MUST(!f.right || (received >= session.acked && received <= session.made));
  if (received < session.acked || received > session.made)
    return;
  bytes_drop(&session.kept, received - session.acked);
  session.acked = received;
}

/* Often one that is soon full. */
static uint32_t some_window(void) {
  return READ_MOST + 16 + below(&f.chance, one_in(&f.chance, 2) ? 100 : 20000);
}

/* ---- the host's part ---- */

static void new_session(void) {
  lua_getfield(f.L, 3, "session");
  lua_pushinteger(f.L, SLOTS);
  lua_pushinteger(f.L, READ_MOST);
  session.object = make(2);
  keep_task(session.object);
  session.task = session.state.task = f.tasks[f.task_count - 1];
  session.state.kind = LINE_TASK;
  session.window = some_window();
}

/* What has come before the host has given the channel to the session is taken, too. */
static void arrive_early(struct side *side, uint32_t number) {
  if (session.task->channel || !one_in(&f.chance, 2))
    return;
  line_flush(&side->far, number);
  deliver(side);
}

/* Some process that has a channel is told to become persistent. */
static void do_become(void) {
  int which = f.task_count > 0 ? (int)below(&f.chance, (uint32_t)f.task_count) : 0;
  struct task *task = f.tasks[which];
  if (session.task || f.task_count == 0 || f.sent_count == CHAINS || is_gone(f.task_objects[which]) || task->ended ||
      !task->channel || task->channel->stream != f.sides[0].stream || task->last || task->session.on)
    return;
  lua_getfield(f.L, 3, "chain");
  struct sent *sent = &f.sent[f.sent_count++];
  *sent = (struct sent){.object = make(0), .task = task};
  sent->chain = *(struct chain **)lua_touserdata(f.L, sent->object);
  method(sent->object, "add");
  sent->ops[0] = AFAR_OP_PERSIST;
  const int numbers[] = {AFAR_OP_PERSIST, 0, 0, 0, 0, 0, 0, 5};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    lua_pushinteger(f.L, numbers[i]);
  act(9);
  method(f.task_objects[which], "submit_last");
  lua_pushvalue(f.L, sent->object);
  sent->id = take_id(2);
}

/* What was to be the last request of a carrier has failed. */
static void do_go_on(void) {
  for (int i = 0; i < f.task_count; i++) {
    if (is_gone(f.task_objects[i]) || f.tasks[i]->ended)
      continue;
    const struct chain *last = f.tasks[i]->last;
    if (!last || !last->done || last->outcomes[0].result == 0)
      continue;
    method(f.task_objects[i], "go_on");
    act(1);
  }
}

/* Over the first stream, as a persistent process is reached over any. */
static void do_connect(void) {
  struct chance *c = &f.chance;
  struct side *side = &f.sides[0];
  if (!is_open(side) || !side->root || f.task_count == LINES)
    return;
  if (!session.task)
    new_session();
  if (is_gone(session.object) || session.task->ended || (session.task->channel && !one_in(c, 4)))
    return;
  const struct chain *last = session.task->last;
  if (last && (!last->done || last->outcomes[0].result != 0))
    return; /* it is not persistent yet */
  uint32_t number = free_number(side), credit = one_in(c, 2) ? CHANNEL_WINDOW : below(c, 3000);
  if (number >= LINES)
    return;
  method(side->object, "channel");
  lua_pushnumber(f.L, CHANNEL_WINDOW);
  lua_pushnumber(f.L, credit);
  int channel = make(3);
  struct line *line = &side->far.lines[number];
  line_clear(line);
  *line = (struct line){.kind = LINE_SESSION, .credit = CHANNEL_WINDOW, .host_credit = credit};
  session.number = number;
  uint64_t received = (session.task->session.on ? session.task->session.received : 0) - session.acked;
  if (received <= bytes_length(&session.kept))
    bytes_append(&line->out, bytes_head(&session.kept) + received, bytes_length(&session.kept) - received);
  arrive_early(side, number);
  if (is_gone(session.object) || session.task->ended)
    return;
  uint64_t requests = f.right || !one_in(c, 6) ? session.requests : one_in(c, 2) ? below(c, 1000) : odd_value(c) >> 20;
  if (requests != session.requests)
    session.number = 0; /* what comes now makes no sense to who has lied */
  method(session.object, "resume");
  lua_pushvalue(f.L, channel);
  lua_pushnumber(f.L, (lua_Number)requests);
  lua_pushnumber(f.L, session.window);
  if (lua_pcall(f.L, 4, 1, 0) == 0)
    MUST(!f.right || lua_toboolean(f.L, -1));
  else
    MUST(!f.right); /* the stream may have ended while it arrived */
  lua_pop(f.L, 1);
}

static void do_session_call(void) {
  static const char *const names[] = {"received", "state", "in_flight"};
  if (!session.task || is_gone(session.object))
    return;
  if (!session.task->break_id && one_in(&f.chance, 2)) {
    method(session.object, "wait_break");
    take_id(1);
  } else if (one_in(&f.chance, 12)) {
    method(session.object, "fail");
    lua_pushstring(f.L, one_in(&f.chance, 2) ? "eof" : "lost");
    act(2);
  } else {
    method(session.object, names[below(&f.chance, 3)]);
    act(1);
  }
}

static void do_submit_there(void) {
  for (int i = 0; session.task && i < f.task_count; i++)
    if (f.tasks[i] == session.task)
      return submit_to(i);
}

/* What a process says when it is met. */
static void do_welcome(void) {
  struct chance *c = &f.chance;
  struct bytes bytes = {0};
  struct afar_welcome welcome = {.magic = AFAR_MAGIC,
                                 .major = AFAR_MAJOR,
                                 .size = sizeof welcome,
                                 .verdict = below(c, 6),
                                 .read_max = 16384,
                                 .window = AFAR_PERSIST_WINDOW,
                                 .hold_slots = 64,
                                 .block_size = 65536,
                                 .fds = {-1, 3, (int)odd_value(c), 4, 5}};
  memset(welcome.name, one_in(c, 2) ? 'x' : 0, sizeof welcome.name);
  bytes_append(&bytes, &welcome, sizeof welcome);
  if (one_in(c, 2))
    damage(c, &bytes);
  lua_getfield(f.L, LUA_REGISTRYINDEX, "greeting");
  lua_getfield(f.L, -1, "welcome");
  lua_pushlstring(f.L, bytes_head(&bytes), bytes_length(&bytes));
  bytes_free(&bytes);
  act(1);
  lua_pop(f.L, 1);
}

/* ---- the process's part ---- */

/* What is still to be answered over the session fits into it. */
static int fits(const struct line *line, uint32_t window) {
  uint64_t cost = 0;
  for (uint32_t i = 0; i < line->asked_count; i++)
    cost += 16 + (line->asked[i].most < READ_MOST ? line->asked[i].most : READ_MOST);
  return cost <= window;
}

/* It becomes persistent, and ends its carrier: the session begins. */
static void session_begins(uint32_t number) {
  struct line *line = &f.sides[0].far.lines[number];
  struct line *state = &session.state;
  if (session.task || line->kind != LINE_TASK || !line->is_last || !line->task || line->ended || line->host_closed ||
      bytes_length(&line->in) > 0 || bytes_length(&line->out) + sizeof(struct afar_reply) > line->credit)
    return;
  session.window = some_window();
  if (!fits(line, session.window))
    return;
  state->kind = LINE_TASK;
  session.task = state->task = line->task;
  for (int i = 0; i < f.task_count; i++)
    if (f.tasks[i] == session.task)
      session.object = f.task_objects[i];
  for (uint32_t i = 0; i < line->asked_count; i++)
    if (line->asked[i].op == AFAR_OP_PERSIST)
      reply(line, &line->asked[i], 0, 0, 0);
    else
      state->asked[state->asked_count++] = line->asked[i];
  state->chains = line->chains;
  line->asked_count = 0;
  while (bytes_length(&line->out) > 0)
    line_flush(&f.sides[0].far, number);
  say(&f.sides[0].far, number, AFAR_EOF, 0);
  line->ended = 1;
}

static void far_becomes(void) {
  for (uint32_t number = 1; number < LINES; number++)
    session_begins(number);
}

static void session_answers(void) {
  struct line *state = &session.state;
  if (!session.task || is_gone(session.object))
    return;
  answer_line(&f.sides[0].far, state, 1 + below(&f.chance, REQUESTS));
  size_t length = bytes_length(&state->out);
  bytes_append(&session.kept, bytes_head(&state->out), length);
  session.made += length;
  if (session.number && !f.sides[0].far.lines[session.number].ended)
    bytes_append(&f.sides[0].far.lines[session.number].out, bytes_head(&state->out), length);
  bytes_drop(&state->out, length);
  MUST(!f.right || session.made - session.acked <= session.window);
}

static void session_breaks(void) {
  if (!session.number || !one_in(&f.chance, 3))
    return;
  say(&f.sides[0].far, session.number, AFAR_EOF, one_in(&f.chance, 2) ? 104 : 0);
  f.sides[0].far.lines[session.number].ended = 1;
  session.number = 0;
}

static void session_act(void) {
  static void (*const acts[])(void) = {do_connect,     do_session_call, session_answers, session_answers,
                                       do_go_on,       session_answers, do_become,       far_becomes,
                                       session_breaks, do_submit_there, do_submit_there, do_welcome};
  for (uint32_t i = 1 + below(&f.chance, 3); i > 0; i--)
    acts[below(&f.chance, sizeof acts / sizeof *acts)]();
}

static void session_end(void) {
  line_clear(&session.state);
  bytes_free(&session.kept);
  memset(&session, 0, offsetof(__typeof__(session), state));
  session.requests = session.acked = session.made = 0;
  session.number = 0;
}

#endif
