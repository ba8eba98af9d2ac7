/* A task's requests: chains on their way out, and the replies that are awaited. */
#ifndef AFAR_TASK_H
#define AFAR_TASK_H

#include <lua.h>
#include <stdint.h>

#include "bytes.h"
#include "chain.h"
#include "channel.h"
#include "link.h"
#include "loop.h"
#include "protocol.h"
#include "session.h"

struct stream;

#define TASK_NO_TAG 0xffffffff

struct pending {
  struct chain *chain; /* NULL: free; then `index` is the next free one */
  uint32_t index;
};

/* A ring that a linked process gets once it is used often: until then its pages cost nothing. */
struct prospect {
  struct afar_ring *at; /* NULL: there will be none */
  uint64_t address;     /* where the process has it */
  struct chain *asked;  /* on its way: nothing is sent behind it until it is answered */
  unsigned writes;      /* to the socket, since `since` */
  double since;
};

struct task {
  struct loop *loop;
  struct stream *stream;   /* of a root; else NULL */
  struct channel *channel; /* of any other whose carrier is one; else NULL */
  int linked;              /* of a process on this machine: its carrier is the link */
  struct link link;
  struct ring *ring; /* its link's or its stream's, if requests may go through that; else NULL */
  struct prospect prospect;
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
  int broken; /* it did not keep to the protocol: no other carrier helps */
  int ended;  /* 1 + enum fate */
};

/* One without a carrier yet. */
struct task *task_new(struct loop *loop, uint32_t hold_slots, uint32_t read_max);
void task_release(struct task *task);
/* It has no carrier any more: all that waits is told. */
void task_end(struct task *task, enum fate fate);
void task_drop_channel(struct task *task);
void task_drop_link(struct task *task);
/* It is without a carrier from now on, until another comes. */
void task_cut(struct task *task, enum fate fate);
/* It is no root's any more. */
void task_leave_stream(struct task *task);

/* Sends a chain with this turn's others, once there are slots for it; takes a reference of its own. */
void task_submit(struct task *task, struct chain *chain);
/* The same without waiting for slots. */
void task_queue(struct task *task, struct chain *chain);
/* The tag of a request that is about to be queued. */
uint32_t task_take_tag(struct task *task, struct chain *chain, uint32_t index);
/* Sends what is queued: as much as the carrier takes now; or all with this turn's. */
void task_flush(struct task *task);
void task_flush_later(struct task *task);
/* Asks for a ring there, and nothing else. */
struct chain *task_ask_ring(struct task *task, struct afar_ring *ring, uint64_t address);
/* Tells who waits for the chain; gives up the task's reference. */
void task_complete(struct task *task, struct chain *chain, int64_t result, enum fate fate);
/* Bytes that a request's reply may have. */
uint32_t task_cost(const struct task *task, const struct outcome *outcome);
/* Whether somebody waited for an fd by that id; nobody does any more. */
int task_forget_fd(struct task *task, uint64_t id);

#endif
