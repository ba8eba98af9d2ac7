/* Processes that are cloned from a root, and from each other. */

static void a_child_serves(void) {
  struct far *far = begin();
  pid_t pid = clone_child(far, 1, CLONE_VM_, 0, far->pid);
  CHECK_EQ(CALL(far, 1, GETPID, 0), pid);
  CHECK_EQ(CALL(far, 1, GETPPID, 0), far->pid);
  struct afar_start start;
  uint64_t block = arena(far, 4096 + 2ull * far->hello.block_size);
  CHECK_EQ(peek(far, 1, block, &start, sizeof start), sizeof start);
  CHECK(start.carrier >= AFAR_FD_CHILD);
  CHECK_EQ(CALL(far, 1, FCNTL, start.carrier, F_GETFD), FD_CLOEXEC);
  if (start.carrier != start.fd[1])
    CHECK_EQ(CALL(far, 1, FCNTL, start.fd[1], F_GETFD), -EBADF);
  CHECK_EQ(ask(far, 1, REQ(.op = AFAR_OP_ATTACH, ARGS(1, 0, 1, 1, 1))), -EOPNOTSUPP);
  CHECK_EQ(ask(far, 1, REQ(.op = AFAR_OP_PING, ARGS(1))), -EOPNOTSUPP);
  static char there[100000], back[16384];
  memset(there, 'y', sizeof there);
  CHECK_EQ(poke(far, 1, arena(far, 500000), there, sizeof there), sizeof there);
  CHECK_EQ(peek(far, 1, arena(far, 500000 + sizeof there - sizeof back), back, sizeof back), sizeof back);
  CHECK(memcmp(back, there, sizeof back) == 0);
  CHECK_EQ(poke(far, 1, NOBODY, there, sizeof there), -EFAULT);
  end(far);
}

static int64_t wait_there(struct far *far, pid_t pid) {
  int status = -1;
  CHECK_EQ(CALL(far, 0, WAIT4, pid, arena(far, 0), 0, 0), pid);
  CHECK_EQ(peek(far, 0, arena(far, 0), &status, 4), 4);
  return status;
}

static void a_child_closes_what_is_the_roots(void) {
  struct far *far = begin();
  int64_t root = CALL(far, 0, FCNTL, far->hello.in_fd, F_DUPFD_CLOEXEC, AFAR_FD_ZONE + 40);
  CHECK(root >= AFAR_FD_ZONE + 40);
  for (uint32_t flags = 0; flags <= AFAR_START_CLOSE; flags += AFAR_START_CLOSE) {
    clone_child(far, 1 + flags, CLONE_VM_, flags, far->pid);
    int64_t expected = flags ? -EBADF : FD_CLOEXEC;
    CHECK_EQ(CALL(far, 1 + flags, FCNTL, root, F_GETFD), expected);
    CHECK(CALL(far, 1 + flags, FCNTL, 0, F_GETFD) != -EBADF);
    CHECK_EQ(CALL(far, 0, FCNTL, root, F_GETFD), FD_CLOEXEC);
  }
  end(far);
}

/* A child whose requests lie in memory, with room for so many bytes of replies. Its exit status; `replies`: what it has
 * left there, `length` bytes. */
static int64_t run_script(struct far *far, const struct afar_request *requests, size_t count, uint32_t room,
                          struct afar_reply *replies, uint32_t *length) {
  uint64_t block = arena(far, 600000 & ~4095), at = arena(far, 800000), stack[2] = {far->hello.entry, block};
  struct afar_start start = {.flags = AFAR_START_SCRIPT, .ppid = far->pid, .fd = {-1, -1}, .script = at};
  struct afar_script script = {arena(far, 700000), (uint32_t)(count * sizeof *requests), room, 0, 0};
  poke(far, 0, block, &start, sizeof start);
  poke(far, 0, block + far->hello.block_size - 16, stack, sizeof stack);
  poke(far, 0, at, &script, sizeof script);
  poke(far, 0, script.requests, requests, count * sizeof *requests);
  int64_t pid = CALL(far, 0, CLONE, CLONE_VM_ | SIGCHLD, block + far->hello.block_size - 16);
  CHECK(pid > 0);
  int64_t status = wait_there(far, (pid_t)pid);
  CHECK_EQ(peek(far, 0, at, &script, sizeof script), sizeof script);
  *length = script.answered;
  CHECK(*length <= room);
  CHECK_EQ(peek(far, 0, at + sizeof script, replies, *length), *length);
  return status;
}

static void a_child_performs_its_script(void) {
  struct far *far = begin();
  if (runner)
    skip("needs CLONE_VM");
  struct afar_reply replies[8];
  uint32_t length;
  struct afar_request requests[] = {
      {.tag = 1, .nr = nr(far, GETPPID)},
      {.tag = 2, .flags = AFAR_CHAIN | AFAR_QUIET, .nr = nr(far, GETPID)},
      {.tag = 3, .flags = AFAR_CHAIN, .op = AFAR_OP_ATTACH, ARGS(1, 0, 1, 1, 1)},
      {.tag = 4, .flags = AFAR_CHAIN, .if_ok = 1, .nr = nr(far, GETPID)},
      {.tag = 5, .flags = AFAR_CHAIN, .if_failed = 1, .nr = nr(far, CLOSE), ARGS(999)},
  };
  CHECK_EQ(run_script(far, requests, 5, 5 * 16, replies, &length), AFAR_SCRIPT_DONE << 8);
  CHECK_EQ(length, 4 * 16);
  CHECK_EQ(replies[0].tag, 1);
  CHECK_EQ(replies[0].result, far->pid);
  CHECK_EQ(replies[1].tag, 3);
  CHECK_EQ(replies[1].result, -EOPNOTSUPP);
  CHECK_EQ(replies[2].tag, 4);
  CHECK_EQ(replies[2].result, -ECANCELED);
  CHECK_EQ(replies[3].tag, 5);
  CHECK_EQ(replies[3].result, -EBADF);
  CHECK_EQ(run_script(far, requests, 5, 40, replies, &length), AFAR_SCRIPT_DONE << 8);
  CHECK_EQ(length, 40);
  CHECK_EQ(run_script(far, requests, 5, 0, replies, &length), AFAR_SCRIPT_DONE << 8);
  CHECK_EQ(length, 0);
  CHECK_EQ(run_script(far, requests, 0, 16, replies, &length), AFAR_SCRIPT_DONE << 8);
  CHECK_EQ(length, 0);
  struct afar_request ends[] = {
      {.tag = 1, .nr = nr(far, GETPPID)},
      {.tag = 2, .op = AFAR_OP_HOLD, ARGS(0, 0)},
      {.tag = 3, .nr = nr(far, EXIT_GROUP), .flags = AFAR_FLUSH, ARGS(7)},
      {.tag = 4, .nr = nr(far, GETPPID)},
  };
  CHECK_EQ(run_script(far, ends, 4, 4 * 16, replies, &length), 7 << 8);
  CHECK_EQ(replies[0].tag, 1);
  CHECK_EQ(replies[0].result, far->pid);
  end(far);
}

static void all_tests_of_requests_in_a_child(void) {
  struct far *far = begin();
  if (runner)
    skip("needs CLONE_VM");
  clone_child(far, 1, CLONE_VM_ | CLONE_FILES_, 0, far->pid);
  others_overtake_on(far, 1);
  others_overtake_on(far, 1);
  uint32_t t = far->tag + 1;
  char back[16384];
  for (int i = 0; i < 100; i++)
    send_request(far, 1, REQ(.op = AFAR_OP_READ, ARGS(arena(far, 0), sizeof back)));
  for (uint32_t i = 0; i < 100; i++) {
    CHECK_EQ(reply(far, 1, t + i, back), sizeof back);
    send_frame(far, 1, AFAR_CREDIT, sizeof back + 16);
  }
  end(far);
}

static void a_child_ends_with_its_carrier(void) {
  struct far *far = begin();
  for (int i = 0; i < 20; i++) {
    pid_t pid = clone_child(far, 1, CLONE_VM_, 0, far->pid);
    CHECK_EQ(CALL(far, 1, GETPID, 0), pid);
    send_frame(far, 1, AFAR_CLOSE, 0);
    UNTIL(far, far->channel[1].closed);
    CHECK_EQ(wait_there(far, pid), 0);
  }
  pid_t pid = clone_child(far, 1, CLONE_VM_, 0, far->pid);
  send_request(far, 1, REQ(.nr = nr(far, EXIT_GROUP), .flags = AFAR_FLUSH, ARGS(7)));
  UNTIL(far, far->channel[1].eof);
  CHECK_EQ(wait_there(far, pid), 7 << 8);
  end(far);
}

static void exec_is_the_end_of_a_carrier(void) {
  struct far *far = begin();
  if (runner && access("/bin/sh", X_OK) != 0)
    skip("no shell");
  pid_t pid = clone_child(far, 1, CLONE_VM_, 0, far->pid);
  uint64_t words = arena(far, 800000);
  char text[64] = "/bin/sh\0-c\0exit 9";
  uint64_t argv[4] = {words, words + 8, words + 11, 0};
  if (runner)
    CHECK_EQ(poke(far, 1, words, text, sizeof text), sizeof text); /* it has memory of its own */
  CHECK_EQ(poke(far, runner ? 1 : 0, words, text, sizeof text), sizeof text);
  CHECK_EQ(poke(far, runner ? 1 : 0, words + 64, argv, sizeof argv), sizeof argv);
  int64_t bad = CALL(far, 1, EXECVE, words + 8, words + 64, words + 88);
  CHECK_EQ(bad, -ENOENT);
  send_request(far, 1, REQ(.nr = nr(far, EXECVE), .flags = AFAR_FLUSH, ARGS(words, words + 64, words + 88)));
  UNTIL(far, far->channel[1].eof);
  CHECK_EQ(wait_there(far, pid), 9 << 8);
  end(far);
}

/* The child clones one of its own and hands its carrier to the root. */
static void a_grandchild(void) {
  if (runner)
    skip("needs CLONE_VM");
  struct far *far = begin();
  pid_t child = clone_child(far, 1, CLONE_VM_, 0, far->pid);
  struct afar_start start;
  uint64_t own = arena(far, 4096 + 2ull * far->hello.block_size), block = arena(far, 600000 & ~4095), fds = block + 24;
  CHECK_EQ(peek(far, 0, own, &start, sizeof start), sizeof start);
  clone_block(far, block, 0, child);
  struct afar_reply told = {AFAR_TAG_FD, 0, 0};
  uint64_t at = arena(far, 0), iov[2] = {at, sizeof told}, message[7] = {0, 0, at + 64, 1, block + 8, 20, 0};
  poke(far, 0, at, &told, sizeof told);
  poke(far, 0, at + 64, iov, sizeof iov);
  poke(far, 0, at + 128, message, sizeof message);
  uint32_t t = CHAIN(far, 1, {.nr = nr(far, SOCKETPAIR), ARGS(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)},
                     {.nr = nr(far, CLONE), ARGS(CLONE_VM_ | SIGCHLD, block + far->hello.block_size - 16)},
                     {.nr = nr(far, SENDMSG), .flags = AFAR_FLUSH, ARGS((uint32_t)start.carrier, at + 128, 0)},
                     {.nr = nr(far, CLOSE), .kinds = AFAR_LOAD32, ARGS(fds)},
                     {.nr = nr(far, CLOSE), .kinds = AFAR_LOAD32, ARGS(fds + 4)});
  CHECK_EQ(reply(far, 1, t, NULL), 0);
  pid_t grandchild = (pid_t)reply(far, 1, t + 1, NULL);
  CHECK(grandchild > 0);
  CHECK_EQ(reply(far, 1, AFAR_TAG_FD, NULL), 0);
  CHECK_EQ(far->channel[1].fd_count, 1);
  CHECK_EQ(reply(far, 1, t + 2, NULL), sizeof told);
  CHECK_EQ(reply(far, 1, t + 3, NULL), 0);
  CHECK_EQ(reply(far, 1, t + 4, NULL), 0);
  int64_t fd = far->channel[1].fds[0];
  CHECK(fd >= AFAR_FD_ZONE);
  CHECK_EQ(attach(far, 2, (int)fd, AFAR_ATTACH_READ | AFAR_ATTACH_WRITE | AFAR_ATTACH_SOCKET, 65536, 65536), fd);
  CHECK_EQ(CALL(far, 2, GETPID, 0), grandchild);
  CHECK_EQ(CALL(far, 2, GETPPID, 0), child);
  end(far);
}

static int gone(pid_t pid) {
  for (int i = 0; i < 300; i++) {
    char state = 0;
    if (kill(pid, 0) != 0 || sscanf(status_line(pid, "State"), " %c", &state) != 1 || state == 'Z')
      return 1;
    nap(0.01);
  }
  return 0;
}

static void all_die_with_the_root(void) {
  struct far *far = begin();
  pid_t tied = clone_child(far, 1, CLONE_VM_, 0, far->pid), orphan = clone_child(far, 2, CLONE_VM_, 1, 0);
  if (!runner) {
    CHECK_EQ(death_signal(far, 1), SIGKILL);
    CHECK_EQ(death_signal(far, 2), 0);
  }
  kill(far->pid, SIGKILL);
  CHECK_EQ(status_of(far), 1000 + SIGKILL);
  CHECK(gone(tied));
  CHECK(gone(orphan)); /* by the end of its carrier */
  hang_up(far);
  release(far);
}

static void a_child_whose_parent_has_gone_ends(void) {
  struct far *far = begin();
  pid_t pid = clone_child(far, 1, CLONE_VM_, 0, 1);
  UNTIL(far, far->channel[1].eof);
  CHECK_EQ(wait_there(far, pid), 1 << 8);
  end(far);
}

static void many_children(void) {
  if (runner)
    skip("needs CLONE_VM");
  struct far *far = begin();
  int before = count_fds(far->pid);
  for (int round = 0; round < 5; round++) {
    pid_t pids[CHANNELS];
    for (uint32_t i = 1; i < CHANNELS; i++)
      pids[i] = clone_child(far, i, CLONE_VM_, 0, far->pid);
    for (int k = 0; k < 20; k++)
      for (uint32_t i = 1; i < CHANNELS; i++)
        send_request(far, i, REQ(.nr = nr(far, GETPID)));
    uint32_t t = far->tag - 20 * (CHANNELS - 1) + 1;
    for (int k = 0; k < 20; k++)
      for (uint32_t i = 1; i < CHANNELS; i++)
        CHECK_EQ(reply(far, i, t++, NULL), pids[i]);
    for (uint32_t i = 1; i < CHANNELS; i++) {
      send_frame(far, i, AFAR_CLOSE, 0);
      UNTIL(far, far->channel[i].closed);
      wait_there(far, pids[i]);
    }
  }
  CHECK_EQ(count_fds(far->pid), before);
  end(far);
}

static void a_silent_child_is_as_small_as_it_says(void) {
  if (runner)
    skip("needs CLONE_VM");
  struct far *far = begin();
  long before = atol(status_line(far->pid, "VmRSS"));
  clone_child(far, 1, CLONE_VM_ | CLONE_FILES_, 0, far->pid);
  CALL(far, 1, GETPID, 0);
  long grown = atol(status_line(far->pid, "VmRSS")) - before;
  CHECK(grown <= 32);
  end(far);
}
