#include "root.h"
#include "child.h"

#define EVENTS 64 /* taken at once */

struct root root;

/* ---- what a root's server does beyond a child's ---- */

static void send_replies(struct server *server, const uint8_t *bytes, size_t length) {
  (void)server;
  mux_frame(0, AFAR_DATA, (uint32_t)length);
  mux_put(bytes, length);
}

static void flush(struct server *server) {
  (void)server;
  mux_flush();
}

static int64_t set_silence(uint64_t seconds) {
  if (seconds > INT32_MAX / 1000)
    return -EINVAL;
  root.silence = (int64_t)seconds * 1000;
  return 0;
}

static int64_t perform_other(struct server *server, uint8_t op, const uint64_t args[6]) {
  (void)server;
  switch (op) {
  case AFAR_OP_ATTACH:
    return channel_attach(args);
  case AFAR_OP_PING:
    return set_silence(args[0]);
  default:
    return -EOPNOTSUPP;
  }
}

static const struct server_kind kind = {send_replies, flush, perform_other};

/* ---- fds ---- */

int root_zone(int fd) {
  if (fd >= AFAR_FD_ZONE) {
    int64_t error = sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
    return error < 0 ? (int)error : fd;
  }
  int64_t moved = sys_fcntl(fd, F_DUPFD_CLOEXEC, AFAR_FD_ZONE);
  if (moved >= 0)
    sys_close(fd);
  return (int)moved;
}

/* Of an fd for which there is no place above, the host is told where it is. */
static int take_fds(const uint64_t *control, size_t length, int fds[FDS_MAX]) {
  const uint32_t *words = (const uint32_t *)control;
  int count = 0;
  if (length < 16 || control[0] < 16 || control[0] > length || words[2] != SOL_SOCKET || words[3] != SCM_RIGHTS)
    return 0;
  for (; count < FDS_MAX && 16 + 4 * (size_t)count < control[0]; count++) {
    int moved = root_zone((int)words[4 + count]);
    fds[count] = moved < 0 ? (int)words[4 + count] : moved;
  }
  return count;
}

int64_t root_receive(int fd, void *to, size_t length, int flags, int fds[FDS_MAX], int *fd_count) {
  uint64_t control[2 + FDS_MAX / 2];
  struct iovec iov = {(uint64_t)to, length};
  struct msghdr message = {0, 0, 0, &iov, 1, control, sizeof control, 0, 0};
  int64_t count = sys_recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
  *fd_count = count < 0 ? 0 : take_fds(control, message.control_length, fds);
  return count;
}

/* ---- the loop ---- */

static int64_t read_in(void) {
  int fds[FDS_MAX], fd_count = 0;
  if (root.in_no_socket)
    return sys_read(root.in, root.in_bytes, MUX_SIZE);
  int64_t count = root_receive(root.in, root.in_bytes, MUX_SIZE, 0, fds, &fd_count);
  if (count == -ENOTSOCK) {
    root.in_no_socket = 1;
    return read_in();
  }
  for (int i = 0; i < fd_count; i++)
    mux_frame(0, AFAR_FD, (uint32_t)fds[i]);
  return count;
}

static void take_in(void) {
  int64_t count = read_in();
  if (count > 0) {
    root.heard = 1;
    mux_feed(root.in_bytes, (size_t)count);
  } else if (count == -EAGAIN) {
    root.in_nonblock = 1;
  } else if (count != -EINTR) {
    root_exit(count < 0);
  }
}

static int64_t time_left(void) {
  if (root.silence == 0)
    return -1;
  int64_t now = sys_clock();
  if (root.heard)
    root.heard_at = now;
  root.heard = 0;
  int64_t left = root.heard_at + root.silence - now;
  return left > 0 ? left : 0;
}

/* Sleeps until there is something to do: how many events that are. */
static int64_t wait(struct epoll_event events[EVENTS], int64_t timeout) {
  if (root.server.held > 0) {
    int ready = hold_wait(&root.server, root.epoll, timeout);
    hold_run(&root.server);
    if (!ready)
      return 0;
    timeout = 0;
  }
  return sys_epoll_wait(root.epoll, events, EVENTS, timeout);
}

/* Nothing else could wake us: the read itself may wait. */
static int only_in(void) {
  return !root.in_nonblock && root.server.held == 0 && root.watched == 0 && root.always == 0 && root.silence == 0;
}

/* Replies of channel 0 go before what channels bring, and each of these brings one frame. */
void root_turn(void) {
  struct epoll_event events[EVENTS];
  int64_t count = 0, left = -1;
  int in_ready = root.in_always;
  server_flush(&root.server);
  if (only_in()) {
    in_ready = 1;
  } else {
    left = time_left();
    count = wait(events, root.always || root.in_always ? 0 : left);
  }
  for (int64_t i = 0; i < count; i++)
    in_ready |= events[i].data == 0;
  if (in_ready)
    take_in();
  else if (left == 0)
    root_exit(0);
  server_send(&root.server);
  for (int64_t i = 0; i < count; i++) {
    struct channel *channel = channel_find((uint32_t)events[i].data);
    if (channel)
      channel_serve(channel, events[i].events);
  }
  channel_serve_always();
}

void root_init(int in, int out) {
  root.in = in;
  root.out = out;
  int64_t epoll = sys_epoll_create1(O_CLOEXEC);
  int64_t channels = sys_map(AFAR_CHANNELS_MAX * sizeof(struct channel), MAP_NORESERVE);
  if (epoll < 0 || (channels < 0 && channels >= -4095))
    root_exit(1);
  root.epoll = root_zone((int)epoll);
  root.channels = (struct channel *)channels;
  struct epoll_event event = {EPOLLIN, 0};
  root.in_always = sys_epoll_ctl(root.epoll, EPOLL_CTL_ADD, in, &event) == -EPERM;
  server_init(&root.server, &kind);
}
