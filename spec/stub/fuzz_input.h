/* What a mad host sends: mostly sound requests and frames, since nonsense alone gets nowhere, and then some damage. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#define INPUT_MAX (300 * 1024)

static uint64_t random_state;
static uint8_t input[INPUT_MAX];
static size_t input_length;
static uint8_t ring_input[INPUT_MAX]; /* of a root that has both a stream and a ring */
static size_t ring_length;
static int input_damaged;

static uint64_t random_next(void) {
  uint64_t x = random_state += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static uint64_t random_below(uint64_t limit) {
  return limit ? (uint64_t)((unsigned __int128)random_next() * limit >> 64) : 0;
}

static int one_in(uint64_t n) {
  return random_below(n) == 0;
}

static void add(const void *bytes, size_t length) {
  if (length > INPUT_MAX - input_length)
    length = INPUT_MAX - input_length;
  memcpy(input + input_length, bytes, length);
  input_length += length;
}

/* Of any magnitude, often one at which something ends. */
static uint64_t some_number(void) {
  static const uint64_t edges[] = {0,       1,     2,          7,          8,         63,         64,
                                   255,     256,   4095,       4096,       16383,     16384,      16385,
                                   65535,   65536, 65537,      0xffffff,   0x1000000, 0x7fffffff, 0x80000000,
                                   1 << 20, ~0ull, 0xffffffff, 1ull << 63, ~4094ull,  ~4095ull,   1ull << 55};
  uint64_t pick = random_below(8);
  if (pick < 3)
    return edges[random_below(sizeof edges / sizeof edges[0])];
  return pick < 6 ? random_below(100) : random_next() >> random_below(64);
}

static uint64_t arena_address(void);

static int long_chains; /* in this input */

static uint64_t some_argument(uint32_t kind) {
  if (kind == AFAR_RESULT)
    return random_below(one_in(4) ? 256 : 6) << 56 | (random_below(64) & 0xffffffffffffff);
  if (kind == AFAR_LITERAL)
    return some_number();
  return one_in(4) ? some_number() : arena_address();
}

static uint8_t some_flags(void) {
  uint8_t flags = one_in(long_chains ? 150 : 4) ? 0 : AFAR_CHAIN;
  flags |= one_in(5) ? AFAR_QUIET : 0;
  flags |= one_in(8) ? AFAR_FLUSH : 0;
  flags |= one_in(8) ? AFAR_EXPECT : 0;
  flags |= one_in(8) ? AFAR_EXPECT_ARG : 0;
  return one_in(100) ? (uint8_t)random_next() : flags;
}

static void shape_arguments(struct afar_request *request) {
  for (int i = 0; i < 6; i++) {
    uint32_t kind = one_in(4) ? (uint32_t)random_below(4) : AFAR_LITERAL;
    request->kinds |= (uint16_t)(kind << 2 * i);
    request->args[i] = some_argument(kind);
  }
}

static void literal(struct afar_request *request, int i, uint64_t value) {
  request->kinds &= (uint16_t) ~(3 << 2 * i);
  request->args[i] = value;
}

static void for_op(struct afar_request *request) {
  switch (request->op) {
  case AFAR_OP_WRITE:
    literal(request, 1, one_in(50) ? some_number() : one_in(2) ? 8 : random_below(200));
    if (!one_in(4))
      literal(request, 0, arena_address());
    break;
  case AFAR_OP_READ:
    if (!one_in(4))
      literal(request, 0, arena_address());
    break;
  case AFAR_OP_HOLD:
    if (!one_in(8))
      literal(request, 0, random_below(80));
    literal(request, 2, one_in(4));
    break;
  case AFAR_OP_CANCEL:
    literal(request, 0, random_below(16));
    break;
  case AFAR_OP_ATTACH:
    literal(request, 0, random_below(5));
    literal(request, 2, 1 + random_below(7));
    if (!one_in(4))
      literal(request, 1, random_below(100));
  }
}

/* A request, and its payload where it has one, to `to`; returns how long they are. */
static size_t some_request(uint8_t *to) {
  static const uint8_t ops[] = {AFAR_OP_CALL,   AFAR_OP_CALL,   AFAR_OP_WRITE, AFAR_OP_READ,  AFAR_OP_HOLD,
                                AFAR_OP_HOLD,   AFAR_OP_CANCEL, AFAR_OP_VALUE, AFAR_OP_VALUE, AFAR_OP_ATTACH,
                                AFAR_OP_ATTACH, AFAR_OP_PING,   AFAR_OP_TALLY};
  struct afar_request request = {.tag = (uint32_t)random_below(16), .op = ops[random_below(sizeof ops)]};
  if (one_in(100))
    request.op = (uint8_t)random_next();
  request.flags = some_flags();
  request.nr = (uint16_t)random_below(one_in(10) ? 65536 : 450);
  request.if_ok = (uint8_t)(one_in(6) ? random_below(8) : 0);
  request.if_failed = (uint8_t)(one_in(8) ? random_below(8) : 0);
  request.expect = (uint32_t)random_below(7);
  shape_arguments(&request);
  for_op(&request);
  memcpy(to, &request, sizeof request);
  size_t payload = request.op == AFAR_OP_WRITE && request.args[1] <= 256 ? request.args[1] : 0;
  for (size_t i = 0; i < payload; i += 8) {
    uint64_t word = random_next();
    memcpy(to + sizeof request + i, &word, payload - i < 8 ? payload - i : 8);
  }
  return sizeof request + payload;
}

static void damage(void) {
  uint64_t how = random_below(8);
  input_damaged = how < 3;
  switch (how) {
  case 0:
    for (uint64_t i = 1 + random_below(8); i > 0 && input_length > 0; i--)
      input[random_below(input_length)] ^= (uint8_t)(1 << random_below(8));
    break;
  case 1:
    input_length = random_below(input_length + 1);
    break;
  case 2: {
    size_t at = random_below(input_length + 1), length = random_below(64);
    for (size_t i = at; i < input_length && i < at + length; i++)
      input[i] = (uint8_t)random_next();
  }
  }
}

static void input_of_child(void) {
  uint8_t bytes[64 + 256];
  input_length = 0;
  long_chains = one_in(32);
  uint64_t count = long_chains ? 100 + random_below(200) : 1 + random_below(one_in(16) ? 150 : 16);
  for (uint64_t i = 0; i < count; i++)
    add(bytes, some_request(bytes));
  damage();
}

static void input_of_ring(void) {
  input_of_child();
  memcpy(ring_input, input, ring_length = input_length);
}

static void add_frame(uint32_t channel, uint32_t type, uint64_t value) {
  struct afar_frame frame = {channel, type << 24 | ((uint32_t)value & 0xffffff)};
  add(&frame, sizeof frame);
}

/* In one frame, or cut in two. */
static void add_framed(uint32_t channel, const uint8_t *bytes, size_t length) {
  size_t cut = one_in(5) ? random_below(length) : 0;
  if (cut > 0) {
    add_frame(channel, AFAR_DATA, cut);
    add(bytes, cut);
  }
  add_frame(channel, AFAR_DATA, length - cut);
  add(bytes + cut, length - cut);
}

static void attach_first(uint32_t channel) {
  struct afar_request request = {.tag = channel, .op = AFAR_OP_ATTACH};
  request.args[0] = channel;
  request.args[1] = 64 + random_below(20);
  request.args[2] = 1 + random_below(7);
  request.args[3] = some_number() & 0x7fffffff;
  request.args[4] = one_in(2) ? 1 << 20 : some_number() & 0x7fffffff;
  add_framed(0, (uint8_t *)&request, sizeof request);
}

static void input_of_root(void) {
  static uint8_t bytes[65536];
  int huge = one_in(200);
  long_chains = 0;
  input_length = 0;
  for (uint32_t channel = 1; channel < 4; channel++)
    if (!one_in(3))
      attach_first(channel);
  for (uint64_t i = 1 + random_below(one_in(16) ? 120 : 14); i > 0; i--) {
    uint32_t channel = one_in(50) ? (uint32_t)random_next() : (uint32_t)random_below(5);
    switch (random_below(10)) {
    case 0:
      add_frame(channel, AFAR_CREDIT, some_number());
      break;
    case 1:
      add_frame(channel + !channel, AFAR_EOF, random_below(200));
      break;
    case 2:
      add_frame(channel + !channel, AFAR_CLOSE, 0);
      break;
    case 3:
      add_frame(channel, one_in(8) ? (uint32_t)random_below(256) : one_in(2) ? AFAR_BELL : AFAR_PING, some_number());
      break;
    case 4:
    case 5:
      add_framed(1 + (uint32_t)random_below(4), bytes, 1 + random_below(huge ? 60000 : one_in(8) ? 2000 : 100));
      break;
    default:
      add_framed(0, bytes, some_request(bytes));
    }
  }
  damage();
}

#endif
