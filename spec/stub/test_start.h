/* How a root starts, what it says of itself, and how it ends. */

static int exit_status(char *const argv[]) {
  int status;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    execv(argv[0], argv);
    _exit(127);
  }
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void usage(void) {
  char *stub = (char *)stub_path, *with = (char *)(runner ? runner : stub_path);
  char *few[] = {with, runner ? stub : MARKER, runner ? MARKER : "0", runner ? "0" : NULL, NULL};
  char *none[] = {with, runner ? stub : NULL, NULL};
  CHECK_EQ(exit_status(few), 64);
  CHECK_EQ(exit_status(none), 64);
  if (!runner) {
    char *word[] = {stub, MARKER, "0", "x1", NULL}, *closed[] = {stub, MARKER, "77", "77", NULL};
    CHECK_EQ(exit_status(word), 64);
    CHECK_EQ(exit_status(closed), 1);
  }
}

static ino_t inode(pid_t pid, const char *name) {
  char path[64];
  struct stat st = {0};
  snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
  stat(path, &st);
  return st.st_ino;
}

static void hello_says_what_is(void) {
  static const char *ns[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
  struct far *far = begin();
  struct afar_hello *h = &far->hello;
  struct utsname names;
  struct rlimit nofile;
  char boot_id[40] = "";
  uname(&names);
  getrlimit(RLIMIT_NOFILE, &nofile);
  FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
  CHECK(f && fscanf(f, "%39s", boot_id) == 1);
  fclose(f);
  CHECK_EQ(h->major, AFAR_MAJOR);
  CHECK_EQ(h->pid, far->pid);
  CHECK_EQ(h->ppid, getpid());
  CHECK(h->uid == getuid() && h->euid == geteuid() && h->gid == getgid() && h->egid == getegid());
  CHECK_EQ(h->groups, getgroups(0, NULL));
  CHECK_EQ(h->page_size % 4096, 0);
  CHECK(strcmp(h->boot_id, boot_id) == 0);
  CHECK(runner || strcmp(h->release, names.release) == 0);
  CHECK(strcmp(h->machine_name, names.nodename) == 0);
  CHECK_EQ(h->nofile_hard, nofile.rlim_max);
  CHECK_EQ(h->nofile_soft, nofile.rlim_cur);
  for (int i = 0; i < AFAR_NS_COUNT; i++)
    CHECK_EQ(h->ns[i], inode(far->pid, ns[i]));
  CHECK_EQ(h->cap_effective, strtoull(status_line(getpid(), "CapEff"), NULL, 16));
  CHECK(h->arena_size >= 1 << 20 && h->hold_slots >= 64 && h->read_max >= 4096 && h->block_size % 4096 == 0);
  CHECK(h->in_fd >= AFAR_FD_ZONE && h->out_fd == h->in_fd && h->epoll_fd >= AFAR_FD_ZONE);
  CHECK_EQ(h->groups * 4 + h->argv_length + h->environ_length, h->more);
  const char *argv = far->more + h->groups * 4;
  CHECK(strcmp(argv, stub_path) == 0 && strcmp(argv + strlen(argv) + 1, MARKER) == 0);
  CHECK_EQ(argv[h->argv_length - 1], 0);
  end(far);
}

static int has_variable(const struct far *far, const char *text) {
  const char *at = far->more + far->hello.groups * 4 + far->hello.argv_length;
  for (const char *last = at + far->hello.environ_length; at < last; at += strlen(at) + 1)
    if (strcmp(at, text) == 0)
      return 1;
  return 0;
}

static void the_own_file_is_unlinked(void) {
  char path[] = "/tmp/stub_test.XXXXXX", variable[60];
  close(mkstemp(path));
  snprintf(variable, sizeof variable, "AFAR_UNLINK=%s", path);
  struct far *far = begin_with(&(struct options){.env = {variable, "AFAR_UNLINKED=no", "SEEN=yes"}});
  int gone = access(path, F_OK) != 0;
  unlink(path);
  CHECK(gone);
  CHECK(!has_variable(far, variable));
  CHECK(has_variable(far, "SEEN=yes") && has_variable(far, "AFAR_UNLINKED=no"));
  end(far);
}

static void a_huge_environment_is_cut(void) {
  char *big = malloc(120001);
  memset(big, 'x', 120000);
  memcpy(big, "BIG0=", 5);
  big[120000] = 0;
  for (int i = 0; i < 12; i++) {
    big[3] = (char)('A' + i);
    putenv(strdup(big));
  }
  struct rlimit stack = {64 << 20, RLIM_INFINITY};
  setrlimit(RLIMIT_STACK, &stack);
  struct far *far = begin();
  for (int i = 0; i < 12; i++) {
    big[3] = (char)('A' + i), big[4] = 0;
    unsetenv(big);
  }
  free(big);
  CHECK(far->hello.more <= 1 << 20);
  CHECK(far->hello.environ_length > 700000);
  CHECK(CALL(far, 0, GETPID, 0) == far->pid);
  end(far);
}

static void link_of(struct far *far, int fd, char *to, size_t length) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", far->pid, fd);
  ssize_t count = readlink(path, to, length - 1);
  to[count < 0 ? 0 : count] = 0;
}

static void standard_fds_are_replaced(void) {
  char target[100];
  struct far *far = begin_with(&(struct options){.pipes = 1});
  for (int fd = 0; fd < 2; fd++) {
    link_of(far, fd, target, sizeof target);
    CHECK(strcmp(target, "/dev/null") == 0);
  }
  CHECK(far->hello.in_fd >= AFAR_FD_ZONE && far->hello.out_fd >= AFAR_FD_ZONE);
  CHECK_EQ(CALL(far, 0, FCNTL, far->hello.in_fd, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(CALL(far, 0, FCNTL, far->hello.out_fd, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(CALL(far, 0, FCNTL, far->hello.epoll_fd, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(CALL(far, 0, FCNTL, 0, F_GETFD), 0);
  CHECK_EQ(CALL(far, 0, FCNTL, 1, F_GETFD), 0);
  end(far);
}

static int death_signal(struct far *far, uint32_t channel) {
  int signal = -1;
  CHECK_EQ(CALL(far, channel, PRCTL, PR_GET_PDEATHSIG, arena(far, 64)), 0);
  CHECK_EQ(peek(far, 0, arena(far, 64), &signal, 4), 4);
  return signal;
}

static void it_dies_with_a_parent_on_this_machine(void) {
  struct far *near = begin(), *piped = begin_with(&(struct options){.pipes = 1});
  CHECK_EQ(death_signal(near, 0), SIGKILL);
  CHECK_EQ(death_signal(piped, 0), 0);
  end(near);
  end(piped);
}

static void signals_of_a_terminal_are_blocked(void) {
  static const int blocked[] = {SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGTERM};
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr1, NULL);
  struct far *far = begin();
  sigprocmask(SIG_UNBLOCK, &usr1, NULL);
  CHECK_EQ(far->hello.sigmask, 1ull << (SIGUSR1 - 1));
  uint64_t want = 1ull << (SIGUSR1 - 1);
  for (size_t i = 0; i < sizeof blocked / sizeof blocked[0]; i++)
    want |= 1ull << (blocked[i] - 1);
  if (runner) /* what qemu blocks and ignores itself is its own affair */
    return end(far);
  CHECK_EQ(strtoull(status_line(far->pid, "SigBlk"), NULL, 16), want);
  CHECK(strtoull(status_line(far->pid, "SigIgn"), NULL, 16) & 1ull << (SIGPIPE - 1));
  end(far);
}

static int inherited_fd;

static void let_it_through(void) {
  fcntl(inherited_fd, F_SETFD, 0);
}

static void the_fourth_argument_is_closed(void) {
  char text[12];
  inherited_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  snprintf(text, sizeof text, "%d", inherited_fd);
  struct far *far = begin_with(&(struct options){.extra_arg = text, .before = let_it_through});
  int fd = inherited_fd;
  close(fd);
  CHECK_EQ(CALL(far, 0, FCNTL, fd, F_GETFD), -EBADF);
  end(far);
}

static void nofile_is_raised(void) {
  struct rlimit old, low;
  getrlimit(RLIMIT_NOFILE, &old);
  low = (struct rlimit){40, old.rlim_max}; /* too low for the zone above 64 */
  setrlimit(RLIMIT_NOFILE, &low);
  struct far *far = begin();
  setrlimit(RLIMIT_NOFILE, &old);
  CHECK_EQ(far->hello.nofile_soft, 40);
  if (!runner) {
    prlimit(far->pid, RLIMIT_NOFILE, NULL, &low);
    CHECK_EQ(low.rlim_cur, old.rlim_max);
  }
  end(far);
}

static void what_is_not_understood_ends_it(void) {
  struct {
    uint32_t channel;
    int type;
    uint32_t value;
  } bad[] = {{0, AFAR_DATA, 0},  {0, AFAR_DATA, 65537}, {3, AFAR_DATA, 0}, {0, AFAR_CREDIT, 1}, {0, AFAR_EOF, 0},
             {0, AFAR_CLOSE, 0}, {0, AFAR_FD, 3},       {1, 8, 0},         {1, 255, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct far *far = begin();
    send_frame(far, bad[i].channel, bad[i].type, bad[i].value);
    CHECK_EQ(status_of(far), 1);
    hang_up(far);
    release(far);
  }
  for (int i = 0; i < 2; i++) {
    struct far *far = begin();
    send_request(far, 0,
                 i ? REQ(.op = AFAR_OP_WRITE, .kinds = KIND(1, AFAR_LOAD32), ARGS(arena(far, 0), 8))
                   : REQ(.op = AFAR_OP_WRITE, ARGS(arena(far, 0), 1ull << 31)));
    CHECK_EQ(status_of(far), 1);
    hang_up(far);
    release(far);
  }
}

static void pings_are_answered(void) {
  struct far *far = begin();
  send_frame(far, 0, AFAR_PING, 0xabcdef);
  UNTIL(far, far->pongs == 1);
  CHECK_EQ(far->pong, 0xabcdef);
  send_request(far, 0, REQ(.op = AFAR_OP_VALUE, ARGS(1)));
  send_frame(far, 0, AFAR_PING, 7);
  UNTIL(far, far->pongs == 2);
  CHECK(there(far, 0) == 16); /* in order */
  send_frame(far, 0, AFAR_PONG, 7);
  send_frame(far, 5, AFAR_PING, 8);
  UNTIL(far, far->pong == 8);
  end(far);
}

static void silence_ends_it(void) {
  struct far *far = begin();
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_PING, ARGS(1ull << 40))), -EINVAL);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_PING, ARGS(2))), 0);
  double start = 0;
  for (int i = 0; i < 6; i++) {
    nap(0.4); /* in all longer than it would stand */
    start = now();
    send_frame(far, 0, AFAR_PING, (uint32_t)i);
  }
  UNTIL(far, far->pongs == 6);
  CHECK_EQ(status_of(far), 0);
  CHECK(now() - start > 1.9);
  hang_up(far);
  release(far);
}

static void a_stopped_root_hears_what_came_meanwhile(void) {
  struct far *far = begin();
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_PING, ARGS(2))), 0);
  kill(far->pid, SIGSTOP);
  nap(1.6);
  send_frame(far, 0, AFAR_PING, 1);
  nap(1.6);
  kill(far->pid, SIGCONT);
  UNTIL(far, far->pongs == 1);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_PING, ARGS(0))), 0);
  nap(2.6);
  CHECK_EQ(CALL(far, 0, GETPID, 0), far->pid);
  end(far);
}

static void fds_come_over_the_stream(void) {
  struct far *far = begin();
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC), fds[2] = {null, null};
  char control[CMSG_SPACE(sizeof fds)] = {0}, byte[8] = {0};
  struct afar_frame frame = {0, (uint32_t)AFAR_PING << 24};
  memcpy(byte, &frame, 8);
  struct iovec iov = {byte, 8};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(header), fds, sizeof fds);
  CHECK_EQ(sendmsg(far->out, &message, 0), 8);
  close(null);
  UNTIL(far, far->pongs == 1);
  CHECK_EQ(far->channel[0].fd_count, 2);
  for (int i = 0; i < 2; i++) {
    CHECK(far->channel[0].fds[i] >= AFAR_FD_ZONE);
    CHECK_EQ(CALL(far, 0, FCNTL, far->channel[0].fds[i], F_GETFD), FD_CLOEXEC);
  }
  end(far);
}
