/* A pump: what arrives on one channel goes out on another, as far as there is room there, and none of it comes to Lua.
 * Instead of one of the two channels there may be an fd of the host's, non-blocking: a pipe or a socket. */
#ifndef AFAR_PUMP_H
#define AFAR_PUMP_H

#include <ev.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct channel;
struct loop;

enum { PUMP_PARTS = 16 };

struct pump {
  struct loop *loop;
  struct channel *from, *to; /* a reference to each; NULL: the fd */
  int fd;
  ev_io io;
  unsigned splices : 1; /* what comes for the fd may go there from the stream's own, without a copy */
  uint64_t id;          /* completes with the bytes that were moved */
  uint64_t left, moved;
  /* What has just arrived for the fd, and goes out with what comes in the same read: pieces of the stream's buffer.
   * `in` of the channel is empty meanwhile. */
  struct iovec parts[PUMP_PARTS];
  int count;
  uint64_t gathered;
  struct pump *
      *slot; /* of the stream, which calls pump_run() before its buffer is used again; NULL: nothing is there */
};

/* Moves `most` bytes; fewer when `from` has ended before, or `to` takes no more. Neither may have a sink or a pump. */
void pump_start(struct channel *from, struct channel *to, uint64_t most, uint64_t id);
/* The same, one of the two being NULL. The fd stays its owner's, and must stay open until the pump has ended. */
void pump_start_fd(struct channel *from, struct channel *to, int fd, uint64_t most, uint64_t id);
/* Moves what can be moved now; the pump may be gone afterwards. */
void pump_run(struct pump *pump);
/* Bytes that have just arrived at `from`, where none wait: how many of them were taken. */
size_t pump_data(struct pump *pump, const char *data, size_t length);
/* Moves up to `most` of the bytes that come next for `from` to the pump's fd, from `in`, where they are still to be
 * read: how many, 0 at the end of `in`, or a negative errno. -EOPNOTSUPP: they have to be read. The pump may be gone
 * afterwards. */
long pump_splice(struct pump *pump, int in, size_t most);
/* Ends it where it is. */
void pump_stop(struct pump *pump);

#endif
