#include "root.h"

static uint32_t number_of(const struct channel *channel) {
  return (uint32_t)(channel - root.channels);
}

struct channel *channel_find(uint32_t number) {
  if (number == 0 || number >= AFAR_CHANNELS_MAX || !(root.channels[number].state & CHANNEL_ATTACHED))
    return NULL;
  return &root.channels[number];
}

/* ---- what is waited for ---- */

static uint8_t wanted(const struct channel *channel) {
  int in = channel->state & CHANNEL_READING && channel->to_host > 0;
  return (uint8_t)((in ? EPOLLIN : 0) | (channel->first ? EPOLLOUT : 0));
}

static void list(struct channel *channel) {
  if (channel->state & CHANNEL_LISTED)
    return;
  channel->state |= CHANNEL_LISTED;
  channel->next = root.always;
  root.always = number_of(channel);
}

/* Tells epoll. With nothing to wait for the fd must not be in it: a hangup would be reported again and again. */
static int watch(struct channel *channel) {
  uint8_t want = channel->fd < 0 ? 0 : wanted(channel);
  if (channel->state & CHANNEL_ALWAYS) {
    if (want)
      list(channel);
    return 0;
  }
  if (want == channel->watched)
    return 0;
  struct epoll_event event = {want, number_of(channel)};
  int op = !want ? EPOLL_CTL_DEL : channel->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  int64_t error = sys_epoll_ctl(root.epoll, op, channel->fd, &event);
  if (error == -EPERM && op == EPOLL_CTL_ADD) {
    channel->state |= CHANNEL_ALWAYS;
    list(channel);
    return 0;
  }
  if (error < 0 && want)
    return (int)error;
  channel->watched = want;
  return 0;
}

/* Neither direction works any more. */
static void fail(struct channel *channel, int error) {
  channel->state &= (uint8_t) ~(CHANNEL_READING | CHANNEL_WRITING);
  pending_clear(channel);
  watch(channel);
  mux_frame(number_of(channel), AFAR_EOF, (uint32_t)-error);
}

static void rewatch(struct channel *channel) {
  int error = watch(channel);
  if (error < 0)
    fail(channel, error);
}

/* ---- from the fd to the host ---- */

static int64_t read_some(struct channel *channel, uint8_t *to, size_t length, int fds[FDS_MAX], int *fd_count) {
  if (channel->flags & AFAR_ATTACH_SOCKET)
    return root_receive(channel->fd, to, length, MSG_DONTWAIT, fds, fd_count);
  return sys_read(channel->fd, to, length);
}

/* At most one frame. Its place is behind the FD frames that may have to go before it. */
static void read_frame(struct channel *channel) {
  int fds[FDS_MAX], fd_count = 0;
  size_t length = channel->to_host < AFAR_FRAME_MAX ? channel->to_host : AFAR_FRAME_MAX;
  uint8_t *at = mux_room((FDS_MAX + 1) * sizeof(struct afar_frame) + length);
  int64_t count = read_some(channel, at + sizeof(struct afar_frame), length, fds, &fd_count);
  if (count == -EAGAIN || count == -EINTR)
    return;
  uint32_t number = number_of(channel);
  if (fd_count > 0 && count > 0)
    memmove(at + sizeof(struct afar_frame) * (size_t)(1 + fd_count), at + sizeof(struct afar_frame), (size_t)count);
  for (int i = 0; i < fd_count; i++)
    mux_frame(number, AFAR_FD, (uint32_t)fds[i]);
  if (count > 0) {
    mux_frame(number, AFAR_DATA, (uint32_t)count);
    root.out_used += (uint32_t)count;
    channel->to_host -= (uint64_t)count;
  } else {
    channel->state &= (uint8_t)~CHANNEL_READING;
    mux_frame(number, AFAR_EOF, (uint32_t)-count);
  }
  rewatch(channel);
}

void channel_credit(struct channel *channel, uint32_t bytes) {
  channel->to_host += bytes;
  rewatch(channel);
}

/* ---- from the host to the fd ---- */

static void give_credit(struct channel *channel, size_t length) {
  channel->owed += (uint32_t)length;
  if (channel->owed == 0 || (uint64_t)channel->owed * 2 < channel->window)
    return;
  channel->from_host += channel->owed;
  while (channel->owed > 0) {
    uint32_t part = channel->owed < 0xffffff ? channel->owed : 0xffffff;
    mux_frame(number_of(channel), AFAR_CREDIT, part);
    channel->owed -= part;
  }
}

/* How much went without waiting, or a negative errno. */
static int64_t write_some(const struct channel *channel, const uint8_t *bytes, size_t length) {
  size_t done = 0;
  while (done < length) {
    int64_t count = channel->flags & AFAR_ATTACH_SOCKET
                        ? sys_send(channel->fd, bytes + done, length - done, MSG_DONTWAIT | MSG_NOSIGNAL)
                        : sys_write(channel->fd, bytes + done, length - done);
    if (count == -EAGAIN || count == 0)
      break;
    if (count < 0 && count != -EINTR)
      return count;
    if (count > 0)
      done += (size_t)count;
  }
  return (int64_t)done;
}

/* All that is and will be written is dropped. A reader tells the host by its own end. */
static void stop_writing(struct channel *channel, int error) {
  channel->state &= (uint8_t)~CHANNEL_WRITING;
  give_credit(channel, pending_clear(channel));
  if (!(channel->flags & AFAR_ATTACH_READ))
    mux_frame(number_of(channel), AFAR_EOF, (uint32_t)-error);
}

static void finish_writing(struct channel *channel) {
  channel->state &= (uint8_t)~CHANNEL_WRITING;
  if (channel->flags & AFAR_ATTACH_SOCKET) {
    sys_shutdown(channel->fd, SHUT_WR);
  } else if (!(channel->flags & AFAR_ATTACH_READ)) {
    watch(channel);
    sys_close(channel->fd);
    channel->fd = -1;
  }
}

static void write_pending(struct channel *channel) {
  while (channel->first) {
    struct block *block = channel->first;
    size_t length = block->end - block->start;
    int64_t count = write_some(channel, block->bytes + block->start, length);
    if (count < 0)
      return stop_writing(channel, (int)count);
    give_credit(channel, (size_t)count);
    pending_drop(channel, (size_t)count);
    if ((size_t)count < length)
      return;
  }
  if (channel->state & CHANNEL_ENDING && channel->state & CHANNEL_WRITING)
    finish_writing(channel);
}

void channel_data(struct channel *channel, const uint8_t *bytes, size_t length) {
  int64_t count = 0;
  if (!(channel->state & CHANNEL_WRITING) || channel->state & CHANNEL_ENDING)
    return give_credit(channel, length);
  if (!channel->first)
    count = write_some(channel, bytes, length);
  if (count >= 0) {
    give_credit(channel, (size_t)count);
    bytes += count;
    length -= (size_t)count;
    count = pending_add(channel, bytes, length);
  }
  if (count < 0) {
    stop_writing(channel, (int)count);
    give_credit(channel, length);
  }
  rewatch(channel);
}

void channel_eof(struct channel *channel) {
  if (!(channel->state & CHANNEL_WRITING))
    return;
  channel->state |= CHANNEL_ENDING;
  if (!channel->first)
    finish_writing(channel);
}

/* ---- its life ---- */

static int refusal(const uint64_t args[6]) {
  const uint64_t all = AFAR_ATTACH_READ | AFAR_ATTACH_WRITE | AFAR_ATTACH_SOCKET;
  if (args[0] == 0 || args[0] >= AFAR_CHANNELS_MAX || args[2] & ~all || args[3] > INT32_MAX || args[4] > INT32_MAX)
    return -EINVAL;
  if (!(args[2] & (AFAR_ATTACH_READ | AFAR_ATTACH_WRITE)))
    return -EINVAL;
  int fd = (int)args[1];
  int is_own = fd == root.in || fd == root.out || fd == root.epoll || fd == root.timer;
  return is_own || channel_find((uint32_t)args[0]) ? -EBUSY : 0;
}

int64_t channel_attach(const uint64_t args[6]) {
  int error = refusal(args);
  int fd = error ? error : root_zone((int)args[1]);
  if (fd < 0)
    return fd;
  struct channel *channel = &root.channels[args[0]];
  channel->fd = fd;
  channel->flags = (uint8_t)args[2];
  channel->watched = 0;
  channel->state &= CHANNEL_LISTED;
  channel->state |= CHANNEL_ATTACHED;
  channel->state |= channel->flags & AFAR_ATTACH_READ ? CHANNEL_READING : 0;
  channel->state |= channel->flags & AFAR_ATTACH_WRITE ? CHANNEL_WRITING : 0;
  channel->to_host = args[3];
  channel->from_host = args[4];
  channel->window = (uint32_t)args[4];
  channel->owed = 0;
  channel->first = channel->last = NULL;
  error = watch(channel);
  if (error == 0)
    return fd;
  channel->state &= CHANNEL_LISTED;
  return error;
}

void channel_close(struct channel *channel) {
  if (channel->first)
    write_pending(channel);
  pending_clear(channel);
  channel->state &= (uint8_t) ~(CHANNEL_READING | CHANNEL_WRITING);
  watch(channel);
  if (channel->fd >= 0)
    sys_close(channel->fd);
  channel->state &= CHANNEL_LISTED;
}

void channel_serve(struct channel *channel, uint32_t events) {
  if (channel->first && events & ~(uint32_t)EPOLLIN)
    write_pending(channel);
  if (channel->fd >= 0 && wanted(channel) & EPOLLIN && events & ~(uint32_t)EPOLLOUT)
    read_frame(channel);
  else
    rewatch(channel);
}

void channel_serve_always(void) {
  for (uint32_t *link = &root.always; *link != 0;) {
    struct channel *channel = &root.channels[*link];
    if (channel->state & CHANNEL_ATTACHED && channel->state & CHANNEL_ALWAYS && channel->fd >= 0 && wanted(channel)) {
      channel_serve(channel, EPOLLIN | EPOLLOUT);
      link = &channel->next;
    } else {
      channel->state &= (uint8_t)~CHANNEL_LISTED;
      *link = channel->next;
    }
  }
}
