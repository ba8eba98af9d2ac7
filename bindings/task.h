/* A task's requests: chains on their way out, and the replies that are awaited. */
#ifndef AFAR_TASK_H
#define AFAR_TASK_H

#include <lua.h>
#include <stdint.h>

#include "bytes.h"
#include "channel.h"
#include "link.h"
#include "loop.h"
#include "protocol.h"
#include "session.h"

struct stream;

/* What came of one request of a chain. */
struct outcome {
  int64_t result;
  uint32_t length; /* bytes of data */
  uint32_t most;   /* that its reply may bring: only a READ's has any */
  uint32_t tag;
  uint64_t end; /* where it ends in its session; 0: in none */
  char *data;   /* what READ brought; NULL: none */
  enum { OUTCOME_NONE, OUTCOME_SENT, OUTCOME_DONE } state;
  unsigned quiet : 1; /* it answers only if it fails */
};

/* Requests that go out together. Referred to by Lua's object and, while in flight, by the task. */
struct chain {
  unsigned refs;
  uint64_t id;           /* completes when every reply is there; 0: nobody waits */
  struct bytes requests; /* encoded, with the payload behind each; given back once sent */
  struct outcome *outcomes;
  uint32_t count, capacity, answered;
  uint64_t at;       /* where it begins in all that its task ever queued */
  uint64_t end;      /* of the last one before another carrier: where it ends there */
  uint32_t held;     /* slots that it may take in the stub: the first HOLD and all behind it */
  unsigned done : 1; /* all is answered, or its task has ended */
  enum fate fate;    /* once done */
  unsigned call : 1; /* one call: the completion brings its result */
  struct chain *next;
};

struct pending {
  struct chain *chain; /* NULL: free; then `index` is the next free one */
  uint32_t index;
};

struct task {
  struct loop *loop;
  struct stream *stream;   /* of a root; else NULL */
  struct channel *channel; /* of any other whose carrier is one; else NULL */
  int linked;              /* of a process on this machine: its carrier is the link */
  struct link link;
  struct chain *spare; /* for call(): used again and again */
  struct sink sink;
  struct flush flush;
  struct bytes out;
  uint64_t queued, sent; /* bytes in all; a chain that begins behind `sent` has surely not been performed */
  struct pending *pending;
  uint32_t pending_size, pending_free, in_flight;
  uint32_t hold_slots, held;             /* slots of the stub: all, in use */
  struct chain *waiting, **waiting_last; /* chains for which no slots were left */
  uint32_t read_max;
  struct bytes fd_ids;     /* uint64_t: of those who wait for an fd that the process hands to the root */
  struct afar_reply reply; /* being received */
  size_t reply_have;
  uint32_t data_left;
  struct session session; /* with a persistent process */
  struct chain *last;     /* nothing is sent behind it: its carrier then ends, and another comes */
  uint64_t break_id;      /* completes when there is no carrier */
  uint64_t end_id;        /* completes when it has ended: done if the host gave it up, else how */
  unsigned refs;
  int ended; /* 1 + enum fate */
};

#endif
