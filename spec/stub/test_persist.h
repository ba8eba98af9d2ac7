/* Processes that outlive their host: their sessions, exactly as hosts of any version speak them. */
#include <stdlib.h>
#include <sys/un.h>

struct meeting {
  int fd, handoff; /* handoff: our end of what went with the greeting */
  uint32_t tag;
  uint64_t received;
  struct afar_welcome welcome;
};

static char place[sizeof((struct sockaddr_un *)0)->sun_path];

/* A listening socket that the stub inherits under this number. */
static int listen_there(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  static int count;
  snprintf(place, sizeof place, "/tmp/.afar-stub-test-%d-%d", getpid(), count++);
  memcpy(address.sun_path, place, sizeof place);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 8) == 0);
  return fd;
}

static void get_exactly(int fd, void *to, size_t length) {
  for (size_t have = 0; have < length;) {
    struct pollfd p = {fd, POLLIN, 0};
    CHECK(poll(&p, 1, PATIENCE * 1000) > 0);
    ssize_t count = read(fd, (char *)to + have, length - have);
    CHECK(count > 0);
    have += (size_t)count;
  }
}

static int connect_there(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, place, sizeof place);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  return fd;
}

static struct afar_greeting greeting_of(uint64_t session, uint64_t received, int resume) {
  struct afar_greeting g = {.magic = AFAR_MAGIC,
                            .major = AFAR_MAJOR,
                            .minor = AFAR_MINOR,
                            .size = sizeof g,
                            .flags = resume ? AFAR_GREETING_RESUME : 0,
                            .session = {session, ~session},
                            .received = received};
  snprintf(g.name, sizeof g.name, "host %llu", (unsigned long long)session);
  return g;
}

static struct meeting meet_with(const struct afar_greeting *g) {
  struct meeting m = {.fd = connect_there(), .received = g->received};
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  struct iovec iov = {(void *)g, sizeof *g};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.header), &pair[1], sizeof pair[1]);
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  CHECK_EQ(sendmsg(m.fd, &message, 0), sizeof *g);
  close(pair[1]);
  m.handoff = pair[0];
  get_exactly(m.fd, &m.welcome, sizeof m.welcome);
  CHECK_EQ(m.welcome.magic, AFAR_MAGIC);
  CHECK_EQ(m.welcome.size, sizeof m.welcome);
  return m;
}

static struct meeting meet(uint64_t session, uint64_t received, int resume) {
  struct afar_greeting g = greeting_of(session, received, resume);
  return meet_with(&g);
}

static void part(struct meeting *m) {
  close(m->fd);
  close(m->handoff);
}

static uint32_t tell(struct meeting *m, struct afar_request request) {
  request.tag = ++m->tag;
  CHECK_EQ(send(m->fd, &request, sizeof request, MSG_NOSIGNAL), sizeof request);
  return request.tag;
}

static int64_t hear(struct meeting *m, uint32_t tag) {
  struct afar_reply reply;
  get_exactly(m->fd, &reply, sizeof reply);
  CHECK_EQ(reply.tag, tag);
  CHECK_EQ(reply.length, 0);
  m->received += sizeof reply;
  return reply.result;
}

static int64_t value_of(struct meeting *m, uint64_t value) {
  return hear(m, tell(m, (struct afar_request){.op = AFAR_OP_VALUE, ARGS(value)}));
}

#define PERSIST(fd, lease, session)                                                                                    \
  REQ(.op = AFAR_OP_PERSIST, ARGS((uint64_t)(fd), lease, session, ~(uint64_t)(session), 0))

static int runs(pid_t pid) {
  return kill(pid, 0) == 0 && !strchr(status_line(pid, "State"), 'Z');
}

static void end_process(struct far *far, struct meeting *m, pid_t pid) {
  tell(m, (struct afar_request){.nr = nr(far, EXIT_GROUP), .flags = AFAR_FLUSH, ARGS(0)});
  for (int patience = PATIENCE * 100; runs(pid); patience--) {
    CHECK(patience > 0);
    nap(0.01);
  }
  part(m);
  unlink(place);
}

/* A child, in session 7, whose first carrier has ended. */
static struct far *begin_persistent(pid_t *pid, uint64_t lease) {
  if (runner)
    skip("needs CLONE_VM");
  int fd = listen_there();
  struct far *far = begin();
  close(fd);
  *pid = clone_child(far, 1, CLONE_VM_, 0, far->pid);
  CHECK_EQ(CALL(far, 1, PRCTL, PR_SET_PDEATHSIG, 0), 0);
  CHECK_EQ(ask(far, 1, PERSIST(fd, lease, 7)), 0);
  UNTIL(far, far->channel[1].eof);
  return far;
}

static void persist_refuses(void) {
  int fd = listen_there();
  struct far *far = begin();
  close(fd);
  if (!runner)
    clone_child(far, 1, CLONE_VM_, 0, far->pid);
  for (uint32_t channel = 0; channel < (runner ? 1 : 2); channel++) {
    int64_t errors[2] = {ask(far, channel, PERSIST(-1, 0, 7)), ask(far, channel, PERSIST(0, 0, 7))};
    CHECK(errors[0] < 0 && errors[1] < 0);
    if (runner)
      continue; /* where nothing can be shared a root has no way at all */
    CHECK_EQ(errors[0], -EBADF);
    CHECK_EQ(ask(far, channel, PERSIST(fd, 1ull << 40, 7)), -EINVAL);
    int pipe[2];
    pipe_there(far, pipe, 0);
    CHECK_EQ(ask(far, 0, PERSIST(pipe[0], 0, 7)), -ENOTSOCK);
    CHECK_EQ(CALL(far, channel, GETPID, 0), channel ? CALL(far, 1, GETPID, 0) : far->pid);
  }
  unlink(place);
  end(far);
}

static void a_session_goes_on(void) {
  pid_t pid;
  struct far *far = begin_persistent(&pid, 0);
  struct meeting m = meet(7, 0, 1);
  CHECK_EQ(m.welcome.verdict, AFAR_RESUMED);
  CHECK_EQ(m.welcome.requests, 0);
  CHECK_EQ(m.welcome.pid, pid);
  CHECK_EQ(value_of(&m, 5), 5);
  uint32_t pipe = tell(&m, (struct afar_request){.nr = nr(far, PIPE2), ARGS(arena(far, 0), O_NONBLOCK)});
  CHECK_EQ(hear(&m, pipe), 0);
  int fds[2];
  CHECK_EQ(peek(far, 0, arena(far, 0), fds, sizeof fds), sizeof fds);
  uint64_t sent = 2 * sizeof(struct afar_request), rounds = 50;
  for (uint64_t i = 0; i < rounds; i++) { /* each writes a byte; no answer is fetched before the connection ends */
    struct afar_request write = {.nr = nr(far, WRITE), ARGS((uint64_t)fds[1], arena(far, 0), 1)};
    uint32_t tag = tell(&m, write);
    sent += sizeof write;
    struct pollfd p = {m.fd, POLLIN, 0};
    CHECK(poll(&p, 1, PATIENCE * 1000) == 1);
    part(&m);
    struct meeting again = meet(7, m.received, 1);
    again.tag = m.tag;
    m = again;
    CHECK_EQ(m.welcome.verdict, AFAR_RESUMED);
    CHECK_EQ(m.welcome.requests, sent);
    CHECK_EQ(hear(&m, tag), 1);
  }
  uint32_t read = tell(&m, (struct afar_request){.nr = nr(far, READ), ARGS((uint64_t)fds[0], arena(far, 0), 1000)});
  CHECK_EQ(hear(&m, read), rounds);
  end_process(far, &m, pid);
  end(far);
}

/* Half of a request arrives over one connection and the rest over the next. */
static void a_request_in_two_connections(void) {
  pid_t pid;
  struct far *far = begin_persistent(&pid, 0);
  struct meeting m = meet(7, 0, 1);
  struct afar_request request = {.tag = 1, .op = AFAR_OP_VALUE, ARGS(77)};
  for (size_t cut = 1; cut < sizeof request; cut += 9, m.tag++) {
    CHECK_EQ(send(m.fd, &request, cut, 0), cut);
    part(&m);
    struct meeting again = meet(7, m.received, 1);
    CHECK_EQ(again.welcome.verdict, AFAR_RESUMED);
    uint64_t have = again.welcome.requests % sizeof request; /* what was on its way may be lost, or not */
    CHECK(have <= cut);
    CHECK_EQ(send(again.fd, (char *)&request + have, sizeof request - have, 0), sizeof request - have);
    m = again;
    CHECK_EQ(hear(&m, 1), 77);
  }
  end_process(far, &m, pid);
  end(far);
}

static void who_comes_takes_over(void) {
  pid_t pid;
  struct far *far = begin_persistent(&pid, 0);
  struct meeting first = meet(7, 0, 1);
  CHECK_EQ(value_of(&first, 1), 1);
  struct meeting second = meet(8, 12345, 0);
  CHECK_EQ(second.welcome.verdict, AFAR_BEGUN);
  CHECK_EQ(second.welcome.requests, 0);
  second.received = 0;
  char byte;
  CHECK_EQ(read(first.fd, &byte, 1), 0);
  part(&first);
  struct meeting late = meet(7, 16, 1);
  CHECK_EQ(late.welcome.verdict, AFAR_GONE);
  CHECK(strcmp(late.welcome.name, "host 8") == 0);
  CHECK_EQ(read(late.fd, &byte, 1), 0);
  part(&late);
  struct afar_greeting strange = greeting_of(9, 0, 0);
  strange.major = AFAR_MAJOR + 1;
  late = meet_with(&strange);
  CHECK_EQ(late.welcome.verdict, AFAR_FOREIGN);
  part(&late);
  int silent[6]; /* nobody is kept out by those that say nothing */
  for (int i = 0; i < 6; i++)
    silent[i] = connect_there();
  CHECK_EQ(value_of(&second, 2), 2);
  late = meet(8, 1ull << 40, 1); /* more than there ever was */
  CHECK_EQ(late.welcome.verdict, AFAR_GONE);
  part(&late);
  for (int i = 0; i < 6; i++)
    close(silent[i]);
  CHECK_EQ(value_of(&second, 3), 3);
  end_process(far, &second, pid);
  end(far);
}

/* Replies that nobody acknowledges fill the window; then the session is over, and the process is there for the next. */
static void a_window_is_not_overrun(void) {
  pid_t pid;
  struct far *far = begin_persistent(&pid, 0);
  struct meeting m = meet(7, 0, 1);
  uint64_t most = m.welcome.window / 16, acked = 0;
  for (uint64_t i = 0; i < most + 10; i++) {
    CHECK_EQ(value_of(&m, i), i);
    if (i == most / 2) {
      struct afar_request ack = {.op = AFAR_OP_ACK, .flags = AFAR_QUIET, ARGS(m.received)};
      acked = m.received;
      CHECK_EQ(send(m.fd, &ack, sizeof ack, MSG_NOSIGNAL), sizeof ack);
    }
  }
  part(&m);
  m = meet(7, acked - 16, 1); /* what was acknowledged isn't there any more */
  CHECK_EQ(m.welcome.verdict, AFAR_GONE);
  part(&m);
  m = meet(7, acked, 1);
  CHECK_EQ(m.welcome.verdict, AFAR_RESUMED);
  for (uint64_t i = 0; i < 2 * most; i++) { /* nothing is taken, nothing acknowledged */
    struct afar_request request = {.tag = 1, .op = AFAR_OP_VALUE};
    if (send(m.fd, &request, sizeof request, MSG_NOSIGNAL) < 0)
      break;
  }
  part(&m);
  m = meet(7, acked, 1);
  CHECK_EQ(m.welcome.verdict, AFAR_GONE);
  part(&m);
  m = meet(9, 0, 0);
  CHECK_EQ(m.welcome.verdict, AFAR_BEGUN);
  m.received = 0;
  CHECK_EQ(value_of(&m, 4), 4);
  end_process(far, &m, pid);
  end(far);
}

static void a_lease_ends(void) {
  pid_t pid;
  struct far *far = begin_persistent(&pid, 1);
  struct meeting m = meet(7, 0, 1);
  CHECK_EQ(value_of(&m, 1), 1);
  double began = now();
  part(&m);
  CHECK_EQ(wait_there(far, pid), 0);
  CHECK(now() - began > 0.9);
  CHECK(access(place, F_OK) < 0);
  end(far);
}

/* The one that was started stays, and another goes on with its stream: the channels, and what was under way there. */
static void a_root_hands_its_stream_over(void) {
  if (runner)
    skip("needs CLONE_VM");
  int fd = listen_there(), pipe[2];
  struct far *far = begin();
  close(fd);
  pid_t child = clone_child(far, 1, CLONE_VM_, 0, far->pid), root = far->pid;
  pipe_there(far, pipe, O_NONBLOCK);
  CHECK(attach(far, 2, pipe[0], AFAR_ATTACH_READ, 65536, 65536) >= 0);
  uint32_t waits = send_request(far, 1, REQ(.op = AFAR_OP_VALUE, ARGS(3)));
  CHECK_EQ(CALL(far, 0, PRCTL, PR_SET_PDEATHSIG, 0), 0);
  CHECK_EQ(ask(far, 0, PERSIST(fd, 0, 7)), 0);
  CHECK_EQ(reply(far, 1, waits, NULL), 3);
  pid_t front = (pid_t)CALL(far, 0, GETPID, 0);
  CHECK(front > 0 && front != root);
  CHECK_EQ(CALL(far, 0, GETPPID, 0), root);
  CHECK_EQ(CALL(far, 1, GETPPID, 0), root);
  CHECK_EQ(CALL(far, 0, FCNTL, pipe[1], F_GETFD), -EBADF); /* the script's are not the stream's */
  struct meeting m = meet(7, 0, 1);
  CHECK_EQ(m.welcome.verdict, AFAR_RESUMED);
  CHECK_EQ(m.welcome.pid, root);
  uint32_t tag = tell(&m, (struct afar_request){.nr = nr(far, WRITE), ARGS((uint64_t)pipe[1], arena(far, 0), 5)});
  CHECK_EQ(hear(&m, tag), 5);
  char text[5];
  take(far, 2, text, 5);
  tag = tell(&m, (struct afar_request){.nr = nr(far, CLOSE), ARGS((uint64_t)pipe[1])});
  CHECK_EQ(hear(&m, tag), 0);
  UNTIL(far, far->channel[2].eof); /* nobody else holds it */
  tag = tell(&m, (struct afar_request){.nr = nr(far, FCNTL), ARGS((uint64_t)far->hello.in_fd, F_GETFD)});
  CHECK_EQ(hear(&m, tag), -EBADF);
  hang_up(far);
  for (int patience = PATIENCE * 100; runs(child); patience--) {
    CHECK(patience > 0);
    nap(0.01);
  }
  CHECK_EQ(value_of(&m, 9), 9);
  far->pid = 0;
  end_process(far, &m, root);
  CHECK_EQ(waitpid(root, NULL, 0), root);
  release(far);
}
