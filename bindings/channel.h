/* A channel: one of the byte streams that a root carries, seen from the host. */
#ifndef AFAR_CHANNEL_H
#define AFAR_CHANNEL_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "loop.h"
#include "protocol.h"

struct stream;
struct channel;
struct pump;

/* Who takes what arrives. Without one the bytes are kept for channel_read(), as far as the credit goes. */
struct sink {
  /* Takes all of it. A negative errno: not understood, and `fault` says why; the channel is then ended, and no other.
   */
  int (*data)(struct sink *, const char *data, size_t length);
  void (*end)(struct sink *, enum fate fate, int error); /* once; nothing comes after it */
  void (*credit)(struct sink *);                         /* there is room for more to send */
  /* What came beside the data, and belongs between none of its bytes; NULL: nothing does. */
  int (*message)(struct sink *, const struct afar_reply *);
  const char *fault; /* what of all that came was not understood, as static text; NULL: nothing */
};

struct channel {
  struct loop *loop;
  struct stream *stream; /* NULL once the stream has gone, or the channel's number was given back */
  uint32_t number;
  uint32_t window; /* credit of the other side, when nothing is under way */
  uint32_t window_most;
  double credit_at; /* when credit was last given */
  uint32_t taken;   /* bytes taken since credit was last given */
  uint64_t credit;  /* bytes that may be sent */
  uint64_t granted; /* bytes that the other side may still send */
  struct bytes in;
  struct sink *sink;
  struct pump *pump;          /* of which it is an end */
  uint64_t read_id, write_id; /* completions that wait for bytes, for room */
  struct bytes fds;           /* int: numbers of fds that have arrived, and whose message has not */
  enum fate fate;
  int error;
  unsigned refs;
  unsigned ended : 1, eof_sent : 1, closing : 1;
};

enum { CHANNEL_WINDOW = 256 * 1024, WINDOW_MAX = 8 * 1024 * 1024 };

struct channel *channel_new(struct stream *stream, uint32_t number, uint32_t to_host, uint32_t from_host);
void channel_unref(struct channel *channel);
/* Sends as much as credit and the stream allow; returns how much, or -EPIPE once the channel has ended. */
long channel_write(struct channel *channel, const char *data, size_t length);
/* Sends up to `most` bytes, at most channel_room(), that it reads from an fd of the host's: how many, 0 at the end of
 * those, or a negative errno. */
long channel_write_from(struct channel *channel, int fd, size_t most);
/* Whether nothing more can be written. */
int channel_write_over(const struct channel *channel);
/* How much channel_write() would take now. */
size_t channel_room(const struct channel *channel);
void channel_close(struct channel *channel);
/* So many bytes were taken out of `in`: in lumps, the other side is given new credit for them. */
void channel_took(struct channel *channel, size_t length);
/* What the stream calls: */
/* Negative errno: more than there was credit for. */
int channel_on_data(struct channel *channel, const char *data, size_t length);
void channel_on_end(struct channel *channel, enum fate fate, int error);
/* The stream has ended, or has given the number back: nothing comes or goes any more. */
void channel_on_gone(struct channel *channel, enum fate fate, int error);
void channel_on_credit(struct channel *channel, uint32_t bytes);
void channel_on_fd(struct channel *channel, int fd);
/* Gives it to `sink`, from what has arrived already on. */
void channel_adopt(struct channel *channel, struct sink *sink);
/* The fd that came with the message that is read now, or -1. */
int channel_take_fd(struct channel *channel);
void channel_wake_writer(struct channel *channel);

struct channel *channel_check(lua_State *L, int index);
void channel_push(lua_State *L, struct channel *channel); /* takes over one reference */

#endif
