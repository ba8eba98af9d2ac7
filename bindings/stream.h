/* A stream: the bytes between the host and one root, and the channels in them. */
#ifndef AFAR_STREAM_H
#define AFAR_STREAM_H

#include <ev.h>
#include <stdint.h>

#include "bytes.h"
#include "channel.h"
#include "loop.h"
#include "protocol.h"
#include "ring.h"

enum stream_state {
  STREAM_NOISE, /* before the marker */
  STREAM_HELLO,
  STREAM_OPEN,
  STREAM_ENDED,
};

enum {
  MARKER_LENGTH = 32,
  NOISE_MAX = 64 * 1024,
  MORE_MAX = 1024 * 1024,
  LIMIT_MAX = 16 * 1024 * 1024, /* of what a hello may ask the host to set aside at once */
  SLOTS_MAX = 65536,
  PONGS_MAX = 4096, /* that wait to be sent */
  STREAM_FULL = 256 * 1024,
};

struct stream {
  struct loop *loop;
  enum stream_state state;
  /* below: either fds of the host, or a channel of another stream */
  int in_fd, out_fd;
  ev_io reader, writer;
  struct channel *below;
  struct sink below_sink;

  char marker[MARKER_LENGTH];
  struct bytes noise, hello;
  uint64_t noise_dropped; /* bytes of it that came before what is still there */
  struct bytes out;
  struct bytes out_fds; /* struct out_fd: fds that go out with the byte at their offset */
  uint64_t sent;        /* bytes that have left */
  struct flush flush;

  struct afar_frame frame; /* being received */
  size_t frame_have, payload_left;

  struct sink *root; /* channel 0 */
  struct ring ring;  /* beside the stream, to a root on this machine: what the two carry has one order */
  struct channel **channels;
  uint32_t channels_size;
  struct pump *gathering; /* has taken pieces of what is being fed, and not sent them */
  unsigned splices;       /* pumps to which payload may go without being read */
  struct bytes fd_ids;    /* uint64_t ids of those who wait for an fd sent by stream_send_fd() */

  uint64_t open_id;     /* completes when the hello is there, or the stream has ended */
  uint64_t end_id;      /* completes when the stream ends */
  uint64_t noise_id;    /* completes when noise has arrived */
  uint32_t pings;       /* sent and not yet answered */
  double probe_at;      /* when it was asked last how long a round trip takes; 0: nobody waits for that answer */
  double round_trip;    /* the shortest so far, in seconds; 0: not known */
  uint32_t pongs;       /* queued since all was sent last */
  uint64_t received;    /* bytes in all */
  int error;            /* why it ended: 0 end of file, or a positive errno */
  const char *reason;   /* what was not understood, if so */
  unsigned starved : 1; /* some channel found no room */
  unsigned belled : 1;  /* `out` begins with a BELL frame whose value is still to come */
};

/* A new one, which looks for the marker, of MARKER_LENGTH bytes; then over two fds of the host's, which may be equal
 * and are taken over; or inside a channel of another stream, which must have no other user. */
void stream_init(struct stream *stream, struct loop *loop, const char *marker);
void stream_over_fds(struct stream *stream, int in, int out);
void stream_over_channel(struct stream *stream, struct channel *channel);
/* Ends it, and frees all but the struct itself. */
void stream_free(struct stream *stream);
/* A new channel, with these first credits; `most`: up to which the one to the host may grow. The stream has a
 * reference, and the caller. NULL: it has as many as there can be. */
struct channel *stream_channel(struct stream *stream, uint32_t to_host, uint32_t from_host, uint32_t most);
/* Takes the fd over; an id that completes with its number in the root, or 0. Only over a unix socket. */
uint64_t stream_send_fd(struct stream *stream, int fd);
/* Bytes for who reads before there is a root. */
void stream_raw(struct stream *stream, const char *data, size_t length);
/* Queue a frame; sent before the loop sleeps. */
void stream_frame(struct stream *stream, uint32_t channel, enum afar_frame_type type, uint32_t value);
/* Queue payload on a channel, split into frames. */
void stream_data(struct stream *stream, uint32_t channel, const char *data, size_t length);
/* Sends what is queued now. */
void stream_flush(struct stream *stream);
/* Requests for channel 0: through the ring where that can take all of them, and they keep their place. */
void stream_requests(struct stream *stream, const char *data, size_t length);
/* Replies come through the ring once the root has been told of it: by a request that was queued before. */
void stream_use_ring(struct stream *stream, struct afar_ring *at);
/* How much channels may still queue; when it was 0 they are told once there is room again. */
size_t stream_room(struct stream *stream);
/* Reads up to `most` bytes from an fd of the host's into one frame of a channel: how many, 0 at the end, or a negative
 * errno. */
long stream_data_from(struct stream *stream, uint32_t channel, int fd, size_t most);
/* Finds out how long a round trip takes now, when little is under way. */
void stream_probe(struct stream *stream);
void stream_forget(struct stream *stream, uint32_t number);
void stream_end(struct stream *stream, int error, const char *reason);

struct stream *stream_check(lua_State *L, int index);

#endif
