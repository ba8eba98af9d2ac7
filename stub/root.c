#include "root.h"
#include "handover.h"
#include "ring.h"

#define IN     0 /* what epoll says of channels is their number; of the two that are none: */
#define TIMER  AFAR_CHANNELS_MAX
#define EVENTS 64 /* taken at once */
#define LOOKS  64 /* at the ring, between two at all else */

struct root root;

/* ---- what a root's server does beyond a child's ---- */

static void send_replies(struct server *server, const uint8_t *bytes, size_t length) {
  if (server->ring)
    return ring_send(server, bytes, length);
  mux_frame(0, AFAR_DATA, (uint32_t)length);
  mux_put(bytes, length);
}

static void flush(struct server *server) {
  if (server->ring)
    ring_tell(server);
  mux_flush();
}

static int64_t perform_other(struct server *server, uint8_t op, const uint64_t args[6]) {
  switch (op) {
  case AFAR_OP_ATTACH:
    return channel_attach(args);
  case AFAR_OP_PING:
    return silence_set(args[0]);
  case AFAR_OP_RING:
    return ring_begin(server, args);
  case AFAR_OP_PERSIST:
    return handover_begin(server, args);
  default:
    return -EOPNOTSUPP;
  }
}

static void bell(struct server *server) {
  (void)server;
  mux_frame(0, AFAR_BELL, 0);
  mux_flush();
}

/* Hardly ever, as the host takes replies in each of its turns: it has been stopped, or has gone. What it sends can't be
 * read meanwhile. */
static void rest(struct server *server) {
  struct pollfd poll = {root.in, 0, 0};
  mux_flush();
  if (!ring_room(server) && sys_poll(&poll, 1, 1) > 0)
    root_exit(0);
}

static const struct server_kind kind = {send_replies, flush, perform_other, bell, rest};

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
  if (root.ahead.first)
    return (int64_t)ahead_take(root.in_bytes);
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
    root.received += (uint32_t)count;
    mux_feed(root.in_bytes, (size_t)count);
  } else if (count != -EAGAIN && count != -EINTR) {
    root_exit(count < 0);
  }
}

/* Sleeps until there is something to do: how many events that are. */
static int64_t wait_for(struct epoll_event events[EVENTS], int64_t timeout) {
  if (root.server.held > 0) {
    int ready = hold_wait(&root.server, root.epoll, timeout);
    hold_run(&root.server);
    if (!ready)
      return 0;
    timeout = 0;
  }
  return sys_epoll_wait(root.epoll, events, EVENTS, timeout);
}

/* Requests in the ring come behind what the host had sent on the stream before them. 1: some came, and all else can
 * wait; 0: nothing came, or it is time to look at all else. */
static int serve_ring(void) {
  struct server *server = &root.server;
  uint32_t spin = __atomic_load_n(&server->ring->spin, __ATOMIC_RELAXED),
           times = spin > root.looked ? spin - root.looked : 0;
  if (!ring_look(server, times < LOOKS ? times : LOOKS)) {
    root.looked += times < LOOKS ? times : LOOKS;
    return 0;
  }
  root.looked = 0;
  root.heard = 1;
  if ((int32_t)(__atomic_load_n(&server->ring->stream, __ATOMIC_RELAXED) - root.received) > 0)
    take_in();
  else
    ring_take(server, sizeof server->ring->to_stub);
  if (++server->turns % RING_TURNS != 0)
    return 1;
  server_flush(server); /* before we may sleep */
  return 0;
}

/* Looks at all else; sleeps there once the ring was looked at often enough. */
static int64_t wait_beside_ring(struct epoll_event events[EVENTS], int64_t timeout) {
  struct afar_ring *ring = root.server.ring;
  int sleeps = timeout != 0 && root.looked >= __atomic_load_n(&ring->spin, __ATOMIC_RELAXED);
  if (!sleeps)
    return wait_for(events, 0);
  ring_tell(&root.server);
  __atomic_store_n(&ring->stub_asleep, 1, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  int64_t count = wait_for(events, ring_look(&root.server, 0) ? 0 : timeout);
  __atomic_store_n(&ring->stub_asleep, 0, __ATOMIC_RELAXED);
  return count;
}

static int64_t wait(struct epoll_event events[EVENTS], int64_t timeout) {
  return root.server.ring ? wait_beside_ring(events, timeout) : wait_for(events, timeout);
}

/* Replies of channel 0 go before what channels bring, and each of these brings one frame. */
void root_turn(void) {
  struct epoll_event events[EVENTS];
  int in_ready = 0, ran_out = 0;
  server_flush(&root.server);
  if (root.server.starting)
    handover_finish();
  if (root.server.ring && serve_ring())
    return;
  in_ready = root.in_always || root.ahead.first;
  int64_t count = wait(events, root.always || in_ready ? 0 : -1);
  for (int64_t i = 0; i < count; i++) {
    in_ready |= events[i].data == IN;
    ran_out |= events[i].data == TIMER;
  }
  if (in_ready)
    take_in(); /* the timer may have been set anew by that; if not it is still to be seen in the next turn */
  else if (ran_out)
    silence_half();
  server_send(&root.server);
  for (int64_t i = 0; i < count; i++) {
    struct channel *channel = channel_find((uint32_t)events[i].data);
    if (channel)
      channel_serve(channel, events[i].events);
  }
  channel_serve_always();
}

void root_begin(void) {
  server_init(&root.server, &kind);
}

void root_init(int in, int out) {
  root.in = in;
  root.out = out;
  int64_t epoll = sys_epoll_create1(O_CLOEXEC);
  int64_t timer = SYS(NR_TIMERFD_CREATE, CLOCK_MONOTONIC, O_CLOEXEC);
  int64_t channels = sys_map(AFAR_CHANNELS_MAX * sizeof(struct channel), MAP_NORESERVE);
  if (epoll < 0 || timer < 0 || (channels < 0 && channels >= -4095))
    root_exit(1);
  root.epoll = root_zone((int)epoll);
  root.channels = (struct channel *)channels;
  root.timer = root_zone((int)timer);
  struct epoll_event event = {EPOLLIN, IN}, timer_event = {EPOLLIN, TIMER};
  root.in_always = sys_epoll_ctl(root.epoll, EPOLL_CTL_ADD, in, &event) == -EPERM;
  sys_epoll_ctl(root.epoll, EPOLL_CTL_ADD, root.timer, &timer_event);
  /* Pipes that hold as much as is read and written at once: much fewer turns for much data. What is no pipe refuses. */
  sys_fcntl(in, F_SETPIPE_SZ, MUX_SIZE);
  sys_fcntl(out, F_SETPIPE_SZ, MUX_SIZE);
  root_begin();
}
