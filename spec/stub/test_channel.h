/* Byte streams that a root carries. */

#define R AFAR_ATTACH_READ
#define W AFAR_ATTACH_WRITE
#define S AFAR_ATTACH_SOCKET

static void attach_refuses(void) {
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, O_NONBLOCK);
  CHECK_EQ(attach(far, 0, fds[0], R, 1, 1), -EINVAL);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_ATTACH, ARGS(65536, (uint32_t)fds[0], R, 1, 1))), -EINVAL);
  CHECK_EQ(attach(far, 1, fds[0], 0, 1, 1), -EINVAL);
  CHECK_EQ(attach(far, 1, fds[0], 16 | R, 1, 1), -EINVAL);
  CHECK_EQ(attach(far, 1, fds[0], R, 1ull << 40, 1), -EINVAL);
  CHECK_EQ(attach(far, 1, 999, R, 1, 1), -EBADF);
  CHECK_EQ(attach(far, 1, 5, R, 1, 1), -EBADF);
  CHECK_EQ(attach(far, 1, far->hello.in_fd, R, 1, 1), -EBUSY);
  CHECK_EQ(attach(far, 1, far->hello.epoll_fd, R, 1, 1), -EBUSY);
  int64_t fd = attach(far, 1, fds[0], R, 1, 1);
  CHECK(fd >= AFAR_FD_ZONE);
  CHECK_EQ(CALL(far, 0, FCNTL, fds[0], F_GETFD), -EBADF);
  CHECK_EQ(CALL(far, 0, FCNTL, fd, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_ATTACH, ARGS(1, (uint32_t)fds[1], W, 1, 1))), -EBUSY);
  CHECK(ask(far, 0, REQ(.op = AFAR_OP_ATTACH, ARGS(65535, (uint32_t)fds[1], W, 1, 1))) >= AFAR_FD_ZONE);
  end(far);
}

static void read_credit_is_kept(void) {
  struct far *far = begin();
  int fds[2];
  pipe_there(far, fds, O_NONBLOCK);
  attach(far, 1, fds[0], R, 10, 0);
  CHECK_EQ(CALL(far, 0, WRITE, fds[1], far->hello.arena, 100), 100);
  UNTIL(far, there(far, 1) == 10);
  CHECK(rests(far->pid));
  CHECK_EQ(there(far, 1), 10);
  send_frame(far, 1, AFAR_CREDIT, 50);
  UNTIL(far, there(far, 1) == 60);
  /* a hangup must not make it spin while there is no credit */
  CHECK_EQ(CALL(far, 0, CLOSE, fds[1]), 0);
  CHECK(rests(far->pid));
  CHECK(!far->channel[1].eof);
  send_frame(far, 1, AFAR_CREDIT, 1000);
  UNTIL(far, far->channel[1].eof);
  CHECK_EQ(there(far, 1), 100);
  CHECK_EQ(far->channel[1].eof, 1);
  end(far);
}

static void write_credit_is_given(void) {
  struct far *far = begin();
  int fds[2];
  char bytes[4001];
  memset(bytes, 'a', sizeof bytes);
  pipe_there(far, fds, O_NONBLOCK);
  attach(far, 1, fds[1], W, 0, 4000);
  send_data(far, 1, bytes, 1999);
  CHECK_EQ(ask(far, 0, REQ(V(1))), 1);
  CHECK_EQ(far->channel[1].credit, 0);
  send_data(far, 1, bytes, 1);
  UNTIL(far, far->channel[1].credit == 2000);
  send_data(far, 1, bytes, 3000);
  UNTIL(far, far->channel[1].credit == 5000);
  CHECK_EQ(CALL(far, 0, READ, fds[0], far->hello.arena, 65536), 5000);
  send_data(far, 1, bytes, 4001); /* one more than there was credit for */
  CHECK_EQ(status_of(far), 1);
  hang_up(far);
  release(far);
}

static void what_does_not_go_waits(void) {
  struct far *far = begin();
  int fds[2];
  static char bytes[400000];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (char)(i / 7);
  pipe_there(far, fds, O_NONBLOCK);
  attach(far, 1, fds[1], W, 0, 1 << 20);
  send_data(far, 1, bytes, sizeof bytes);
  send_frame(far, 1, AFAR_EOF, 0);
  CHECK_EQ(ask(far, 0, REQ(V(5))), 5); /* nobody else is held up */
  attach(far, 2, fds[0], R, 1 << 20, 0);
  UNTIL(far, far->channel[2].eof);
  CHECK_EQ(there(far, 2), sizeof bytes);
  CHECK(memcmp(far->channel[2].bytes, bytes, sizeof bytes) == 0);
  send_frame(far, 1, AFAR_CLOSE, 0);
  send_frame(far, 2, AFAR_CLOSE, 0);
  UNTIL(far, far->channel[1].closed && far->channel[2].closed);
  end(far);
}

static void end_of_file_both_ways(void) {
  struct far *far = begin();
  int fds[2];
  socketpair_there(far, fds);
  int64_t a = attach(far, 1, fds[0], R | W | S, 65536, 65536), b = attach(far, 2, fds[1], R | W | S, 65536, 65536);
  CHECK(a >= AFAR_FD_ZONE && b >= AFAR_FD_ZONE);
  send_data(far, 1, "ping", 4);
  send_frame(far, 1, AFAR_EOF, 0);
  UNTIL(far, far->channel[2].eof);
  CHECK_EQ(there(far, 2), 4);
  send_data(far, 2, "pong", 4); /* the other direction still works */
  UNTIL(far, there(far, 1) == 4);
  CHECK(!far->channel[1].eof);
  send_frame(far, 2, AFAR_CLOSE, 0);
  UNTIL(far, far->channel[2].closed == 1 && far->channel[1].eof == 1);
  send_frame(far, 1, AFAR_CLOSE, 0);
  UNTIL(far, far->channel[1].closed == 1);
  CHECK_EQ(CALL(far, 0, FCNTL, a, F_GETFD), -EBADF);
  /* the number is free again, and one that is not attached is closed just so */
  send_frame(far, 1, AFAR_CLOSE, 0);
  UNTIL(far, far->channel[1].closed == 2);
  send_frame(far, 7, AFAR_DATA, 5);
  put(far, "loose", 5);
  send_frame(far, 7, AFAR_CREDIT, 5);
  send_frame(far, 7, AFAR_EOF, 5);
  pipe_there(far, fds, O_NONBLOCK);
  CHECK(attach(far, 1, fds[0], R, 100, 0) >= AFAR_FD_ZONE);
  CALL(far, 0, WRITE, fds[1], arena(far, 0), 5);
  UNTIL(far, there(far, 1) == 5);
  end(far);
}

static void writes_that_fail(void) {
  struct far *far = begin();
  int fds[2];
  char bytes[40000] = {0};
  pipe_there(far, fds, O_NONBLOCK);
  attach(far, 1, fds[1], W, 0, 1000);
  CALL(far, 0, CLOSE, fds[0]);
  send_data(far, 1, bytes, 600);
  UNTIL(far, far->channel[1].eof);
  CHECK_EQ(far->channel[1].eof, 1 + EPIPE);
  UNTIL(far, far->channel[1].credit == 600);
  send_data(far, 1, bytes, 1000);
  UNTIL(far, far->channel[1].credit == 1600);
  /* with data that waits */
  pipe_there(far, fds, O_NONBLOCK);
  attach(far, 2, fds[1], W, 0, 200000);
  for (int i = 0; i < 4; i++)
    send_data(far, 2, bytes, sizeof bytes);
  CHECK_EQ(ask(far, 0, REQ(V(1))), 1);
  CALL(far, 0, CLOSE, fds[0]);
  UNTIL(far, far->channel[2].eof);
  UNTIL(far, far->channel[2].credit == 160000);
  end(far);
}

static void a_reset_socket(void) {
  struct far *far = begin();
  int fds[2];
  socketpair_there(far, fds);
  attach(far, 1, fds[0], R | W | S, 65536, 65536);
  send_data(far, 1, "unread", 6);
  CHECK_EQ(ask(far, 0, REQ(V(1))), 1);
  CALL(far, 0, CLOSE, fds[1]);
  UNTIL(far, far->channel[1].eof);
  CHECK_EQ(far->channel[1].eof, 1 + ECONNRESET);
  send_data(far, 1, "nowhere", 7);
  CHECK_EQ(ask(far, 0, REQ(V(1))), 1);
  end(far);
}

static int64_t open_there(struct far *far, const char *path, int flags) {
  poke(far, 0, arena(far, 4096), path, strlen(path) + 1);
  return CALL(far, 0, OPENAT, AT_FDCWD, arena(far, 4096), flags | O_CLOEXEC, 0600);
}

static void regular_files(void) {
  struct far *far = begin();
  char path[] = "/tmp/stub_test.XXXXXX";
  static char bytes[300000];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (char)(i / 3);
  close(mkstemp(path));
  int64_t out = open_there(far, path, O_WRONLY);
  CHECK(attach(far, 1, (int)out, W, 0, 1 << 20) >= AFAR_FD_ZONE);
  send_data(far, 1, bytes, sizeof bytes);
  send_frame(far, 1, AFAR_EOF, 0);
  send_frame(far, 1, AFAR_CLOSE, 0);
  UNTIL(far, far->channel[1].closed);
  int64_t in = open_there(far, path, O_RDONLY), again = open_there(far, path, O_RDONLY);
  unlink(path);
  attach(far, 2, (int)in, R, 200000, 0);
  attach(far, 3, (int)again, R, 1 << 20, 0);
  UNTIL(far, far->channel[3].eof && there(far, 2) == 200000);
  CHECK_EQ(there(far, 3), sizeof bytes);
  CHECK(rests(far->pid));
  send_frame(far, 2, AFAR_CREDIT, 200000);
  UNTIL(far, far->channel[2].eof);
  CHECK_EQ(there(far, 2), sizeof bytes);
  CHECK(memcmp(far->channel[2].bytes, bytes, sizeof bytes) == 0);
  send_frame(far, 2, AFAR_CLOSE, 0);
  UNTIL(far, far->channel[2].closed);
  CHECK(attach(far, 2, (int)open_there(far, "/dev/null", O_RDONLY), R, 10, 10) > 0);
  UNTIL(far, far->channel[2].eof == 1);
  end(far);
}

static void a_full_disk(void) {
  struct far *far = begin();
  int64_t fd = open_there(far, "/dev/full", O_WRONLY);
  CHECK(attach(far, 1, (int)fd, W, 0, 100) >= AFAR_FD_ZONE);
  send_data(far, 1, "12345", 5);
  UNTIL(far, far->channel[1].eof == 1 + ENOSPC);
  end(far);
}

static void a_slow_reader_holds_up_nobody(void) {
  struct far *far = begin();
  int slow[2], fast[2];
  static char bytes[65536];
  pipe_there(far, slow, O_NONBLOCK);
  pipe_there(far, fast, O_NONBLOCK);
  attach(far, 1, slow[1], W, 0, 1 << 20);
  attach(far, 2, fast[1], W, 0, 1 << 18);
  attach(far, 3, fast[0], R, 1 << 18, 0);
  long before = atol(status_line(far->pid, "VmRSS"));
  for (int i = 0; i < 16; i++)
    send_data(far, 1, bytes, sizeof bytes); /* nobody reads the other end */
  uint64_t sent = 0, granted = 1 << 18, received = 0;
  while (received < 64 << 20) {
    granted += far->channel[2].credit;
    far->channel[2].credit = 0;
    while (sent + sizeof bytes <= granted && sent < 64 << 20) {
      send_data(far, 2, bytes, sizeof bytes);
      sent += sizeof bytes;
    }
    if (far->channel[3].length == 0) {
      CHECK(take_frame(far));
    } else {
      size_t length = far->channel[3].length;
      far->channel[3].length = 0;
      received += length;
      send_frame(far, 3, AFAR_CREDIT, (uint32_t)length);
    }
  }
  CHECK(atol(status_line(far->pid, "VmRSS")) - before < 4096);
  /* what was kept is given back */
  attach(far, 4, slow[0], R, 1 << 21, 0);
  UNTIL(far, there(far, 4) == 1 << 20);
  CHECK(atol(status_line(far->pid, "VmRSS")) - before < 2048);
  end(far);
}

static void nothing_is_left(void) {
  struct far *far = begin();
  int fds[2], before = count_fds(far->pid);
  static char bytes[200000];
  for (int round = 0; round < 10; round++) {
    pipe_there(far, fds, O_NONBLOCK);
    attach(far, 1, fds[1], W, 0, 1 << 20);
    attach(far, 2, fds[0], R, 10, 0);
    send_data(far, 1, bytes, sizeof bytes); /* some of it still waits when it is closed */
    send_frame(far, 1, AFAR_CLOSE, 0);
    send_frame(far, 2, AFAR_CLOSE, 0);
    UNTIL(far, far->channel[1].closed && far->channel[2].closed);
  }
  CHECK_EQ(count_fds(far->pid), before);
  end(far);
}
