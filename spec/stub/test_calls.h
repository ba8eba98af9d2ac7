/* Requests, arguments, conditions and memory. */

static void calls(void) {
  struct far *far = begin();
  CHECK_EQ(CALL(far, 0, GETPID, 0), far->pid);
  CHECK_EQ(CALL(far, 0, CLOSE, 999), -EBADF);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_VALUE, ARGS(77))), 77);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_VALUE, ARGS(1ull << 63))), INT64_MIN);
  CHECK_EQ(ask(far, 0, REQ(.op = 99)), -EOPNOTSUPP);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_CANCEL, ARGS(1234))), -ENOENT);
  CHECK_EQ(ask(far, 0, REQ(.nr = 0xffff)), -ENOSYS);
  end(far);
}

static void calls_are_counted(void) {
  struct far *far = begin();
  int64_t before = ask(far, 0, REQ(.op = AFAR_OP_TALLY));
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_TALLY)), before);
  CALL(far, 0, GETPID, 0);
  CHECK_EQ(CALL(far, 0, CLOSE, 999), -EBADF);
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_VALUE, ARGS(1))), 1);
  CHECK_EQ(ask(far, 0, REQ(.nr = nr(far, GETPID), .kinds = AFAR_LOAD64, ARGS(8))),
           -EFAULT); /* never came to the kernel */
  CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_TALLY)), before + 2);
  end(far);
}

static void all_six_arguments_arrive(void) {
  struct far *far = begin();
  int64_t at = ask(far, 0, REQ(.nr = nr(far, MMAP), ARGS(0, 65536, 3, 0x22, (uint64_t)-1, 0)));
  CHECK(at > 0);
  CHECK_EQ(poke(far, 0, (uint64_t)at + 65528, "12345678", 8), 8);
  int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  close(fd);
  /* the sixth, an offset that is no multiple of a page, is refused */
  CHECK_EQ(ask(far, 0, REQ(.nr = nr(far, MMAP), ARGS(0, 65536, 3, 0x22, (uint64_t)-1, 1))), -EINVAL);
  CHECK_EQ(CALL(far, 0, MUNMAP, at, 65536), 0);
  CHECK_EQ(poke(far, 0, (uint64_t)at, "12345678", 8), -EFAULT);
  end(far);
}

static void memory_goes_both_ways(void) {
  struct far *far = begin();
  static char there[300000], back[300000];
  for (size_t i = 0; i < sizeof there; i++)
    there[i] = (char)(i * 31 + i / 256);
  CHECK_EQ(poke(far, 0, arena(far, 3), there, sizeof there), sizeof there);
  uint32_t step = far->hello.read_max;
  for (size_t at = 0; at < sizeof there; at += step) {
    size_t length = sizeof there - at < step ? sizeof there - at : step;
    CHECK_EQ(peek(far, 0, arena(far, 3 + at), back + at, length), length);
  }
  CHECK(memcmp(there, back, sizeof there) == 0);
  CHECK_EQ(poke(far, 0, arena(far, 0), "", 0), 0);
  end(far);
}

static void reads_are_clamped(void) {
  struct far *far = begin();
  char back[65536];
  uint32_t max = far->hello.read_max;
  CHECK_EQ(peek(far, 0, arena(far, 0), back, max + 1), max);
  CHECK_EQ(peek(far, 0, arena(far, 0), back, (size_t)-5), 0);
  CHECK_EQ(peek(far, 0, arena(far, 0), back, 0), 0);
  CHECK_EQ(peek(far, 0, NOBODY, back, 0), 0);
  uint32_t tag = send_request(far, 0, REQ(.op = AFAR_OP_VALUE, ARGS(max + 100)));
  for (uint64_t k = 0; k < 3; k++)
    send_request(far, 0,
                 REQ(.op = AFAR_OP_READ, .flags = AFAR_CHAIN, .kinds = KIND(1, AFAR_RESULT),
                     ARGS(arena(far, k * max), RES(k + 1, -(int64_t)(k * max)))));
  CHECK_EQ(reply(far, 0, tag, NULL), max + 100);
  CHECK_EQ(reply(far, 0, tag + 1, back), max);
  CHECK_EQ(reply(far, 0, tag + 2, back), 100);
  CHECK_EQ(reply(far, 0, tag + 3, back), 0);
  end(far);
}

static void bad_addresses_are_efault(void) {
  struct far *far = begin();
  char bytes[20000] = {1};
  int64_t at = ask(far, 0, REQ(.nr = nr(far, MMAP), ARGS(0, 131072, 3, 0x22, (uint64_t)-1, 0)));
  CHECK(at > 0);
  CHECK_EQ(CALL(far, 0, MUNMAP, at + 65536, 65536), 0);
  static const uint64_t bad[] = {0, NOBODY, 0xffffffffff600000, 0xffff888000000000, 0x8000000000000000, ~7ull};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK_EQ(poke(far, 0, bad[i], bytes, 8), -EFAULT);
    CHECK_EQ(poke(far, 0, bad[i] + 1, bytes, 8), -EFAULT);
    CHECK_EQ(poke(far, 0, bad[i], bytes, sizeof bytes), -EFAULT);
    if (bad[i] != 0xffffffffff600000)
      CHECK_EQ(peek(far, 0, bad[i], bytes, 16), -EFAULT);
    CHECK_EQ(ask(far, 0, REQ(.op = AFAR_OP_VALUE, .kinds = KIND(3, AFAR_LOAD64), ARGS(1, 2, 3, bad[i]))), -EFAULT);
  }
  uint64_t edge = (uint64_t)at + 65536;
  CHECK_EQ(poke(far, 0, edge - 100, bytes, sizeof bytes), -EFAULT);
  CHECK_EQ(peek(far, 0, edge - 100, bytes, 101), -EFAULT);
  CHECK_EQ(peek(far, 0, edge - 100, bytes, 100), 100);
  /* nothing can be written to the stub's own code, though it can be read */
  CHECK_EQ(poke(far, 0, far->hello.entry & ~7ull, bytes, 8), -EFAULT);
  CHECK_EQ(poke(far, 0, far->hello.entry, bytes, 100), -EFAULT);
  CHECK_EQ(peek(far, 0, far->hello.entry, bytes, 16), 16);
  CHECK_EQ(CALL(far, 0, GETPID, 0), far->pid);
  end(far);
}

static void eight_aligned_bytes(void) {
  struct far *far = begin();
  uint64_t value = 0x0123456789abcdef, back = 0;
  CHECK_EQ(poke(far, 0, arena(far, 8), &value, 8), 8);
  CHECK_EQ(peek(far, 0, arena(far, 8), &back, 8), 8);
  CHECK_EQ(back, value);
  CHECK_EQ(poke(far, 0, arena(far, 17), &value, 8), 8);
  CHECK_EQ(peek(far, 0, arena(far, 17), &back, 8), 8);
  CHECK_EQ(back, value);
  /* in pieces, so that it must be put together first */
  struct afar_request request = *REQ(.tag = ++far->tag, .op = AFAR_OP_WRITE, ARGS(arena(far, 8), 8));
  send_data(far, 0, &request, 60);
  send_data(far, 0, (char *)&request + 60, 4);
  send_data(far, 0, "abc", 3);
  nap(0.02);
  CHECK_EQ(there(far, 0), 0);
  send_data(far, 0, "defgh", 5);
  CHECK_EQ(reply(far, 0, far->tag, NULL), 8);
  CHECK_EQ(peek(far, 0, arena(far, 8), &back, 8), 8);
  CHECK(memcmp(&back, "abcdefgh", 8) == 0);
  end(far);
}

/* Sends a chain; the first request must not be flagged as one. */
static uint32_t send_chain(struct far *far, uint32_t channel, const struct afar_request *requests, int count) {
  uint32_t first = far->tag + 1;
  for (int i = 0; i < count; i++) {
    struct afar_request request = requests[i];
    request.flags |= i ? AFAR_CHAIN : 0;
    send_request(far, channel, &request);
  }
  return first;
}

#define CHAIN(far, channel, ...)                                                                                       \
  send_chain(far, channel, (const struct afar_request[]){__VA_ARGS__},                                                 \
             sizeof((const struct afar_request[]){__VA_ARGS__}) / sizeof(struct afar_request))
#define V(value) .op = AFAR_OP_VALUE, ARGS(value)
#define BAD      .nr = 0xffff /* ENOSYS */

static void conditions(void) {
  struct far *far = begin();
  uint32_t t = CHAIN(far, 0, {V(1)}, {BAD}, {V(2), .if_ok = 2}, {V(3), .if_ok = 2}, {V(4), .if_failed = 3},
                     {V(5), .if_failed = 2}, {V(6), .if_failed = 6}, {V(7), .if_ok = 1},
                     {V(8), .if_ok = 8, .if_failed = 7}, {V(9), .if_ok = 20}, {V(10), .if_failed = 20});
  static const int64_t want[] = {1, -ENOSYS, 2, -ECANCELED, 4, 5, -ECANCELED, -ECANCELED, 8, -EINVAL, -EINVAL};
  for (uint32_t i = 0; i < sizeof want / sizeof want[0]; i++)
    CHECK_EQ(reply(far, 0, t + i, NULL), want[i]);
  /* another chain: nothing before it counts */
  CHECK_EQ(ask(far, 0, REQ(V(1), .if_ok = 1)), -EINVAL);
  end(far);
}

static void expectations(void) {
  struct far *far = begin();
  uint32_t t = CHAIN(
      far, 0, {V(5), .flags = AFAR_EXPECT, .expect = 5}, {V(6), .flags = AFAR_EXPECT, .expect = 5}, {V(1), .if_ok = 2},
      {V(1), .if_ok = 2}, {.op = AFAR_OP_VALUE, .flags = AFAR_EXPECT_ARG, .expect = 2, ARGS(9, 0, 9)},
      {.op = AFAR_OP_VALUE, .flags = AFAR_EXPECT_ARG, .expect = 5, ARGS(9)}, {V(1), .if_ok = 2}, {V(1), .if_ok = 2},
      {V(1), .flags = AFAR_EXPECT_ARG, .expect = 6}, {V(-7), .flags = AFAR_EXPECT, .expect = (uint32_t)-7},
      {V(1), .if_failed = 1}, {V(-5000), .flags = AFAR_EXPECT, .expect = (uint32_t)-5000}, {V(1), .if_ok = 1});
  static const int64_t want[] = {5, 6, 1, -ECANCELED, 9, 9, 1, -ECANCELED, -EINVAL, -7, 1, -5000, 1};
  for (uint32_t i = 0; i < sizeof want / sizeof want[0]; i++)
    CHECK_EQ(reply(far, 0, t + i, NULL), want[i]);
  end(far);
}

static void the_quiet_say_only_failures(void) {
  struct far *far = begin();
  char back[16];
  uint32_t t = CHAIN(far, 0, {V(1), .flags = AFAR_QUIET}, {BAD, .flags = AFAR_QUIET},
                     {V(1), .flags = AFAR_QUIET, .if_ok = 1}, {V(2), .flags = AFAR_QUIET | AFAR_EXPECT, .expect = 3},
                     {.op = AFAR_OP_READ, .flags = AFAR_QUIET, ARGS(arena(far, 0), 16)},
                     {.op = AFAR_OP_READ, ARGS(arena(far, 0), 16)});
  CHECK_EQ(reply(far, 0, t + 1, NULL), -ENOSYS);
  CHECK_EQ(reply(far, 0, t + 2, NULL), -ECANCELED);
  CHECK_EQ(reply(far, 0, t + 3, NULL), 2);
  CHECK_EQ(reply(far, 0, t + 5, back), 16);
  CHECK_EQ(there(far, 0), 0);
  end(far);
}

static void what_may_come_later_comes_with_the_next(void) {
  struct far *far = begin();
  uint32_t t = send_request(far, 0, REQ(V(1), .flags = AFAR_LATER));
  send_request(far, 0, REQ(BAD, .flags = AFAR_LATER));
  nap(0.01);
  send_frame(far, 0, AFAR_PING, 5);
  UNTIL(far, far->pongs > 0);
  CHECK_EQ(there(far, 0), 0);
  send_request(far, 0, REQ(V(3)));
  CHECK_EQ(reply(far, 0, t, NULL), 1);
  CHECK_EQ(reply(far, 0, t + 1, NULL), -ENOSYS);
  CHECK_EQ(reply(far, 0, t + 2, NULL), 3);
  t = CHAIN(far, 0, {V(4), .flags = AFAR_LATER}, {V(5), .flags = AFAR_LATER | AFAR_FLUSH});
  CHECK_EQ(reply(far, 0, t, NULL), 4); /* FLUSH sends all that was before */
  CHECK_EQ(there(far, 0), 0);
  send_request(far, 0, REQ(V(6)));
  CHECK_EQ(reply(far, 0, t + 1, NULL), 5);
  CHECK_EQ(reply(far, 0, t + 2, NULL), 6);
  end(far);
}

static void arguments(void) {
  struct far *far = begin();
  uint64_t memory = 0xfedcba9876543210;
  CHECK_EQ(poke(far, 0, arena(far, 0), &memory, 8), 8);
  uint32_t t = CHAIN(far, 0, {V(100)}, {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(1, 23))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(2, -101))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(1, 0))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_LOAD32, ARGS(arena(far, 0))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_LOAD64, ARGS(arena(far, 0))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(0, 1))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(8, 1))},
                     {.op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, ARGS(RES(8, 1ll << 54))});
  static const int64_t want[] = {
      100, 123, -1, -ECANCELED, 0x76543210, (int64_t)0xfedcba9876543210, -EINVAL, -EINVAL, 100 + (1ll << 54)};
  for (uint32_t i = 0; i < sizeof want / sizeof want[0]; i++)
    CHECK_EQ(reply(far, 0, t + i, NULL), want[i]);
  end(far);
}

static void pipe_and_write_are_one_chain(void) {
  struct far *far = begin();
  char back[16];
  poke(far, 0, arena(far, 16), "hello", 5);
  uint32_t t =
      CHAIN(far, 0, {.nr = nr(far, PIPE2), ARGS(arena(far, 0), O_CLOEXEC)},
            {.nr = nr(far, WRITE),
             .if_ok = 1,
             .kinds = KIND(0, AFAR_LOAD32),
             .flags = AFAR_EXPECT_ARG,
             .expect = 2,
             ARGS(arena(far, 4), arena(far, 16), 5)},
            {.nr = nr(far, READ), .if_ok = 1, .kinds = KIND(0, AFAR_LOAD32), ARGS(arena(far, 0), arena(far, 32), 16)},
            {.op = AFAR_OP_READ, .kinds = KIND(1, AFAR_RESULT), ARGS(arena(far, 32), RES(1, 0))});
  CHECK_EQ(reply(far, 0, t, NULL), 0);
  CHECK_EQ(reply(far, 0, t + 1, NULL), 5);
  CHECK_EQ(reply(far, 0, t + 2, NULL), 5);
  CHECK_EQ(reply(far, 0, t + 3, back), 5);
  CHECK(memcmp(back, "hello", 5) == 0);
  end(far);
}

static void long_chains(void) {
  struct far *far = begin();
  uint32_t t = far->tag + 1;
  for (int i = 0; i < 600; i++)
    send_request(far, 0,
                 REQ(.op = AFAR_OP_VALUE, .flags = i ? AFAR_CHAIN : 0, .if_ok = i < 255 ? 0 : 255,
                     .kinds = i < 255 ? 0 : AFAR_RESULT, ARGS(i < 255 ? (uint64_t)i : RES(255, 1000))));
  for (uint32_t i = 0; i < 600; i++)
    CHECK_EQ(reply(far, 0, t + i, NULL), i % 255 + 1000 * (i / 255));
  end(far);
}

static void batches_in_any_pieces(void) {
  struct far *far = begin();
  struct afar_request request[40];
  memset(request, 0, sizeof request);
  for (uint32_t i = 0; i < 40; i++)
    request[i].tag = i, request[i].op = AFAR_OP_VALUE, request[i].args[0] = i * 3;
  static const size_t pieces[] = {1, 7, 64, 100, 2560};
  for (size_t p = 0; p < 5; p++) {
    for (size_t at = 0; at < sizeof request; at += pieces[p])
      send_data(far, 0, (char *)request + at, sizeof request - at < pieces[p] ? sizeof request - at : pieces[p]);
    for (uint32_t i = 0; i < 40; i++)
      CHECK_EQ(reply(far, 0, i, NULL), i * 3);
  }
  end(far);
}

static void flush_sends_before_it_blocks(void) {
  struct far *far = begin();
  uint64_t time[2] = {2, 0};
  poke(far, 0, arena(far, 0), time, 16);
  double start = now();
  uint32_t t = send_request(far, 0, REQ(V(1)));
  send_request(far, 0, REQ(.nr = nr(far, NANOSLEEP), .flags = AFAR_FLUSH, ARGS(arena(far, 0), 0)));
  CHECK_EQ(reply(far, 0, t, NULL), 1);
  CHECK(now() - start < 1.9);
  CHECK_EQ(reply(far, 0, t + 1, NULL), 0);
  CHECK(now() - start > 1.99);
  end(far);
}

static void a_full_output_is_waited_for(void) {
  struct far *far = begin();
  static struct afar_request requests[300];
  char back[16384];
  for (uint32_t i = 0; i < 300; i++)
    requests[i] = (struct afar_request){.tag = i, .op = AFAR_OP_READ, ARGS(arena(far, 0), sizeof back)};
  send_data(far, 0, requests, sizeof requests);
  nap(0.2);
  for (uint32_t i = 0; i < 300; i++)
    CHECK_EQ(reply(far, 0, i, back), sizeof back);
  end(far);
}
