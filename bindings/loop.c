#include "loop.h"

#include <lauxlib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bindings.h"

struct completion {
  uint64_t id;
  int64_t result;
  enum fate fate;
};

struct watch {
  union {
    ev_io io;
    ev_signal signal;
  };
  struct loop *loop;
  uint64_t id;
};

/* One a program: it lives until the program ends, since what Lua collects last may still use it. */
static struct loop the_loop;

/* ---- the core, without Lua ---- */

uint64_t loop_id(struct loop *loop) {
  return ++loop->last_id;
}

void loop_complete(struct loop *loop, uint64_t id, int64_t result, enum fate fate) {
  if (id == 0)
    return;
  if (loop->tail == loop->capacity) {
    if (loop->head > loop->capacity / 2) {
      memmove(loop->done, loop->done + loop->head, (loop->tail - loop->head) * sizeof *loop->done);
      loop->tail -= loop->head;
      loop->head = 0;
    } else {
      loop->capacity = loop->capacity ? loop->capacity * 2 : 64;
      loop->done = realloc(loop->done, loop->capacity * sizeof *loop->done);
      if (!loop->done)
        abort();
    }
  }
  loop->done[loop->tail++] = (struct completion){id, result, fate};
}

int loop_is_ready(const struct loop *loop) {
  return loop->head < loop->tail;
}

void loop_flush_later(struct loop *loop, struct flush *flush) {
  struct flushes *flushes = &loop->flushes[flush->late];
  if (flush->queued)
    return;
  flush->queued = 1;
  flush->next = NULL;
  *flushes->last = flush;
  flushes->last = &flush->next;
}

void loop_flush_forget(struct loop *loop, struct flush *flush) {
  struct flushes *flushes = &loop->flushes[flush->late];
  if (!flush->queued)
    return;
  struct flush **at = &flushes->first;
  while (*at != flush)
    at = &(*at)->next;
  *at = flush->next;
  if (!flush->next)
    flushes->last = at;
  flush->queued = 0;
}

void loop_flush(struct loop *loop) {
  struct flushes *soon = &loop->flushes[0], *late = &loop->flushes[1];
  while (soon->first || late->first) {
    struct flush *flush = soon->first ? soon->first : late->first;
    loop_flush_forget(loop, flush);
    flush->run(flush);
  }
}

const char *fate_name(enum fate fate) {
  static const char *const names[] = {"done", "unsent", "eof", "lost"};
  return names[fate];
}

static void on_timeout(struct ev_loop *ev, ev_timer *timer, int events) {
  (void)ev, (void)timer, (void)events;
}

void loop_poll(struct loop *loop, struct poll *poll) {
  if (poll->at)
    return;
  poll->next = loop->polls;
  poll->at = &loop->polls;
  if (poll->next)
    poll->next->at = &poll->next;
  loop->polls = poll;
}

void loop_poll_stop(struct poll *poll) {
  if (!poll->at)
    return;
  *poll->at = poll->next;
  if (poll->next)
    poll->next->at = poll->at;
  poll->at = NULL;
}

static int poll_all(struct loop *loop, int sleeping) {
  int came = 0;
  for (struct poll *poll = loop->polls, *next; poll; poll = next) {
    next = poll->next;
    came |= poll->run(poll, sleeping);
  }
  return came;
}

enum { PATIENCE_NS = 20000, EVENTS_EVERY = 16 };

static int64_t nanoseconds(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Looks for a moment, which is shorter each time that it was in vain. */
static int look(struct loop *loop) {
  if (!loop->polls)
    return 0;
  if (poll_all(loop, 0))
    return 1;
  if (loop->patience == 0)
    loop->patience = PATIENCE_NS / 64;
  for (int64_t until = nanoseconds() + loop->patience; nanoseconds() < until;)
    if (poll_all(loop, 0)) {
      loop->patience = PATIENCE_NS;
      return 1;
    }
  loop->patience /= 2;
  return 0;
}

/* Sleeps until something has happened, at most `seconds` (negative: no limit). */
static void loop_wait(struct loop *loop, double seconds) {
  loop_flush(loop);
  int ready = loop_is_ready(loop) || seconds == 0;
  if (ready && loop->polls)
    poll_all(loop, 0);
  else if (!ready && look(loop))
    ready = 1;
  loop_flush(loop);
  if (ready && loop->polls && ++loop->turns % EVENTS_EVERY != 0)
    return;
  if (!ready && loop->polls && poll_all(loop, 1)) {
    poll_all(loop, -1);
    ready = 1;
  }
  if (ready || loop_is_ready(loop)) {
    ev_run(loop->ev, EVRUN_NOWAIT);
  } else {
    ev_timer timer;
    ev_init(&timer, on_timeout);
    if (seconds > 0) {
      ev_now_update(loop->ev);
      ev_timer_set(&timer, seconds, 0.);
      ev_timer_start(loop->ev, &timer);
    }
    ev_run(loop->ev, EVRUN_ONCE);
    ev_timer_stop(loop->ev, &timer);
    poll_all(loop, -1);
    poll_all(loop, 0);
  }
  loop_flush(loop);
}

/* ---- Lua ---- */

struct loop *loop_of(lua_State *L) {
  (void)L;
  return &the_loop;
}

static int l_wait(lua_State *L) {
  loop_wait(loop_of(L), luaL_optnumber(L, 1, -1));
  return 0;
}

static int l_next(lua_State *L) {
  struct loop *loop = loop_of(L);
  if (loop->head == loop->tail) {
    loop->head = loop->tail = 0;
    return 0;
  }
  struct completion *done = &loop->done[loop->head++];
  lua_pushnumber(L, (lua_Number)done->id);
  lua_pushnumber(L, (lua_Number)done->result);
  if (done->fate == FATE_DONE)
    return 2;
  lua_pushstring(L, fate_name(done->fate));
  return 3;
}

static int l_now(lua_State *L) {
  lua_pushnumber(L, ev_time());
  return 1;
}

static int l_monotonic(lua_State *L) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  lua_pushnumber(L, (lua_Number)ts.tv_sec + (lua_Number)ts.tv_nsec * 1e-9);
  return 1;
}

static int l_id(lua_State *L) {
  lua_pushnumber(L, (lua_Number)loop_id(loop_of(L)));
  return 1;
}

static int l_complete(lua_State *L) {
  loop_complete(loop_of(L), (uint64_t)luaL_checknumber(L, 1), (int64_t)luaL_optnumber(L, 2, 0), FATE_DONE);
  return 0;
}

static void on_io(struct ev_loop *ev, ev_io *io, int events) {
  struct watch *watch = (struct watch *)io;
  ev_io_stop(ev, io);
  loop_complete(watch->loop, watch->id, events, FATE_DONE);
}

/* watch(fd, "r" or "w") -> id, which completes at the event; what unwatch() must be given afterwards, once */
static int l_watch(lua_State *L) {
  struct loop *loop = loop_of(L);
  int fd = luaL_checkint(L, 1);
  int events = *luaL_checkstring(L, 2) == 'w' ? EV_WRITE : EV_READ;
  struct watch *watch = calloc(1, sizeof *watch);
  if (!watch)
    return luaL_error(L, "out of memory");
  watch->loop = loop;
  watch->id = loop_id(loop);
  ev_io_init(&watch->io, on_io, fd, events);
  ev_io_start(loop->ev, &watch->io);
  lua_pushnumber(L, (lua_Number)watch->id);
  lua_pushlightuserdata(L, watch);
  return 2;
}

/* unwatch(watch) -> whether its event had come: then its completion has, or will */
static int l_unwatch(lua_State *L) {
  struct watch *watch = lua_touserdata(L, 1);
  lua_pushboolean(L, !ev_is_active(&watch->io));
  ev_io_stop(loop_of(L)->ev, &watch->io);
  free(watch);
  return 1;
}

static void on_signal(struct ev_loop *ev, ev_signal *signal, int events) {
  (void)ev, (void)events;
  struct watch *watch = (struct watch *)signal;
  loop_complete(watch->loop, watch->id, signal->signum, FATE_DONE);
}

static int l_signal(lua_State *L) {
  struct loop *loop = loop_of(L);
  int number = luaL_checkint(L, 1);
  luaL_argcheck(L, number > 0 && number < NSIG, 1, "no signal");
  struct watch *watch = calloc(1, sizeof *watch);
  if (!watch)
    return luaL_error(L, "out of memory");
  watch->loop = loop;
  watch->id = loop_id(loop);
  ev_signal_init(&watch->signal, on_signal, number);
  ev_signal_start(loop->ev, &watch->signal);
  ev_unref(loop->ev);
  lua_pushnumber(L, (lua_Number)watch->id);
  return 1;
}

/* Restores the default action of a signal, so that the next one ends the host at once. */
static int l_signal_default(lua_State *L) {
  signal(luaL_checkint(L, 1), SIG_DFL);
  return 0;
}

static const luaL_Reg functions[] = {
    {"wait", l_wait},       {"next", l_next},
    {"now", l_now},         {"monotonic", l_monotonic},
    {"id", l_id},           {"watch", l_watch},
    {"unwatch", l_unwatch}, {"complete", l_complete},
    {"signal", l_signal},   {"signal_default", l_signal_default},
    {NULL, NULL},
};

int luaopen_afar_loop(lua_State *L) {
  if (!the_loop.ev) {
    signal(SIGPIPE, SIG_IGN);
    the_loop.ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    for (int i = 0; i < 2; i++)
      the_loop.flushes[i].last = &the_loop.flushes[i].first;
    if (!the_loop.ev)
      return luaL_error(L, "no event loop: libev found no way to wait for events");
  }
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  return 1;
}
