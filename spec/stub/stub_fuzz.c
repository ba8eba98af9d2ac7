/* stub_fuzz [COUNT [SEED]]: a host that has gone mad. The stub's own code runs here, natively and under sanitizers, on
 * a kernel that only pretends: reads bring what fuzz_input.h makes up, other calls answer at random, and what the stub
 * writes must still be well-formed. Each input must end, in a bounded number of system calls. */
#define timespec libc_timespec
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#undef timespec

#include "child.h"
#include "root.h"
#include "fuzz_input.h"
#include "fuzz_kernel.h"

#define BATCH 4096

_Noreturn void afar_root(uint64_t *stack);

static uint64_t seed, number;
static const char *const shapes[] = {"child",      "root",           "start", "ring", "root with a ring",
                                     "persistent", "persistent root"};
static int shape;

/* Their headers and the stub's cannot be had at once. */
void __sanitizer_set_death_callback(void (*callback)(void));
const char *__asan_default_options(void);
int clock_gettime(int clock, struct timespec *time);

/* An abort is reported as any other bug. */
const char *__asan_default_options(void) {
  return "handle_abort=1";
}

static void say_where(void) {
  fprintf(stderr, "stub_fuzz: input %llu of seed %llu (%s)\n", (unsigned long long)number, (unsigned long long)seed,
          shapes[shape]);
}

/* For the entry of hello; nobody is cloned here. */
void afar_interrupt(void) {}

void afar_restore(void) {}

void afar_child_entry(void) {
  abort();
}

static void begin_ring(struct server *server) {
  struct afar_request request = {.op = AFAR_OP_RING, .args = {(uint64_t)host_ring()}};
  memset(host_ring(), 0, sizeof(struct afar_ring));
  host_ring()->spin = (uint32_t)random_below(3);
  server_feed(server, (uint8_t *)&request, sizeof request);
}

/* In session { 7, 9 }, with a lease, or it would never end. */
static void begin_persistent(struct server *server) {
  struct afar_request request = {.op = AFAR_OP_PERSIST, .args = {5, 1 + random_below(1000), 7, 9, 0}};
  persistent_begin(1);
  output.unchecked = 1; /* there is no one carrier */
  server_feed(server, (uint8_t *)&request, sizeof request);
}

static void run_child(void) {
  struct afar_start *start = (struct afar_start *)child_block;
  memset(start, 0, sizeof *start);
  start->fd[1] = (int)random_below(shape == 5 ? AFAR_FD_CHILD : 40); /* a connection is moved there, too */
  kernel_begin(start->fd[1] < AFAR_FD_CHILD ? FD_MOVED : start->fd[1], 0);
  child_init(start);
  if (shape == 3)
    begin_ring(child_server());
  if (shape == 5)
    begin_persistent(child_server());
  for (;;)
    child_turn(child_server());
}

/* What server_init leaves alone stays as it was, as in a child's block. */
static void clear_root(void) {
  root.server.ring = NULL;
  memset(&root.in, 0, offsetof(struct root, in_bytes) - offsetof(struct root, in));
}

static void run_root(void) {
  clear_root();
  kernel_begin(FD_MOVED, 1);
  root_init(FD_MOVED, FD_MOVED);
  if (shape == 4)
    begin_ring(&root.server);
  for (uint64_t turns = shape == 6 ? random_below(6) : ~0ull; turns > 0; turns--)
    root_turn();
  begin_persistent(&root.server);
  for (;;)
    root_turn();
}

static void run_start(void) {
  static char in[16], out[16], extra[16], big[5000], unlink[] = "AFAR_UNLINK=/x";
  static char *values[] = {"0", "1", "2", "", "-1", "x", "70", "4294967296", "99999999999999999999", "3"};
  snprintf(in, sizeof in, "%s", values[random_below(10)]);
  snprintf(out, sizeof out, "%s", values[random_below(10)]);
  snprintf(extra, sizeof extra, "%s", values[random_below(10)]);
  memset(big, 'x', random_below(4999));
  uint64_t argc = random_below(6), stack[64], *at = stack;
  char *argv[] = {"stub", "0123456789abcdef0123456789abcdef", in, out, extra, big};
  *at++ = argc;
  for (uint64_t i = 0; i < argc; i++)
    *at++ = (uint64_t)argv[i];
  *at++ = 0;
  for (uint64_t i = random_below(20); i > 0; i--)
    *at++ = (uint64_t)(random_below(3) ? big : unlink);
  *at++ = 0, *at++ = 6, *at++ = 4096, *at++ = 0, *at++ = 0;
  clear_root();
  kernel_begin(FD_MOVED, 1);
  output.unchecked = 1; /* what it writes begins with a hello */
  afar_root(stack);
}

static void one(void) {
  static void (*const runs[])(void) = {run_child, run_root, run_start, run_child, run_root, run_child, run_root};
  random_state = (seed << 40) ^ (number * 0x9e3779b97f4a7c15u) ^ 0x1234567;
  uint64_t pick = random_below(256);
  shape = pick == 0 ? 2 : pick < 60 ? 0 : pick < 100 ? 3 : pick < 150 ? 4 : pick < 190 ? 5 : pick < 200 ? 6 : 1;
  if (shape == 4)
    input_of_ring();
  if (shape == 0 || shape == 3 || shape == 5)
    input_of_child();
  else
    input_of_root();
  if (setjmp(kernel.exit) == 0)
    runs[shape]();
  kernel_end();
}

int main(int argc, char **argv) {
  uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : 100000, first = 0;
  seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
  if (argc > 3) /* only this one */
    first = strtoull(argv[3], NULL, 0), count = first + 1;
  __sanitizer_set_death_callback(say_where);
  kernel_init();
  struct timespec began, ended;
  clock_gettime(CLOCK_MONOTONIC, &began);
  for (number = first; number < count; number++)
    one();
  clock_gettime(CLOCK_MONOTONIC, &ended);
  double seconds = (double)(ended.seconds - began.seconds) + (double)(ended.nanoseconds - began.nanoseconds) / 1e9;
  printf("%llu inputs in %.1f s, %.0f/s: %llu system calls, %llu replies, %llu frames\n", (unsigned long long)count,
         seconds, (double)count / seconds, (unsigned long long)kernel.calls, (unsigned long long)output.replies,
         (unsigned long long)output.frames);
  printf("ended: %llu by the end of input, %llu not understood\n", (unsigned long long)kernel.exits[0],
         (unsigned long long)kernel.exits[1]);
  printf("1 passed, 0 failed, 0 skipped\n");
  return 0;
}
