/* What serves requests, in a root and in a child alike: everything that a process must remember for it. A child shares
 * its memory with all others, so there are no globals: all of a process is in its struct server. */
#ifndef AFAR_SERVER_H
#define AFAR_SERVER_H

#include "memory.h"
#include "protocol.h"

#define HOLD_SLOTS  64
#define CHAIN_SLOTS (HOLD_SLOTS / 2) /* of one chain: a long one leaves room for others */
#define READ_MAX    16384
#define IN_SIZE     8192
#define IN_LITTLE   768 /* as long as no more comes at once */
#define OUT_SIZE    (READ_MAX + (int)sizeof(struct afar_reply))
#define NO_SLOT     0xffff
#define OWN_POLLS   3 /* fds that a stub waits for besides those of holds, at most */

/* What became of the last 256 requests of a chain. */
struct history {
  uint32_t count; /* requests of the chain so far */
  uint8_t ok[256];
  int64_t result[256];
};

/* A request that is kept aside. */
struct slot {
  struct afar_request request;
  int32_t verdict; /* of a HOLD: its result, once there is one; else an errno that it fails with, decided beforehand */
  uint16_t next;   /* in its chain, or in the list of free slots */
};

struct server;

/* What a root and a child do differently. */
struct server_kind {
  void (*send)(struct server *server, const uint8_t *bytes, size_t length);      /* all replies, or exits */
  void (*flush)(struct server *server);                                          /* what was sent is really out */
  int64_t (*perform)(struct server *server, uint8_t op, const uint64_t args[6]); /* what not every process has */
  void (*bell)(struct server *server); /* wakes the host, which sleeps beside a ring */
  void (*rest)(struct server *server); /* the ring is full: lets some time go by, or waits for the host's bell */
};

struct server {
  const struct server_kind *kind;
  int carrier;                        /* a child's; a root has channel 0 */
  struct afar_ring *ring, *next_ring; /* where requests and replies flow, once it was told, or will; NULL: nowhere */
  struct persist *persist, *starting; /* a persistent child's; starting: it is one once its replies are out */
  uint8_t turns;
  uint8_t news; /* replies are in the ring of which the host was not told, if it sleeps */
  uint8_t took; /* requests from the ring, from `took_at` on, since then */
  uint32_t took_at;
  uint8_t switched; /* to the ring: what still follows on the socket are no requests */
  uint8_t much;     /* came last: more than fits into in_little */
  struct memory memory;
  uint64_t calls; /* of the kernel, that were asked for and begun */

  struct afar_request request; /* the one that is arriving */
  uint32_t have;               /* bytes of it that are there */
  uint32_t left;               /* bytes of its payload that are still to come */
  uint64_t done;               /* bytes of its payload that were written, or dropped */
  int32_t error;               /* why they are dropped; 0: they are not */
  uint8_t unkept;              /* it belongs to a held chain: its outcome is not decided now */
  uint64_t args[6];            /* a WRITE's, as they were when it began */
  uint64_t word;               /* a WRITE's payload that is to be stored at once */

  uint8_t behind_hold; /* the arriving chain has had a HOLD */
  uint8_t overflowed;  /* a request of the arriving chain found no slot */
  uint8_t ready;       /* some held chain can go on */
  uint16_t arriving;   /* slot of the HOLD that keeps the arriving chain aside, or NO_SLOT */
  uint16_t last;       /* last slot of that chain */
  uint32_t behind;     /* requests behind that HOLD */
  uint16_t free;       /* list of slots that were used before */
  uint16_t fresh;      /* slots never used yet begin here */
  uint32_t held;       /* chains kept aside */
  uint32_t out_used;
  uint8_t urgent; /* of what is gathered there, something is awaited now */

  /* Ordered so that an idle process has touched few pages: in one lie, behind all this, what is little of its input and
   * the begin of its output. */
  struct history live; /* of the arriving chain */
  uint8_t in_little[IN_LITTLE];
  uint8_t out[OUT_SIZE];
  uint8_t in[IN_SIZE];
  struct history resumed; /* of a chain that was held, while it goes on */
  uint16_t heads[HOLD_SLOTS];
  struct slot slots[HOLD_SLOTS];
  struct pollfd polls[HOLD_SLOTS + OWN_POLLS];
};

void server_init(struct server *server, const struct server_kind *kind);

/* Takes bytes of the stream of requests, and performs what is complete. Exits when they are not understood. */
void server_feed(struct server *server, const uint8_t *bytes, size_t length);

/* Sends the replies that were gathered, unless all of them may come later; flush: and sees to it that they are out. */
void server_send(struct server *server);
void server_flush(struct server *server);

/* The same whether they may come later or not. */
void server_send_all(struct server *server);
void server_flush_all(struct server *server);

/* ---- request.c ---- */

/* Performs a request as the next of `history`, or lets it fail with `verdict` if that isn't 0. 1: it was put aside;
 * 0: it was answered and remembered. */
int request_perform(struct server *server, const struct afar_request *request, int verdict, struct history *history);

/* Whether conditions allow a request to be performed: 0 or a negative errno; then `args` are its arguments. */
int request_prepare(struct server *server, const struct afar_request *request, const struct history *history,
                    uint64_t args[6]);

/* Remembers and answers a result; `payload` bytes behind the reply are in their place already. */
void request_finish(struct server *server, const struct afar_request *request, const uint64_t args[6], int64_t result,
                    uint32_t payload, struct history *history);

/* Replaces all that `request` refers to in `history`, which ended `behind` requests before it, by what it is worth.
 * Returns 0, or the errno that the request must fail with. */
int request_settle(struct afar_request *request, uint32_t behind, const struct history *history);

/* ---- hold.c ---- */

/* revents, -EBADF, or 0: nothing yet */
int64_t hold_try(const uint64_t args[6]);

/* Puts a HOLD aside, as the newest of the held chains: 0 or -ENOBUFS. */
int hold_put(struct server *server, const struct afar_request *request, const uint64_t args[6],
             struct history *history);

/* A request of the arriving chain, which is held. */
void hold_append(struct server *server, const struct afar_request *request, int verdict);

int64_t hold_cancel(struct server *server, uint32_t tag);

/* Sleeps until `fd` is readable or some HOLD can be answered, at most `timeout` ms; returns the revents of `fd`. */
int hold_wait(struct server *server, int fd, int64_t timeout);

/* The same for the `own` fds that are in polls[0..] already: whether anything was reported there. */
int hold_poll(struct server *server, uint32_t own, int64_t timeout);

/* Lets all held chains go on that can. */
void hold_run(struct server *server);

/* ---- io.c ---- */

#define WRITE_LOOK 200 /* ms: so often also where nothing says that there is room */

/* All of it: 0 or a negative errno. wait: for room in a non-blocking fd, or for a moment only. */
int write_all(int fd, const void *bytes, size_t length, void (*wait)(int fd));
void write_wait(int fd);

#endif
