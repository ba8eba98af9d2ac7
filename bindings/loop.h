/* The event loop, and the queue of completions by which C tells Lua what has happened.
 *
 * C never calls Lua: whatever ends gets a completion, a number that Lua was given before (loop_id) with a result.
 * Lua runs loop.wait(), then takes completions with loop.next() and resumes who waits for them. */
#ifndef AFAR_LOOP_H
#define AFAR_LOOP_H

#include <ev.h>
#include <lua.h>
#include <stdint.h>

/* How something ended. */
enum fate {
  FATE_DONE,   /* it was answered */
  FATE_UNSENT, /* its carrier ended, and it had surely not been performed */
  FATE_EOF,    /* its process ended or execed: maybe performed */
  FATE_LOST,   /* its carrier broke: maybe performed */
};

/* Work to be done once, right before the loop sleeps: how a turn's requests go out in one write. */
struct flush {
  void (*run)(struct flush *);
  struct flush *next;
  int queued;
  int late; /* behind all that are not: they may still add to what it sends */
};

/* In the order in which they were queued. */
struct flushes {
  struct flush *first, **last;
};

/* Something that is looked at in each turn, since nothing tells when it has changed. */
struct poll {
  /* sleeping 0: look; 1: look once more, we are about to sleep and must be woken; -1: we are awake again. Whether
   * something came. */
  int (*run)(struct poll *, int sleeping);
  struct poll *next, **at; /* at: NULL unless it is looked at */
};

struct loop {
  struct ev_loop *ev;
  uint64_t last_id;
  struct completion *done;
  size_t head, tail, capacity;
  struct flushes flushes[2]; /* the late ones second */
  struct poll *polls;
  unsigned turns; /* since the kernel was asked for events */
  unsigned patience;
};

struct loop *loop_of(lua_State *L);
uint64_t loop_id(struct loop *loop);
/* Does nothing for id 0: nobody waits. */
void loop_complete(struct loop *loop, uint64_t id, int64_t result, enum fate fate);
/* Whether there are completions that Lua has not taken yet. */
int loop_is_ready(const struct loop *loop);
void loop_flush_later(struct loop *loop, struct flush *flush);
/* Does it now: before one looks for answers without letting go. */
void loop_flush(struct loop *loop);
void loop_flush_forget(struct loop *loop, struct flush *flush);
void loop_poll(struct loop *loop, struct poll *poll);
void loop_poll_stop(struct poll *poll);
const char *fate_name(enum fate fate);

#endif
