#include "pump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel.h"
#include "stream.h"

static struct pump *new_pump(struct channel *from, struct channel *to, uint64_t most, uint64_t id) {
  struct pump *pump = calloc(1, sizeof *pump);
  if (!pump)
    abort();
  *pump = (struct pump){.loop = (from ? from : to)->loop, .from = from, .to = to, .fd = -1, .id = id, .left = most};
  if (from)
    from->refs++, from->pump = pump;
  if (to)
    to->refs++, to->pump = pump;
  return pump;
}

void pump_start(struct channel *from, struct channel *to, uint64_t most, uint64_t id) {
  pump_run(new_pump(from, to, most, id));
}

static void on_ready(struct ev_loop *ev, ev_io *io, int events) {
  (void)events;
  ev_io_stop(ev, io);
  pump_run(io->data);
}

/* To splice from a stream its reader has to know of it, who else would read more than a frame at once. */
static void prepare_splices(struct pump *pump) {
  struct stat stat;
  struct stream *stream = pump->from ? pump->from->stream : NULL;
  if (!stream || stream->below || stream->ring.at || fstat(pump->fd, &stat) < 0 || !S_ISFIFO(stat.st_mode))
    return;
  pump->splices = 1;
  stream->splices++;
}

void pump_start_fd(struct channel *from, struct channel *to, int fd, uint64_t most, uint64_t id) {
  struct pump *pump = new_pump(from, to, most, id);
  pump->fd = fd;
  prepare_splices(pump);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  ev_io_init(&pump->io, on_ready, fd, from ? EV_WRITE : EV_READ);
  pump->io.data = pump;
  pump_run(pump);
}

/* What doesn't go out now waits in the channel; an error is seen when it is tried again. */
static void send_gathered(struct pump *pump) {
  if (!pump->slot)
    return;
  *pump->slot = NULL;
  pump->slot = NULL;
  ssize_t sent = writev(pump->fd, pump->parts, pump->count);
  size_t count = sent > 0 ? (size_t)sent : 0;
  if (count < pump->gathered && (sent >= 0 || errno == EAGAIN))
    ev_io_start(pump->loop->ev, &pump->io);
  pump->left -= count;
  pump->moved += count;
  channel_took(pump->from, count);
  for (int i = 0; i < pump->count; i++) {
    size_t length = pump->parts[i].iov_len, gone = count < length ? count : length;
    bytes_append(&pump->from->in, (const char *)pump->parts[i].iov_base + gone, length - gone);
    count -= gone;
  }
  pump->count = 0;
  pump->gathered = 0;
}

static size_t gather(struct pump *pump, const char *data, size_t length) {
  uint64_t wanted = pump->left - pump->gathered;
  size_t part = length < wanted ? length : (size_t)wanted;
  struct pump **slot = &pump->from->stream->gathering;
  if (*slot && *slot != pump)
    pump_run(*slot);
  *slot = pump;
  pump->slot = slot;
  pump->parts[pump->count++] = (struct iovec){(void *)(uintptr_t)data, part};
  pump->gathered += part;
  if (pump->count == PUMP_PARTS || part < length)
    send_gathered(pump);
  return part;
}

void pump_stop(struct pump *pump) {
  struct channel *from = pump->from, *to = pump->to;
  send_gathered(pump);
  loop_complete(pump->loop, pump->id, (int64_t)pump->moved, FATE_DONE);
  if (pump->fd >= 0)
    ev_io_stop(pump->loop->ev, &pump->io);
  if (from && from->stream && pump->splices)
    from->stream->splices--;
  free(pump);
  if (from)
    from->pump = NULL, channel_unref(from);
  if (to)
    to->pump = NULL, channel_unref(to);
}

/* How much went out, or a negative errno. */
static long send_on(struct pump *pump, const char *data, size_t length) {
  if (pump->to)
    return channel_write(pump->to, data, length);
  ssize_t count = write(pump->fd, data, length);
  if (count >= 0)
    return count;
  if (errno != EAGAIN && errno != EINTR)
    return -errno;
  ev_io_start(pump->loop->ev, &pump->io);
  return 0;
}

/* 1: all has gone, or as much as it was to be; 0: there is no room now; else a negative errno. */
static int move(struct pump *pump, const char **data, size_t *length) {
  while (pump->left > 0 && *length > 0) {
    long count = send_on(pump, *data, *length < pump->left ? *length : pump->left);
    if (count <= 0)
      return (int)count;
    *data += count;
    *length -= (size_t)count;
    pump->left -= (uint64_t)count;
    pump->moved += (uint64_t)count;
  }
  return 1;
}

size_t pump_data(struct pump *pump, const char *data, size_t length) {
  size_t before = length;
  if (!pump->from || (pump->fd >= 0 && ev_is_active(&pump->io)))
    return 0;
  if (pump->fd >= 0)
    return gather(pump, data, length);
  move(pump, &data, &length); /* what didn't go, and why, is seen by pump_run */
  if (before > length)
    channel_took(pump->from, before - length);
  return before - length;
}

static int is_full(int fd) {
  struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
  return poll(&poll_fd, 1, 0) == 0;
}

/* Whatever has come before has gone out, and there is room as far as is known. */
static int can_splice(const struct pump *pump) {
  const struct channel *from = pump->from;
  return pump->splices && !pump->slot && !ev_is_active(&pump->io) && bytes_length(&from->in) == 0 && !from->ended &&
         !from->closing;
}

long pump_splice(struct pump *pump, int in, size_t most) {
  if (most > pump->left)
    most = (size_t)pump->left;
  if (most == 0 || !can_splice(pump))
    return -EOPNOTSUPP;
  ssize_t count = splice(in, NULL, pump->fd, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (count < 0 && errno == EAGAIN)
    return is_full(pump->fd) ? -EOPNOTSUPP : -EAGAIN;
  if (count < 0)
    return errno == EINTR ? -EINTR : -EOPNOTSUPP; /* what is wrong is seen by reading, or writing */
  pump->left -= (uint64_t)count;
  pump->moved += (uint64_t)count;
  channel_took(pump->from, (size_t)count);
  if (pump->left == 0)
    pump_stop(pump);
  return count;
}

/* From a channel to wherever it goes. */
static void run_out(struct pump *pump) {
  struct channel *from = pump->from;
  send_gathered(pump);
  size_t before = bytes_length(&from->in), length = before;
  const char *data = bytes_head(&from->in);
  if (pump->fd >= 0 && ev_is_active(&pump->io))
    return; /* it is known to be full */
  int went = move(pump, &data, &length);
  if (before > length) {
    bytes_drop(&from->in, before - length);
    channel_took(from, before - length);
  }
  if (went == 0)
    return;
  int over = from->ended || from->closing || !from->stream || (pump->to && channel_write_over(pump->to));
  if (went < 0 || pump->left == 0 || over)
    pump_stop(pump);
}

/* From the fd to a channel. */
static void run_in(struct pump *pump) {
  struct channel *to = pump->to;
  while (pump->left > 0 && !channel_write_over(to)) {
    size_t room = channel_room(to);
    if (room == 0)
      return; /* it is run again when there is */
    long count = channel_write_from(to, pump->fd, room < pump->left ? room : pump->left);
    if (count == -EAGAIN || count == -EINTR)
      return ev_io_start(pump->loop->ev, &pump->io);
    if (count <= 0)
      break;
    pump->left -= (uint64_t)count;
    pump->moved += (uint64_t)count;
  }
  pump_stop(pump);
}

void pump_run(struct pump *pump) {
  pump->from ? run_out(pump) : run_in(pump);
}
