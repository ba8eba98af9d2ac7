#include "persist.h"
#include "child.h"

#define PAUSE 50 /* ms, when there is no fd for a connection */

enum { CARRIER, LISTENER, HANDOFF, SPARE, SPARES = 2, FDS = SPARE + SPARES };

struct persist {
  struct afar_anchor anchor;
  int fds[FDS]; /* -1: none. The spare ones make room for a connection when the table is full. */
  int fresh, fresh_handoff;
  uint32_t have;                 /* bytes of the greeting that are there */
  struct afar_greeting greeting; /* of the fresh connection */
  struct afar_greeting owner;    /* of the host whose session it is */
  int32_t front;                 /* pid, or 0: see persist_front */
  uint8_t broken;                /* more was answered than there is room for: the session can't go on */
  int64_t lease, alone;          /* ms; since when there is no carrier */
  uint64_t requests;             /* bytes of requests that have arrived in this session */
  uint64_t acked, sent, made;    /* bytes of replies */
  uint8_t window[AFAR_PERSIST_WINDOW];
};

/* As the kernel has it. */
struct action {
  void (*handler)(void);
  uint64_t flags;
  void (*restore)(void);
  uint64_t mask;
};

enum { SA_RESTORER = 0x04000000 };

void afar_interrupt(void);
void afar_restore(void);

/* ---- fds ---- */

static void drop(int *fd) {
  if (*fd >= 0)
    sys_close(*fd);
  *fd = -1;
}

/* Out of the way of the script's. */
static int move_up(int fd) {
  if (fd < 0 || fd >= AFAR_FD_CHILD)
    return fd;
  int64_t moved = sys_fcntl(fd, F_DUPFD_CLOEXEC, AFAR_FD_CHILD);
  if (moved < 0)
    return fd;
  sys_close(fd);
  return (int)moved;
}

static void fill_spares(struct persist *persist) {
  for (int i = SPARE; i < FDS; i++)
    if (persist->fds[i] < 0)
      persist->fds[i] = (int)sys_fcntl(persist->fds[LISTENER], F_DUPFD_CLOEXEC, AFAR_FD_CHILD);
}

static void detach(struct persist *persist) {
  drop(&persist->fds[CARRIER]);
  drop(&persist->fds[HANDOFF]);
  fill_spares(persist);
  persist->alone = sys_clock();
}

/* ---- beginning ---- */

static int64_t check_listening(int fd) {
  uint32_t listening = 0, length = sizeof listening;
  int64_t error = sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
  return error < 0 ? error : listening == 1 ? 0 : -EINVAL;
}

/* The listening socket becomes its own; the old number is closed. */
static int64_t take_listener(struct persist *persist, int fd) {
  int64_t moved = sys_fcntl(fd, F_DUPFD_CLOEXEC, AFAR_FD_CHILD);
  if (moved < 0)
    return moved;
  sys_fcntl((int)moved, F_SETFL, O_RDWR | O_NONBLOCK);
  sys_close(fd);
  persist->fds[LISTENER] = (int)moved;
  return 0;
}

static void handle_interrupts(void) {
  struct action action = {afar_interrupt, SA_RESTORER, afar_restore, 0};
  SYS(NR_RT_SIGACTION, AFAR_PERSIST_SIGNAL, &action, NULL, 8);
}

int64_t persist_begin(struct server *server, const uint64_t args[6]) {
  if (server->persist || server->starting || args[1] > INT32_MAX / 1000)
    return -EINVAL;
  int64_t error = check_listening((int)args[0]);
  if (error < 0)
    return error;
  int64_t at = sys_map(sizeof(struct persist), 0);
  if (at < 0 && at >= -4095)
    return at;
  struct persist *persist = (struct persist *)at;
  error = take_listener(persist, (int)args[0]);
  if (error < 0) {
    sys_unmap(persist, sizeof *persist);
    return error;
  }
  persist->fds[CARRIER] = persist->fds[HANDOFF] = persist->fresh = persist->fresh_handoff = -1;
  for (int i = SPARE; i < FDS; i++)
    persist->fds[i] = -1;
  persist->lease = (int64_t)args[1] * 1000;
  persist->anchor.kept = args[4];
  persist->owner.session[0] = args[2];
  persist->owner.session[1] = args[3];
  handle_interrupts();
  server->starting = persist;
  server->switched = 1;
  return 0;
}

void persist_front(struct server *server, int32_t pid) {
  server->starting->front = pid;
}

void persist_start(struct server *server) {
  server_flush_all(server);
  sys_close(server->carrier);
  server->carrier = -1;
  server->ring = server->next_ring = NULL;
  server->have = server->left = 0;
  server->switched = 0;
  server->persist = server->starting;
  server->starting = NULL;
  detach(server->persist);
}

/* ---- replies ---- */

/* What does not go now goes later; that the carrier has ended is told by reading. */
static void pump(struct persist *persist) {
  while (persist->fds[CARRIER] >= 0 && persist->sent < persist->made) {
    size_t at = persist->sent % AFAR_PERSIST_WINDOW, part = AFAR_PERSIST_WINDOW - at;
    if (part > persist->made - persist->sent)
      part = persist->made - persist->sent;
    int64_t count = sys_send(persist->fds[CARRIER], persist->window + at, part, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count <= 0 && count != -EINTR)
      return;
    persist->sent += count > 0 ? (uint64_t)count : 0;
  }
}

void persist_send(struct server *server, const uint8_t *bytes, size_t length) {
  struct persist *persist = server->persist;
  if (persist->made - persist->acked + length > AFAR_PERSIST_WINDOW)
    persist->broken = 1;
  while (length > 0 && !persist->broken) {
    size_t at = persist->made % AFAR_PERSIST_WINDOW, part = AFAR_PERSIST_WINDOW - at;
    if (part > length)
      part = length;
    memcpy(persist->window + at, bytes, part);
    persist->made += part;
    bytes += part;
    length -= part;
  }
  pump(persist);
}

void persist_ack(struct server *server, uint64_t received) {
  struct persist *persist = server->persist;
  if (received > persist->acked && received <= persist->sent)
    persist->acked = received;
}

/* ---- connections ---- */

struct peer {
  int32_t pid;
  uint32_t uid, gid;
};

static int is_owner(int fd) {
  struct peer peer = {0, ~0u, 0};
  uint32_t length = sizeof peer;
  if (sys_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
    return 0;
  return peer.uid == 0 || peer.uid == (uint32_t)SYS(NR_GETEUID, 0);
}

static int64_t accept(struct persist *persist) {
  int64_t fd = sys_accept4(persist->fds[LISTENER], SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd != -EMFILE || persist->fds[SPARE] < 0)
    return fd;
  drop(&persist->fds[SPARE]);
  return sys_accept4(persist->fds[LISTENER], SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static void drop_fresh(struct persist *persist) {
  drop(&persist->fresh);
  drop(&persist->fresh_handoff);
  fill_spares(persist);
}

/* Of several that haven't greeted yet the last one counts: one that is silent keeps nobody out. */
static void take_connection(struct persist *persist) {
  drop_fresh(persist);
  int64_t fd = accept(persist);
  if (fd < 0) {
    if (fd != -EAGAIN && fd != -EINTR)
      sys_poll(NULL, 0, PAUSE);
    return;
  }
  persist->fresh = move_up((int)fd);
  persist->have = 0;
  if (!is_owner(persist->fresh))
    drop_fresh(persist);
}

static int64_t receive(struct persist *persist) {
  uint64_t control[3] = {0, 0, 0};
  struct iovec iov = {(uint64_t)((uint8_t *)&persist->greeting + persist->have),
                      sizeof persist->greeting - persist->have};
  struct msghdr message = {0, 0, 0, &iov, 1, control, sizeof control, 0, 0};
  drop(&persist->fds[SPARE + 1]);
  int64_t count = sys_recvmsg(persist->fresh, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const uint32_t *words = (const uint32_t *)control;
  if (count > 0 && message.control_length >= 20 && words[2] == SOL_SOCKET && words[3] == SCM_RIGHTS) {
    drop(&persist->fresh_handoff);
    persist->fresh_handoff = move_up((int)words[4]);
  }
  return count;
}

static void welcome(struct server *server, int fd, uint32_t verdict) {
  struct persist *persist = server->persist;
  struct afar_welcome welcome = {
      .magic = AFAR_MAGIC,
      .major = AFAR_MAJOR,
      .minor = AFAR_MINOR,
      .size = sizeof welcome,
      .verdict = verdict,
      .requests = persist->requests,
      .features = AFAR_FEATURES,
      .block = child_block_of(server),
      .entry = (uint64_t)afar_child_entry,
      .anchor = (uint64_t)&persist->anchor,
      .block_size = CHILD_BLOCK_SIZE,
      .hold_slots = HOLD_SLOTS,
      .read_max = READ_MAX,
      .window = AFAR_PERSIST_WINDOW,
      .machine = AFAR_MACHINE,
      .pid = (int32_t)sys_getpid(),
  };
  memcpy(welcome.fds, persist->fds, sizeof welcome.fds);
  memcpy(welcome.name, persist->owner.name, sizeof welcome.name);
  sys_send(fd, &welcome, sizeof welcome, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int is_same(const struct persist *persist) {
  const struct afar_greeting *greeting = &persist->greeting;
  return !persist->broken && greeting->session[0] == persist->owner.session[0] &&
         greeting->session[1] == persist->owner.session[1] && greeting->received >= persist->acked &&
         greeting->received <= persist->made;
}

/* What the host before has left unfinished is forgotten. */
static void begin_session(struct server *server) {
  struct persist *persist = server->persist;
  server_init(server, server->kind);
  server->carrier = -1;
  server->persist = persist;
  persist->broken = 0;
  persist->requests = persist->acked = persist->made = 0;
}

static void attach(struct server *server, uint32_t verdict) {
  struct persist *persist = server->persist;
  if (persist->front && SYS(NR_WAIT4, persist->front, NULL, WAIT_NOHANG | WAIT_ALL, NULL) > 0)
    persist->front = 0;
  detach(persist);
  if (verdict == AFAR_BEGUN)
    begin_session(server);
  persist->acked = persist->sent = persist->greeting.received;
  persist->owner = persist->greeting;
  persist->fds[CARRIER] = persist->fresh;
  persist->fds[HANDOFF] = persist->fresh_handoff;
  persist->fresh = persist->fresh_handoff = -1;
  fill_spares(persist);
  welcome(server, persist->fds[CARRIER], verdict);
}

static void take_greeting(struct server *server) {
  struct persist *persist = server->persist;
  struct afar_greeting *greeting = &persist->greeting;
  int64_t count = receive(persist);
  if (count == -EAGAIN || count == -EINTR)
    return;
  if (count <= 0)
    return drop_fresh(persist);
  persist->have += (uint32_t)count;
  if (persist->have < sizeof *greeting)
    return;
  greeting->name[sizeof greeting->name - 1] = 0;
  uint32_t verdict = is_same(persist) ? AFAR_RESUMED : greeting->flags & AFAR_GREETING_RESUME ? AFAR_GONE : AFAR_BEGUN;
  if (greeting->magic != AFAR_MAGIC || greeting->major != AFAR_MAJOR)
    verdict = AFAR_FOREIGN;
  if (verdict == AFAR_BEGUN)
    greeting->received = 0;
  if (verdict == AFAR_RESUMED || verdict == AFAR_BEGUN)
    return attach(server, verdict);
  welcome(server, persist->fresh, verdict);
  drop_fresh(persist);
}

/* ---- the loop ---- */

static void take_requests(struct server *server) {
  struct persist *persist = server->persist;
  int64_t count = sys_read(persist->fds[CARRIER], server->in, IN_SIZE);
  if (count > 0) {
    persist->requests += (uint64_t)count;
    server_feed(server, server->in, (size_t)count);
  } else if (count != -EINTR && count != -EAGAIN) {
    detach(persist);
  }
}

/* Nobody came back: nothing is left behind, the socket's name neither. */
_Noreturn static void end(const struct persist *persist) {
  struct {
    uint16_t family;
    char path[110];
  } name = {0, {0}};
  uint32_t length = sizeof name - 1;
  if (SYS(NR_GETSOCKNAME, persist->fds[LISTENER], &name, &length) >= 0 && name.path[0] == '/')
    SYS(NR_UNLINKAT, AT_FDCWD, name.path, 0);
  sys_exit(0);
}

static int64_t time_left(const struct persist *persist) {
  if (persist->lease == 0 || persist->fds[CARRIER] >= 0)
    return -1;
  int64_t left = persist->alone + persist->lease - sys_clock();
  if (left <= 0)
    end(persist);
  return left;
}

void persist_turn(struct server *server) {
  struct persist *persist = server->persist;
  struct pollfd *polls = server->polls;
  server_send(server);
  if (persist->broken && persist->fds[CARRIER] >= 0)
    detach(persist);
  pump(persist);
  int writing = persist->sent < persist->made;
  polls[0] = (struct pollfd){persist->fds[LISTENER], POLLIN, 0};
  polls[1] = (struct pollfd){persist->fresh, POLLIN, 0};
  polls[2] = (struct pollfd){persist->fds[CARRIER], (int16_t)(POLLIN | (writing ? POLLOUT : 0)), 0};
  int any = hold_poll(server, OWN_POLLS, time_left(persist));
  int events[OWN_POLLS] = {polls[0].revents, polls[1].revents, polls[2].revents};
  hold_run(server);
  if (any && events[2] & ~POLLOUT)
    take_requests(server);
  if (any && events[1])
    take_greeting(server);
  if (any && events[0])
    take_connection(persist);
}
