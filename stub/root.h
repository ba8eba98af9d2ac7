/* A root: the server of channel 0, and the channels of all others, over one stream of frames. */
#ifndef AFAR_ROOT_H
#define AFAR_ROOT_H

#include "server.h"

#define MUX_SIZE    (256 * 1024)
#define BLOCK_SIZE  (64 * 1024)
#define BLOCKS_KEPT 8 /* free blocks that are not given back to the kernel */
#define ARENA_SIZE  (1024 * 1024)
#define FDS_MAX     16 /* that may come with one message */

/* Bytes from the host that could not be written yet. */
struct block {
  struct block *next;
  uint32_t start, end; /* of what is in bytes */
  uint8_t bytes[BLOCK_SIZE - 16];
};

enum channel_state {
  CHANNEL_ATTACHED = 1 << 0,
  CHANNEL_READING = 1 << 1, /* what is read goes to the host */
  CHANNEL_WRITING = 1 << 2, /* what the host sends is written; else it is dropped */
  CHANNEL_ENDING = 1 << 3,  /* the host has sent EOF */
  CHANNEL_ALWAYS = 1 << 4,  /* epoll refuses the fd: a regular file */
  CHANNEL_LISTED = 1 << 5,  /* is in the list of those */
};

struct channel {
  int32_t fd; /* -1: closed already */
  uint8_t state;
  uint8_t flags;    /* enum afar_attach */
  uint8_t watched;  /* events that epoll reports */
  uint64_t to_host; /* credits: what may still be sent */
  uint64_t from_host;
  uint32_t window; /* the first from_host */
  uint32_t owed;   /* bytes done with, for which the host was not given new credit yet */
  uint32_t next;   /* number of the next one in the list of those that are always ready */
  struct block *first, *last;
};

struct root {
  struct server server;
  int in, out, epoll;
  int timer;            /* runs out when the host has said nothing for half of the silence that is allowed */
  uint8_t in_always;    /* epoll refuses it: a regular file */
  uint8_t in_no_socket; /* recvmsg(2) refuses it */
  uint8_t heard;        /* the host has said something since the timer was set */
  uint8_t quiet;        /* so often did it run out in vain */
  int32_t silence;      /* seconds; 0: wait forever */
  uint32_t received;    /* bytes of the stream, modulo 2^32: beside a ring the two have an order */
  uint32_t looked;      /* so often in vain since a request came through the ring */

  struct afar_frame frame; /* that is arriving */
  uint32_t have;           /* bytes of it that are there */
  uint32_t left;           /* bytes of its payload that are still to come */

  struct channel *channels;
  uint32_t always; /* first of the list of channels that are always ready */
  struct block *blocks;
  uint32_t blocks_kept;

  struct channel ahead;  /* only the list of its blocks: what was read ahead from the host */
  uint32_t ahead_length; /* bytes of it */

  uint32_t out_used;
  uint8_t in_bytes[MUX_SIZE];
  uint8_t out_bytes[MUX_SIZE];
};

extern struct root root;

/* ---- root.c ---- */

void root_init(int in, int out);
void root_turn(void);

/* Its server, with nothing under way. */
void root_begin(void);

/* Moves an fd to AFAR_FD_ZONE or above, close-on-exec: its number there, or a negative errno (then nothing has
 * changed). One that is there already stays. */
int root_zone(int fd);

/* recvmsg(2) with up to FDS_MAX fds, which are moved; `fd_count` says how many came. */
int64_t root_receive(int fd, void *to, size_t length, int flags, int fds[FDS_MAX], int *fd_count);

/* ---- silence.c ---- */

/* The end, once the host has said nothing for so long, or half as long again; 0: never. */
int64_t silence_set(uint64_t seconds);
/* The host has asked whether we live: it is counted from now on. */
void silence_broken(void);
/* The timer has run out. */
void silence_half(void);

/* ---- mux.c: frames ---- */

/* Takes bytes from the host. Exits when they are not understood. */
void mux_feed(const uint8_t *bytes, size_t length);

/* Room for `length` bytes, at most MUX_SIZE, behind all that waits to be sent; it counts when out_used is raised. */
uint8_t *mux_room(size_t length);
void mux_put(const void *bytes, size_t length);
void mux_frame(uint32_t channel, enum afar_frame_type type, uint32_t value);
void mux_flush(void);

/* ---- channel.c ---- */

/* The channel of that number, or NULL if none is attached. */
struct channel *channel_find(uint32_t number);

int64_t channel_attach(const uint64_t args[6]);
void channel_data(struct channel *channel, const uint8_t *bytes, size_t length);
void channel_credit(struct channel *channel, uint32_t bytes);
void channel_eof(struct channel *channel);
void channel_close(struct channel *channel);

/* Reads and writes what epoll says is ready. */
void channel_serve(struct channel *channel, uint32_t events);
void channel_serve_always(void);

/* ---- pending.c: what a channel's fd does not take yet ---- */

/* 0 or -ENOMEM */
int pending_add(struct channel *channel, const uint8_t *bytes, size_t length);

/* The first bytes are done with. */
void pending_drop(struct channel *channel, size_t length);

/* All are: how many that were. */
size_t pending_clear(struct channel *channel);

/* ---- ahead.c: what was read while nothing could be sent ---- */

/* Waits for room in `fd`, as write_wait, and reads from the host meanwhile. */
void ahead_wait(int fd);

/* What came first of that, if there is any: at most a block's bytes. */
size_t ahead_take(uint8_t *to);

/* ---- callback.c ---- */

/* Whether the host has put this image where a program is expected. */
int callback_is(void);
void callback_marker(char marker[32]);

/* The connection to the host, by the name under which the program was called; exits when nobody is there. */
int callback_connect(const char *name);

/* The end, since the stream has ended or is not understood. A callback's callers are told. */
_Noreturn void root_exit(int status);

/* ---- hello.c ---- */

struct inherited {
  uint64_t sigmask;
  struct rlimit nofile;
  char **argv, **environ;
  uint32_t page_size;
};

/* Puts the hello into what is to be sent. */
void hello_put(const struct inherited *inherited);

#endif
