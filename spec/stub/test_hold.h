/* Requests that wait for an fd. */

#define HOLD(fd) .op = AFAR_OP_HOLD, ARGS(fd, POLLIN)

/* Past the stub, so that no chain is begun in it. */
static void write_there(struct far *far, int fd) {
  char path[40];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", far->pid, fd);
  int own = open(path, O_WRONLY | O_CLOEXEC);
  CHECK(own >= 0);
  CHECK_EQ(write(own, "x", 1), 1);
  close(own);
}

/* `channel`: a root, or a child that shares its fds */
static void others_overtake_on(struct far *far, uint32_t channel) {
  int fds[2];
  char back[8];
  pipe_there(far, fds, 0);
  uint32_t t = CHAIN(far, channel, {V(40)}, {BAD}, {HOLD((uint32_t)fds[0])},
                     {.nr = nr(far, READ), .if_ok = 1, .if_failed = 2, ARGS((uint32_t)fds[0], arena(far, 32), 8)},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(4, 2))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(1, 1))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(5, 1))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(5, 100))},
                     {.op = AFAR_OP_READ, .kinds = KIND(1, AFAR_RESULT), ARGS(arena(far, 32), RES(5, 0))},
                     {V(1), .if_ok = 8}, {V(1), .if_ok = 255});
  CHECK_EQ(reply(far, channel, t, NULL), 40);
  CHECK_EQ(reply(far, channel, t + 1, NULL), -ENOSYS);
  for (int i = 0; i < 10; i++)
    CHECK_EQ(ask(far, channel, REQ(V((uint64_t)i))), i);
  write_there(far, fds[1]);
  static const int64_t want[] = {POLLIN, 1, 42, 43, -ECANCELED, 101 + POLLIN - 1};
  for (uint32_t i = 0; i < 6; i++)
    CHECK_EQ(reply(far, channel, t + 2 + i, NULL), want[i]);
  CHECK_EQ(reply(far, channel, t + 8, back), 1);
  CHECK_EQ(reply(far, channel, t + 9, NULL), -ECANCELED);
  CHECK_EQ(reply(far, channel, t + 10, NULL), -EINVAL);
  CALL(far, 0, CLOSE, fds[0]);
  CALL(far, 0, CLOSE, fds[1]);
}

static void others_overtake(void) {
  struct far *far = begin();
  others_overtake_on(far, 0);
  others_overtake_on(far, 0);
  end(far);
}

static void what_is_there_is_not_waited_for(void) {
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, 0);
  write_there(far, fds[1]);
  uint32_t t =
      CHAIN(far, 0, {V(40)}, {HOLD((uint32_t)fds[0])}, {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(2, 2))});
  CHECK_EQ(reply(far, 0, t, NULL), 40);
  CHECK_EQ(reply(far, 0, t + 1, NULL), POLLIN);
  CHECK_EQ(reply(far, 0, t + 2, NULL), 42);
  CHECK_EQ(ask(far, 0, REQ(HOLD(999))), -EBADF);
  CHECK_EQ(ask(far, 0, REQ(HOLD((uint64_t)-1))), -EBADF);
  poke(far, 0, arena(far, 0), "/proc/self/exe", 15);
  int64_t file = CALL(far, 0, OPENAT, AT_FDCWD, arena(far, 0), O_RDONLY | O_CLOEXEC);
  CHECK_EQ(ask(far, 0, REQ(HOLD((uint64_t)file))), POLLIN);
  end(far);
}

static void at_once_or_not_at_all(void) {
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, 0);
  for (int round = 0; round < 100; round++) { /* it takes no slot */
    uint32_t t = CHAIN(far, 0, {.op = AFAR_OP_HOLD, ARGS((uint32_t)fds[0], POLLIN, 1)}, {V(1), .if_ok = 1},
                       {V(2), .if_failed = 2});
    CHECK_EQ(reply(far, 0, t, NULL), -EAGAIN);
    CHECK_EQ(reply(far, 0, t + 1, NULL), -ECANCELED);
    CHECK_EQ(reply(far, 0, t + 2, NULL), 2);
  }
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_HOLD, ARGS(999, POLLIN, 1))), -EBADF);
  write_there(far, fds[1]);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_HOLD, ARGS((uint32_t)fds[0], POLLIN, 1))), POLLIN);
  CALL(far, 0, CLOSE, fds[0]);
  CALL(far, 0, CLOSE, fds[1]);
  end(far);
}

static void cancelled(void) {
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, 0);
  for (int round = 0; round < 100; round++) { /* more than there are slots */
    uint32_t t = CHAIN(far, 0, {HOLD((uint32_t)fds[0])}, {V(1), .if_ok = 1}, {V(2), .if_failed = 2});
    CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_CANCEL, ARGS(t + 1))), -ENOENT);
    uint32_t cancel = send_request(far, 0, REQ(.op = AFAR_OP_CANCEL, ARGS(t)));
    CHECK_EQ(reply(far, 0, cancel, NULL), 0);
    CHECK_EQ(reply(far, 0, t, NULL), -ECANCELED);
    CHECK_EQ(reply(far, 0, t + 1, NULL), -ECANCELED);
    CHECK_EQ(reply(far, 0, t + 2, NULL), 2);
    CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_CANCEL, ARGS(t))), -ENOENT);
  }
  end(far);
}

static void held_twice_in_one_chain(void) {
  struct far *far = begin();
  int a[2], b[2];
  pipe_there(far, a, 0);
  pipe_there(far, b, 0);
  uint32_t t = CHAIN(far, 0, {V(1)}, {HOLD((uint32_t)a[0])}, {V(20)}, {HOLD((uint32_t)b[0])},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(4, 1))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(3, 1))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(1, 1))});
  CHECK_EQ(reply(far, 0, t, NULL), 1);
  write_there(far, a[1]);
  CHECK_EQ(reply(far, 0, t + 1, NULL), POLLIN);
  CHECK_EQ(reply(far, 0, t + 2, NULL), 20);
  /* the chain goes on arriving, behind its second HOLD */
  uint32_t more =
      send_request(far, 0, REQ(.op = AFAR_OP_VALUE, .flags = AFAR_CHAIN, .kinds = AFAR_RESULT, ARGS(RES(5, 5))));
  write_there(far, b[1]);
  CHECK_EQ(reply(far, 0, t + 3, NULL), POLLIN);
  CHECK_EQ(reply(far, 0, t + 4, NULL), 2);
  CHECK_EQ(reply(far, 0, t + 5, NULL), 21);
  CHECK_EQ(reply(far, 0, t + 6, NULL), 22);
  CHECK_EQ(reply(far, 0, more, NULL), 25);
  end(far);
}

static void a_chain_that_arrives_when_it_went_on(void) {
  struct far *far = begin();
  int fds[2];
  uint64_t word;
  pipe_there(far, fds, 0);
  uint32_t t = CHAIN(far, 0, {V(7)}, {HOLD((uint32_t)fds[0])}, {V(30)});
  CHECK_EQ(reply(far, 0, t, NULL), 7);
  CHECK_EQ(CALL(far, 0, GETPPID, 0), getpid()); /* begins a chain of its own, so no more comes of that one */
  write_there(far, fds[1]);
  CHECK_EQ(reply(far, 0, t + 1, NULL), POLLIN);
  CHECK_EQ(reply(far, 0, t + 2, NULL), 30);

  int other[2];
  pipe_there(far, other, 0);
  t = CHAIN(far, 0, {V(7)}, {HOLD((uint32_t)other[0])}, {V(30)});
  CHECK_EQ(reply(far, 0, t, NULL), 7);
  uint32_t w = send_write(far, 0, REQ(.flags = AFAR_CHAIN, ARGS(arena(far, 0), 8)), "overdone");
  send_request(far, 0, REQ(V(31), .flags = AFAR_CHAIN, .if_failed = 1));
  CHECK_EQ(write(far->out, "", 0), 0);
  uint32_t kick = CHAIN(far, 0, {.nr = nr(far, WRITE), ARGS((uint32_t)other[1], arena(far, 8), 1)});
  CHECK_EQ(reply(far, 0, kick, NULL), 1);
  CHECK_EQ(reply(far, 0, t + 1, NULL), POLLIN);
  CHECK_EQ(reply(far, 0, t + 2, NULL), 30);
  CHECK_EQ(reply(far, 0, w, NULL), -EINVAL);
  CHECK_EQ(reply(far, 0, w + 1, NULL), 31);
  CHECK_EQ(peek(far, 0, arena(far, 0), &word, 8), 8);
  CHECK(memcmp(&word, "overdone", 8) != 0);
  end(far);
}

static void the_rest_may_arrive_after_the_event(void) {
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, 0);
  uint32_t t = CHAIN(far, 0, {V(7)}, {HOLD((uint32_t)fds[0])}, {V(30)});
  CHECK_EQ(reply(far, 0, t, NULL), 7);
  write_there(far, fds[1]);
  CHECK_EQ(reply(far, 0, t + 1, NULL), POLLIN);
  CHECK_EQ(reply(far, 0, t + 2, NULL), 30);
  uint32_t more = send_request(
      far, 0, REQ(.op = AFAR_OP_VALUE, .flags = AFAR_CHAIN, .kinds = AFAR_RESULT, .if_ok = 2, ARGS(RES(1, 1))));
  CHECK_EQ(reply(far, 0, more, NULL), 31);
  uint32_t w = send_write(far, 0, REQ(.flags = AFAR_CHAIN, ARGS(arena(far, 0), 8)), "overdone");
  CHECK_EQ(reply(far, 0, w, NULL), -EINVAL);
  end(far);
}

static void slots_run_out(void) {
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, 0);
  uint32_t slots = far->hello.hold_slots, t = far->tag + 1;
  for (int round = 0; round < 2; round++) {
    t = far->tag + 1;
    for (uint32_t i = 0; i < slots; i++)
      send_request(far, 0, REQ(HOLD((uint32_t)fds[0])));
    CHECK_EQ(ask(far, 0, REQ(HOLD((uint32_t)fds[0]))), -ENOBUFS);
    for (uint32_t i = 0; i < slots; i++)
      send_request(far, 0, REQ(.op = AFAR_OP_CANCEL, .flags = AFAR_QUIET, ARGS(t + i)));
    for (uint32_t i = 0; i < slots; i++)
      CHECK_EQ(reply(far, 0, t + i, NULL), -ECANCELED);
  }
  uint32_t of_one = slots / 2;
  t = send_request(far, 0, REQ(HOLD((uint32_t)fds[0])));
  for (uint32_t i = 1; i < of_one; i++)
    send_request(far, 0, REQ(V(i), .flags = AFAR_CHAIN));
  for (int i = 0; i < 3; i++)
    CHECK_EQ(ask(far, 0, REQ(V(1), .flags = AFAR_CHAIN)), -ENOBUFS);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_CANCEL, ARGS(t))), 0);
  CHECK_EQ(reply(far, 0, t, NULL), -ECANCELED);
  for (uint32_t i = 1; i < of_one; i++)
    CHECK_EQ(reply(far, 0, t + i, NULL), i);
  end(far);
}

static void a_closed_fd_and_a_hangup(void) {
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, 0);
  uint32_t t = CHAIN(far, 0, {HOLD((uint32_t)fds[0])});
  CHECK_EQ(CALL(far, 0, CLOSE, fds[1]), 0);
  CHECK_EQ(reply(far, 0, t, NULL), POLLHUP);
  pipe_there(far, fds, 0);
  t = CHAIN(far, 0, {HOLD((uint32_t)fds[0])});
  CHECK_EQ(CALL(far, 0, CLOSE, fds[0]), 0);
  CHECK_EQ(reply(far, 0, t, NULL), -EBADF);
  end(far);
}

static long switches(pid_t pid) {
  return atol(status_line(pid, "voluntary_ctxt_switches"));
}

/* Whether it comes to sleep for a while. */
static int rests(pid_t pid) {
  for (double until = now() + PATIENCE; now() < until;) {
    long before = switches(pid);
    nap(0.2);
    if (switches(pid) == before)
      return 1;
  }
  return 0;
}

static void who_waits_is_not_woken(void) {
  if (runner)
    skip("needs CLONE_VM");
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, 0);
  pid_t waiting = clone_child(far, 1, CLONE_VM_ | CLONE_FILES_, 0, 0);
  clone_child(far, 2, CLONE_VM_ | CLONE_FILES_, 0, 0);
  uint32_t t = CHAIN(far, 1, {HOLD((uint32_t)fds[0])}, {V(3)}), own = CHAIN(far, 0, {HOLD((uint32_t)fds[0])});
  CHECK(rests(far->pid) && rests(waiting));
  long child = switches(waiting);
  for (int i = 0; i < 50; i++) {
    CHECK_EQ(ask(far, 0, REQ(V(1))), 1);
    CHECK_EQ(ask(far, 2, REQ(V(1))), 1);
  }
  CHECK_EQ(switches(waiting), child);
  write_there(far, fds[1]);
  CHECK_EQ(reply(far, 1, t, NULL), POLLIN);
  CHECK_EQ(reply(far, 1, t + 1, NULL), 3);
  CHECK_EQ(reply(far, 0, own, NULL), POLLIN);
  end(far);
}
