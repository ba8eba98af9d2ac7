#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pump.h"

enum {
  PROBE = 1, /* what a ping carries whose answer is timed */
  READS = 32 /* in one turn: where payload is spliced a frame takes two */
};

struct out_fd {
  uint64_t offset; /* in all that was ever sent */
  int fd;
};

/* ---- sending ---- */

size_t stream_room(struct stream *stream) {
  size_t used = bytes_length(&stream->out);
  if (used < STREAM_FULL)
    return STREAM_FULL - used;
  stream->starved = 1;
  return 0;
}

static void append_frame(struct stream *stream, uint32_t channel, enum afar_frame_type type, uint32_t value) {
  struct afar_frame frame = {.channel = channel, .word = (uint32_t)type << 24 | value};
  bytes_append(&stream->out, &frame, sizeof frame);
}

/* Beside a ring all that is sent at once begins by saying behind which of the ring's requests it comes. */
static void queue_bell(struct stream *stream) {
  if (stream->ring.at && bytes_length(&stream->out) == 0) {
    append_frame(stream, 0, AFAR_BELL, 0);
    stream->belled = 1;
  }
}

static void settle_bell(struct stream *stream) {
  if (!stream->belled)
    return;
  struct afar_frame frame = {.word = (uint32_t)AFAR_BELL << 24 | (stream->ring.tail & 0xffffff)};
  memcpy(bytes_head(&stream->out), &frame, sizeof frame);
  stream->belled = 0;
}

static void queue(struct stream *stream, const void *data, size_t length) {
  bytes_append(&stream->out, data, length);
  loop_flush_later(stream->loop, &stream->flush);
}

void stream_raw(struct stream *stream, const char *data, size_t length) {
  if (stream->state == STREAM_NOISE)
    queue(stream, data, length);
}

void stream_frame(struct stream *stream, uint32_t channel, enum afar_frame_type type, uint32_t value) {
  if (stream->state != STREAM_OPEN)
    return;
  queue_bell(stream);
  append_frame(stream, channel, type, value);
  loop_flush_later(stream->loop, &stream->flush);
}

void stream_data(struct stream *stream, uint32_t channel, const char *data, size_t length) {
  while (length > 0 && stream->state == STREAM_OPEN) {
    size_t part = length < AFAR_FRAME_MAX ? length : AFAR_FRAME_MAX;
    stream_frame(stream, channel, AFAR_DATA, (uint32_t)part);
    queue(stream, data, part);
    data += part;
    length -= part;
  }
}

long stream_data_from(struct stream *stream, uint32_t channel, int fd, size_t most) {
  if (stream->state != STREAM_OPEN)
    return -EPIPE;
  if (most > AFAR_FRAME_MAX)
    most = AFAR_FRAME_MAX;
  struct afar_frame frame = {.channel = channel};
  char *at = bytes_room(&stream->out, sizeof frame + most);
  ssize_t count = read(fd, at + sizeof frame, most);
  if (count <= 0)
    return count < 0 ? -errno : 0;
  frame.word = (uint32_t)AFAR_DATA << 24 | (uint32_t)count;
  memcpy(at, &frame, sizeof frame);
  bytes_grow(&stream->out, sizeof frame + (size_t)count);
  loop_flush_later(stream->loop, &stream->flush);
  return count;
}

void stream_probe(struct stream *stream) {
  if (stream->probe_at > 0 || stream->state != STREAM_OPEN)
    return;
  stream->probe_at = ev_time();
  stream_frame(stream, 0, AFAR_PING, PROBE);
}

/* The answer to a probe: the shortest counts, since what is under way makes others wait. */
static void on_probe(struct stream *stream) {
  double took = ev_time() - stream->probe_at;
  if (stream->probe_at > 0 && took > 0 && (stream->round_trip == 0 || took < stream->round_trip))
    stream->round_trip = took;
  stream->probe_at = 0;
}

static void wake_writers(struct stream *stream) {
  if (!stream->starved || bytes_length(&stream->out) > STREAM_FULL / 2)
    return;
  stream->starved = 0;
  for (uint32_t i = 1; i < stream->channels_size; i++)
    if (stream->channels[i])
      channel_wake_writer(stream->channels[i]);
}

/* The bytes that may be sent at once: up to those of the next fd behind the first. */
static size_t up_to_next_fd(const struct stream *stream) {
  struct out_fd fds[2] = {0};
  size_t length = bytes_length(&stream->out_fds);
  memcpy(fds, bytes_head(&stream->out_fds), length < sizeof fds ? length : sizeof fds);
  if (fds[0].offset > stream->sent)
    return fds[0].offset - stream->sent;
  return length > sizeof fds[0] ? fds[1].offset - stream->sent : bytes_length(&stream->out);
}

/* sendmsg(2) of the bytes before the next fd, or of that fd and the bytes with it. */
static ssize_t send_fds(struct stream *stream) {
  struct out_fd next;
  memcpy(&next, bytes_head(&stream->out_fds), sizeof next);
  size_t length = up_to_next_fd(stream);
  if (next.offset > stream->sent)
    return send(stream->out_fd, bytes_head(&stream->out), length, MSG_NOSIGNAL);
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.header), &next.fd, sizeof next.fd);
  struct iovec iov = {bytes_head(&stream->out), length};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t count = sendmsg(stream->out_fd, &message, MSG_NOSIGNAL);
  if (count > 0) {
    close(next.fd);
    bytes_drop(&stream->out_fds, sizeof next);
  }
  return count;
}

/* `full`: it is known by now that no more would go. */
static ssize_t send_some(struct stream *stream, int *full) {
  size_t length = bytes_length(&stream->out);
  if (stream->below)
    return channel_write(stream->below, bytes_head(&stream->out), length);
  int has_fds = bytes_length(&stream->out_fds) > 0;
  ssize_t count = has_fds ? send_fds(stream) : write(stream->out_fd, bytes_head(&stream->out), length);
  *full = !has_fds && count > 0 && (size_t)count < length;
  return count < 0 ? -errno : count;
}

void stream_flush(struct stream *stream) {
  settle_bell(stream);
  if (!stream->below && ev_is_active(&stream->writer))
    return; /* it is known to be full */
  while (stream->state != STREAM_ENDED && bytes_length(&stream->out) > 0) {
    int full = 0;
    ssize_t count = send_some(stream, &full);
    if (count == -EINTR)
      continue;
    /* What the far side still said before it went is worth reading: its end is seen there. */
    if (count < 0 && count != -EAGAIN)
      return bytes_drop(&stream->out, bytes_length(&stream->out));
    if (count > 0) {
      stream->sent += (uint64_t)count;
      bytes_drop(&stream->out, (size_t)count);
    }
    if (count > 0 && !full)
      continue;
    if (!stream->below)
      ev_io_start(stream->loop->ev, &stream->writer);
    return wake_writers(stream);
  }
  stream->pongs = 0;
  wake_writers(stream);
}

void stream_requests(struct stream *stream, const char *data, size_t length) {
  struct ring *ring = &stream->ring;
  int answers = ring->at && ring->head != 0; /* the root uses it: else it may have refused */
  if (answers && ring_space(ring) >= length)
    stream_flush(stream);
  if (!answers || ring_space(ring) < length || bytes_length(&stream->out) > 0)
    return stream_data(stream, 0, data, length);
  __atomic_store_n(&ring->at->stream, (uint32_t)stream->sent, __ATOMIC_RELAXED);
  ring_write(ring, data, length);
}

static void bell(struct ring *ring) {
  struct stream *stream = (struct stream *)((char *)ring - offsetof(struct stream, ring));
  queue_bell(stream);
  stream_flush(stream);
}

static void ring_is_broken(struct ring *ring) {
  struct stream *stream = (struct stream *)((char *)ring - offsetof(struct stream, ring));
  stream_end(stream, EPROTO, ring->sink->fault);
}

void stream_use_ring(struct stream *stream, struct afar_ring *at) {
  stream_flush(stream);
  stream->ring.bell = bell;
  stream->ring.broken = ring_is_broken;
  ring_open(&stream->ring, stream->loop, at, stream->root);
}

static void run_flush(struct flush *flush) {
  stream_flush((struct stream *)((char *)flush - offsetof(struct stream, flush)));
}

static void on_writable(struct ev_loop *ev, ev_io *io, int events) {
  (void)events;
  ev_io_stop(ev, io);
  stream_flush(io->data);
}

/* ---- receiving ---- */

static void broken(struct stream *stream, const char *reason) {
  stream_end(stream, EPROTO, reason);
}

void stream_forget(struct stream *stream, uint32_t number) {
  struct channel *channel = stream->channels[number];
  stream->channels[number] = NULL;
  channel_on_gone(channel, FATE_EOF, 0);
  channel_unref(channel);
}

static void on_root_fd(struct stream *stream, int fd) {
  uint64_t id;
  if (bytes_length(&stream->fd_ids) == 0)
    return;
  memcpy(&id, bytes_head(&stream->fd_ids), sizeof id);
  bytes_drop(&stream->fd_ids, sizeof id);
  loop_complete(stream->loop, id, fd, FATE_DONE);
}

static void on_frame(struct stream *stream, struct channel *channel, enum afar_frame_type type, uint32_t value) {
  uint32_t number = stream->frame.channel;
  switch (type) {
  case AFAR_DATA:
    if (value == 0 || value > AFAR_FRAME_MAX || (number != 0 && !channel))
      return broken(stream, "a data frame of a wrong size or channel");
    stream->payload_left = value;
    return;
  case AFAR_CREDIT:
    return channel ? channel_on_credit(channel, value) : broken(stream, "credit for an unknown channel");
  case AFAR_EOF:
    return channel ? channel_on_end(channel, FATE_EOF, (int)(value & 0xfff))
                   : broken(stream, "the end of an unknown channel");
  case AFAR_CLOSE:
    if (!channel || !channel->closing)
      return broken(stream, "a channel was closed that nobody closed");
    return stream_forget(stream, number);
  case AFAR_PING:
    if (++stream->pongs > PONGS_MAX)
      return broken(stream, "pings, and nobody takes the answers");
    return stream_frame(stream, 0, AFAR_PONG, value);
  case AFAR_PONG:
    stream->pings = 0;
    if (value == PROBE)
      on_probe(stream);
    return;
  case AFAR_BELL:
    return; /* it has woken us, and that is all */
  case AFAR_FD:
    if (number == 0)
      return on_root_fd(stream, (int)value);
    return channel ? channel_on_fd(channel, (int)value) : broken(stream, "an fd for an unknown channel");
  }
  broken(stream, "a frame of an unknown type");
}

static struct channel *find(struct stream *stream, uint32_t number) {
  return number > 0 && number < stream->channels_size ? stream->channels[number] : NULL;
}

static void on_payload(struct stream *stream, const char *data, size_t length) {
  struct sink *root = stream->root;
  if (stream->frame.channel == 0) {
    if (root && root->data(root, data, length) < 0)
      broken(stream, root->fault);
    return;
  }
  struct channel *channel = find(stream, stream->frame.channel);
  if (!channel || channel_on_data(channel, data, length) < 0)
    broken(stream, "more data on a channel than there was credit for");
}

/* Takes one frame header, or a piece of payload; returns how many bytes that was. */
static size_t take_frame(struct stream *stream, const char *data, size_t length) {
  if (stream->payload_left > 0) {
    size_t part = length < stream->payload_left ? length : stream->payload_left;
    stream->payload_left -= part;
    on_payload(stream, data, part);
    return part;
  }
  size_t part = sizeof stream->frame - stream->frame_have;
  if (part > length)
    part = length;
  memcpy((char *)&stream->frame + stream->frame_have, data, part);
  stream->frame_have += part;
  if (stream->frame_have == sizeof stream->frame) {
    stream->frame_have = 0;
    on_frame(stream, find(stream, stream->frame.channel), stream->frame.word >> 24, stream->frame.word & 0xffffff);
  }
  return part;
}

static const char *hello_fault(const struct afar_hello *hello, size_t have) {
  if (have >= 8 && hello->major != AFAR_MAJOR)
    return "the stub speaks another major version of the protocol";
  if (have < sizeof *hello)
    return NULL;
  if (hello->size < sizeof *hello || hello->size > 65536 || hello->more > MORE_MAX)
    return "a hello of a wrong size";
  if (hello->read_max == 0 || hello->read_max > LIMIT_MAX || hello->block_size > LIMIT_MAX || hello->hold_slots == 0 ||
      hello->hold_slots > SLOTS_MAX)
    return "a hello with limits that can't be";
  uint64_t more = (uint64_t)hello->groups * 4 + hello->argv_length + hello->environ_length;
  return more == hello->more ? NULL : "a hello whose parts don't add up";
}

/* Takes bytes of the hello; returns how many. */
static size_t take_hello(struct stream *stream, const char *data, size_t length) {
  struct afar_hello hello = {0};
  size_t have = bytes_length(&stream->hello), want = sizeof hello;
  if (have >= sizeof hello) {
    memcpy(&hello, bytes_head(&stream->hello), sizeof hello);
    want = (size_t)hello.size + hello.more;
  }
  size_t part = want - have < length ? want - have : length;
  bytes_append(&stream->hello, data, part);
  have += part;
  memcpy(&hello, bytes_head(&stream->hello), have < sizeof hello ? have : sizeof hello);
  const char *fault = hello_fault(&hello, have);
  if (fault) {
    broken(stream, fault);
  } else if (have >= sizeof hello && have == (size_t)hello.size + hello.more) {
    stream->state = STREAM_OPEN;
    loop_complete(stream->loop, stream->open_id, 0, FATE_DONE);
    stream->open_id = 0;
  }
  return part;
}

/* Looks for the marker with the hello's magic behind it; all before it is noise. Takes all bytes up to there. */
static size_t take_noise(struct stream *stream, const char *data, size_t length) {
  static const uint32_t magic = AFAR_MAGIC;
  char pattern[MARKER_LENGTH + 4];
  memcpy(pattern, stream->marker, MARKER_LENGTH);
  memcpy(pattern + MARKER_LENGTH, &magic, 4);
  size_t before = bytes_length(&stream->noise);
  bytes_append(&stream->noise, data, length);
  size_t from = before < sizeof pattern ? 0 : before - sizeof pattern; /* it was looked for in what is before */
  char *found = memmem(bytes_head(&stream->noise) + from, before + length - from, pattern, sizeof pattern);
  loop_complete(stream->loop, stream->noise_id, 0, FATE_DONE);
  stream->noise_id = 0;
  if (!found) {
    size_t more = before + length > NOISE_MAX ? before + length - NOISE_MAX : 0;
    bytes_drop(&stream->noise, more);
    stream->noise_dropped += more;
    return length;
  }
  size_t noise = (size_t)(found - bytes_head(&stream->noise)), taken = noise + sizeof pattern - before;
  stream->noise.tail = stream->noise.head + noise;
  bytes_append(&stream->hello, &magic, 4);
  stream->state = STREAM_HELLO;
  return taken;
}

static void feed(struct stream *stream, const char *data, size_t length) {
  stream->received += length;
  stream->pings = 0;
  while (length > 0 && stream->state != STREAM_ENDED) {
    size_t part = stream->state == STREAM_OPEN    ? take_frame(stream, data, length)
                  : stream->state == STREAM_HELLO ? take_hello(stream, data, length)
                                                  : take_noise(stream, data, length);
    data += part;
    length -= part;
  }
  if (stream->gathering)
    pump_run(stream->gathering);
}

/* Payload that goes into a pipe, from that of the stream's fd, of which nothing behind it was read yet: how much has
 * gone, 0 at the end, or a negative errno. -EOPNOTSUPP: it has to be read. */
static long splice_payload(struct stream *stream) {
  struct channel *channel = stream->splices && stream->payload_left > 0 ? find(stream, stream->frame.channel) : NULL;
  if (!channel || !channel->pump || channel->pump->from != channel)
    return -EOPNOTSUPP;
  uint64_t most = stream->payload_left < channel->granted ? stream->payload_left : channel->granted;
  long count = pump_splice(channel->pump, stream->in_fd, (size_t)most);
  if (count > 0) {
    stream->received += (uint64_t)count;
    stream->pings = 0;
    stream->payload_left -= (size_t)count;
    channel->granted -= (uint64_t)count;
  }
  return count;
}

/* Where payload may be spliced, not more than the rest of a header, or of a payload. */
static size_t to_read(const struct stream *stream, size_t most) {
  size_t left = stream->payload_left > 0 ? stream->payload_left : sizeof stream->frame - stream->frame_have;
  return stream->splices && stream->state == STREAM_OPEN && left < most ? left : most;
}

/* Whether more may be there already: not where less came than was asked for. */
static int take_in(struct stream *stream) {
  static char buffer[128 * 1024];
  long count = splice_payload(stream);
  int spliced = count != -EOPNOTSUPP;
  if (!spliced) {
    count = read(stream->in_fd, buffer, to_read(stream, sizeof buffer));
    count = count < 0 ? -errno : count;
  }
  ring_look(&stream->ring); /* what was written there before comes first */
  if (stream->state == STREAM_ENDED)
    return 0;
  if (count == 0 || (count < 0 && count != -EAGAIN && count != -EINTR))
    stream_end(stream, (int)-count, NULL);
  else if (count > 0 && !spliced)
    feed(stream, buffer, (size_t)count);
  int short_ = spliced && stream->payload_left > 0;
  return count > 0 && !short_ && stream->splices > 0 && stream->state != STREAM_ENDED;
}

static void on_readable(struct ev_loop *ev, ev_io *io, int events) {
  (void)ev, (void)events;
  for (int left = READS; left > 0 && take_in(io->data); left--)
    ;
}

static int on_below_data(struct sink *sink, const char *data, size_t length) {
  struct stream *stream = (struct stream *)((char *)sink - offsetof(struct stream, below_sink));
  feed(stream, data, length);
  return 0;
}

static void on_below_end(struct sink *sink, enum fate fate, int error) {
  struct stream *stream = (struct stream *)((char *)sink - offsetof(struct stream, below_sink));
  stream_end(stream, error ? error : fate == FATE_LOST ? ECONNRESET : 0, sink->fault);
}

static void on_below_credit(struct sink *sink) {
  stream_flush((struct stream *)((char *)sink - offsetof(struct stream, below_sink)));
}

/* ---- channels, and fds beside them ---- */

static void grow_channels(struct stream *stream) {
  uint32_t before = stream->channels_size, size = before ? before * 2 : 16;
  struct channel **channels = realloc(stream->channels, size * sizeof *channels);
  if (!channels)
    abort();
  memset(channels + before, 0, (size - before) * sizeof *channels);
  stream->channels = channels;
  stream->channels_size = size;
}

struct channel *stream_channel(struct stream *stream, uint32_t to_host, uint32_t from_host, uint32_t most) {
  uint32_t number = 1;
  while (number < stream->channels_size && stream->channels[number])
    number++;
  if (number >= AFAR_CHANNELS_MAX)
    return NULL;
  if (number >= stream->channels_size)
    grow_channels(stream);
  struct channel *channel = channel_new(stream, number, to_host, from_host);
  channel->window_most = most;
  if (most > to_host)
    stream_probe(stream);
  stream->channels[number] = channel;
  channel->refs++;
  return channel;
}

uint64_t stream_send_fd(struct stream *stream, int fd) {
  if (stream->state != STREAM_OPEN || stream->below) {
    close(fd);
    return 0;
  }
  struct out_fd out = {.offset = stream->sent + bytes_length(&stream->out), .fd = fd};
  bytes_append(&stream->out_fds, &out, sizeof out);
  stream_frame(stream, 0, AFAR_PONG, 0);
  uint64_t id = loop_id(stream->loop);
  bytes_append(&stream->fd_ids, &id, sizeof id);
  return id;
}

/* ---- its life ---- */

static void set_nonblock(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void stream_init(struct stream *stream, struct loop *loop, const char *marker) {
  *stream = (struct stream){.loop = loop, .in_fd = -1, .out_fd = -1, .flush = {.run = run_flush, .late = 1}};
  memcpy(stream->marker, marker, MARKER_LENGTH);
}

void stream_over_fds(struct stream *stream, int in, int out) {
  stream->in_fd = in;
  stream->out_fd = out;
  set_nonblock(in);
  set_nonblock(out);
  ev_io_init(&stream->reader, on_readable, in, EV_READ);
  ev_io_init(&stream->writer, on_writable, out, EV_WRITE);
  stream->reader.data = stream->writer.data = stream;
  ev_io_start(stream->loop->ev, &stream->reader);
}

void stream_over_channel(struct stream *stream, struct channel *channel) {
  stream->below = channel;
  channel->refs++;
  stream->below_sink = (struct sink){.data = on_below_data, .end = on_below_end, .credit = on_below_credit};
  channel_adopt(channel, &stream->below_sink);
}

static void close_below(struct stream *stream) {
  loop_flush_forget(stream->loop, &stream->flush);
  if (stream->below) {
    stream->below->sink = NULL;
    channel_close(stream->below);
    channel_unref(stream->below);
    stream->below = NULL;
    return;
  }
  ev_io_stop(stream->loop->ev, &stream->reader);
  ev_io_stop(stream->loop->ev, &stream->writer);
  if (stream->in_fd >= 0)
    close(stream->in_fd);
  if (stream->out_fd >= 0 && stream->out_fd != stream->in_fd)
    close(stream->out_fd);
  stream->in_fd = stream->out_fd = -1;
  while (bytes_length(&stream->out_fds) > 0) {
    struct out_fd next;
    memcpy(&next, bytes_head(&stream->out_fds), sizeof next);
    close(next.fd);
    bytes_drop(&stream->out_fds, sizeof next);
  }
}

static void end_channel(struct stream *stream, uint32_t number) {
  struct channel *channel = stream->channels[number];
  if (!channel)
    return;
  if (channel->sink && stream->reason)
    channel->sink->fault = stream->reason;
  channel_on_gone(channel, FATE_LOST, stream->error);
  channel_unref(channel);
  stream->channels[number] = NULL;
}

void stream_end(struct stream *stream, int error, const char *reason) {
  if (stream->state == STREAM_ENDED)
    return;
  stream->state = STREAM_ENDED;
  stream->error = error;
  stream->reason = reason;
  ring_close(&stream->ring);
  close_below(stream);
  enum fate fate = error ? FATE_LOST : FATE_EOF;
  for (uint32_t i = 1; i < stream->channels_size; i++)
    end_channel(stream, i);
  if (stream->root) {
    stream->root->fault = reason;
    stream->root->end(stream->root, fate, error);
  }
  loop_complete(stream->loop, stream->open_id, -1, fate);
  loop_complete(stream->loop, stream->noise_id, -1, fate);
  loop_complete(stream->loop, stream->end_id, -1, fate);
  stream->open_id = stream->noise_id = stream->end_id = 0;
  while (bytes_length(&stream->fd_ids) > 0) {
    uint64_t id;
    memcpy(&id, bytes_head(&stream->fd_ids), sizeof id);
    bytes_drop(&stream->fd_ids, sizeof id);
    loop_complete(stream->loop, id, -1, FATE_LOST);
  }
}

void stream_free(struct stream *stream) {
  stream_end(stream, 0, NULL);
  loop_flush_forget(stream->loop, &stream->flush);
  bytes_free(&stream->noise);
  bytes_free(&stream->hello);
  bytes_free(&stream->out);
  bytes_free(&stream->out_fds);
  bytes_free(&stream->fd_ids);
  free(stream->channels);
}
