/* host_fuzz COUNT [SEED [FIRST]]: conversations between the bindings and a far side that is right, broken or hostile.
 *
 * Each input is one conversation: noise, hello, then random acts of both sides, until the stream ends or all objects
 * are collected. The bytes of the far side come in pieces of any size. What is looked for: an error that a sanitizer
 * finds; a hang; memory that stays; a completion that never comes, or comes twice; anything that the host sends against
 * the protocol. A quarter of the far sides do nothing wrong: then all answers must also be the right ones, and no
 * stream may end. Input number N of a seed is the same everywhere: what failed is said with its number, and FIRST
 * repeats it. */
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "fuzz_far.h"
#include "fuzz_host.h"
#include "fuzz_ring.h"
#include "fuzz_session.h"
#include "fuzz_world.h"

enum { PATIENCE = 20 /* seconds, of a thousand inputs */, WORKERS = 64, SMALL = 256 /* bytes */ };

/* Of the sanitizers' runtime; not every compiler brings the headers. */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));
void __sanitizer_set_death_callback(void (*callback)(void));
void __ubsan_on_report(void);
const char *__asan_default_options(void);

void __ubsan_on_report(void) {
  where();
}

/* What is freed is soon used again: that is seen all the same, as the inputs are small. */
const char *__asan_default_options(void) {
  return "malloc_context_size=4:max_malloc_fill_size=0:quarantine_size_mb=4:thread_local_quarantine_size_kb=64";
}

static void on_alarm(int signal) {
  (void)signal;
  wrong(__LINE__, "it goes on");
}

/* ---- memory: what the bindings hold is all but what Lua holds ---- */

static volatile long blocks; /* the compiler thinks that it knows what malloc does */
static long lua_blocks;

static void on_malloc(const volatile void *at, size_t size) {
  (void)at, (void)size;
  blocks++;
}

static void on_free(const volatile void *at) {
  blocks -= at != NULL;
}

/* Small blocks are kept for the next one of their size: most are strings. The streams are larger, and watched. */
static void *spare[SMALL / 16 + 1];

static void *small_take(size_t size) {
  void **at = spare[(size + 15) / 16];
  if (!at)
    return malloc((size + 15) & ~(size_t)15);
  spare[(size + 15) / 16] = *at;
  return at;
}

static void small_give(void *at, size_t size) {
  *(void **)at = spare[(size + 15) / 16];
  spare[(size + 15) / 16] = at;
}

static void *lua_memory(void *ud, void *at, size_t old, size_t size) {
  (void)ud;
  if (at && old > SMALL && size > SMALL)
    return realloc(at, size);
  lua_blocks -= blocks;
  void *fresh = size == 0 ? NULL : size > SMALL ? malloc(size) : small_take(size);
  if (at && fresh)
    memcpy(fresh, at, old < size ? old : size);
  if (at && old > SMALL)
    free(at);
  else if (at)
    small_give(at, old);
  lua_blocks += blocks;
  return fresh;
}

/* ---- one conversation ---- */

static void flush_far(void) {
  for (int i = f.side_count - 1; i >= 0; i--) {
    struct side *side = &f.sides[i];
    for (uint32_t number = 0; side->root && number < LINES; number++)
      if (!side->far.lines[number].ended && !(i == 0 && number == 0 && root_ring.ring))
        line_flush(&side->far, number);
    deliver(side);
  }
  for (int i = 0; i < f.side_count; i++)
    if (!f.sides[i].root && is_open(&f.sides[i]))
      opened(&f.sides[i]);
  if (one_in(&f.chance, 4))
    channel_on_credit(f.carrier, below(&f.chance, 1000));
}

static void some_act(void) {
  static void (*const acts[])(void) = {
      do_channel,   do_submit,       do_submit,      do_submit,     do_cancel,        do_channel_call, do_pump,
      do_pair,      do_channel_call, do_stream_call, do_task_call,  do_wait_for_task, do_drop,         far_answers,
      far_answers,  far_answers,     far_answers,    far_sends,     far_gives_credit, far_ends,        far_closes,
      far_hands_fd, far_pings,       far_does_wrong, do_call,       do_call,          ring_act,        ring_act,
      ring_act,     root_ring_act,   root_ring_act,  root_ring_act, session_act,      session_act};
  if (f.about_session && one_in(&f.chance, 2))
    return session_act();
  acts[below(&f.chance, sizeof acts / sizeof *acts)]();
}

static void end_conversation(void) {
  turn();
  seen->kept += f.sides[0].stream->state == STREAM_OPEN;
  MUST(!f.right || f.sides[0].stream->state == STREAM_OPEN || bytes_length(&f.sides[0].start) > 0);
  switch (below(&f.chance, 3)) {
  case 0:
    lower_end();
    break;
  case 1:
    method(f.sides[0].object, "close");
    act(1);
    break;
  }
  if (one_in(&f.chance, 2))
    turn();
}

static int converse(lua_State *L) {
  lua_settop(L, 0);
  lua_checkstack(L, 2 * OBJECTS);
  const char *const modules[] = {"loop", "stream", "task", "hello"};
  for (int i = 0; i < 4; i++)
    lua_getfield(L, LUA_REGISTRYINDEX, modules[i]);
  lower_open();
  channel_push(L, f.carrier);
  stream_over(&f.sides[0], 5, 0);
  uint32_t acts = 4 + below(&f.chance, one_in(&f.chance, 8) ? 100 : 28);
  while (!f.sides[0].root && f.sides[0].stream->state != STREAM_ENDED && bytes_length(&f.sides[0].start) > 0)
    flush_far();
  for (; acts > 0 && lua_gettop(L) < OBJECTS; acts--) {
    some_act();
    if (one_in(&f.chance, 2))
      flush_far();
    if (one_in(&f.chance, 2))
      turn();
  }
  end_conversation();
  return 0;
}

static void check_all_completed(void) {
  run_completions();
  for (uint64_t id = f.first_id; id <= f.loop->last_id; id++)
    MUST(f.ids[id - f.first_id] != 1 && f.ids[id - f.first_id] != 3);
}

/* Asked in one call. */
static int open_fds(void) {
  struct pollfd fds[32];
  int count = 0;
  for (int fd = 0; fd < 32; fd++)
    fds[fd] = (struct pollfd){.fd = fd};
  poll(fds, 32, 0);
  for (int fd = 0; fd < 32; fd++)
    count += !(fds[fd].revents & POLLNVAL);
  return count;
}

static void one_input(lua_State *L, uint64_t number) {
  f.number = number;
  f.chance.state = f.seed * 0x2545f4914f6cdd1du + number * 0x9e3779b97f4a7c15u;
  f.right = one_in(&f.chance, 4);
  f.about_session = one_in(&f.chance, 6);
  f.side_count = f.task_count = f.sent_count = 0;
  f.first_id = f.loop->last_id + 1;
  memset(f.ids, 0, sizeof f.ids);
  for (int i = 0; i < IDS; i++)
    f.want[i] = NOT_A_CALL;
  seen->right += (uint64_t)f.right;
  long before = blocks - lua_blocks;
  if (lua_cpcall(L, converse, NULL) != 0)
    wrong(__LINE__, lua_tostring(L, -1));
  take_lower();
  ring_takes();
  root_ring_takes();
  forget_task(0);
  session.state.task = NULL;
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, "loop");
  check_all_completed();
  lua_settop(L, 0);
  lower_free();
  close_pairs();
  root_ring_free();
  if (ring_free())
    MUST(open_fds() == f.fds);
  for (int i = 0; i < 2; i++) {
    far_free(&f.sides[i].far);
    bytes_free(&f.sides[i].start);
  }
  session_end();
  MUST(blocks - lua_blocks == before);
}

static lua_State *open_lua(void) {
  lua_State *L = lua_newstate(lua_memory, NULL);
  const struct afar_binding modules[] = {{"loop", luaopen_afar_loop},        {"stream", luaopen_afar_stream},
                                         {"channel", luaopen_afar_channel},  {"task", luaopen_afar_task},
                                         {"arena", luaopen_afar_arena},      {"hello", luaopen_afar_hello},
                                         {"greeting", luaopen_afar_greeting}};
  for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
    lua_pushcfunction(L, modules[i].open);
    lua_call(L, 0, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, modules[i].name);
  }
  return L;
}

static void watch_once(lua_State *L) {
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[1], "", 1) == 1);
  lua_getfield(L, 1, "unwatch");
  lua_getfield(L, 1, "watch");
  lua_pushinteger(L, pair[0]);
  lua_pushliteral(L, "r");
  lua_call(L, 2, 2);
  lua_insert(L, -2);
  take_pushed_id();
  turn();
  lua_call(L, 1, 0);
  close(pair[0]);
  close(pair[1]);
}

/* The loop keeps its queue, and libev its own: they are there before anything is counted. */
static void warm_up(lua_State *L) {
  f.L = L;
  f.loop = loop_of(L);
  f.first_id = loop_id(f.loop);
  f.ids[0] = 1;
  loop_complete(f.loop, f.first_id, 0, FATE_DONE);
  lua_getfield(L, LUA_REGISTRYINDEX, "loop");
  watch_once(L);
  turn();
  lua_settop(L, 0);
  ring_memory(L);
  f.fds = open_fds();
}

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Inputs first to last - 1, in a process of its own: what a hostile far side does to memory stays there. */
static pid_t start_worker(uint64_t first, uint64_t last) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid != 0)
    return pid;
  lua_State *L = open_lua();
  warm_up(L);
  for (uint64_t i = first; i < last; i++) {
    if ((i - first) % 1000 == 0)
      alarm(PATIENCE);
    one_input(L, i);
  }
  lua_close(L);
  exit(0);
}

static int run_workers(uint64_t first, uint64_t count) {
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  int workers = count < 10000 ? 1 : cpus < WORKERS ? (int)cpus : WORKERS, failed = 0;
  for (int i = 0; i < workers; i++)
    start_worker(first + count * (uint64_t)i / (uint64_t)workers,
                 first + count * (uint64_t)(i + 1) / (uint64_t)workers);
  for (int i = 0, status; i < workers; i++)
    failed |= wait(&status) < 0 || status != 0;
  return failed;
}

int main(int argc, char **argv) {
  uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
  f.seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
  uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
  __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
  __sanitizer_set_death_callback(where);
  signal(SIGALRM, on_alarm);
  seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  double start = now();
  int failed = run_workers(first, count);
  printf(
      "%llu inputs of seed %llu, %.0f a second: %llu streams opened, %llu first ones stayed open, %llu requests were "
      "answered; %llu far sides did nothing wrong\n",
      (unsigned long long)count, (unsigned long long)f.seed, (double)count / (now() - start),
      (unsigned long long)seen->open, (unsigned long long)seen->kept, (unsigned long long)seen->answers,
      (unsigned long long)seen->right);
  /* Conversations that never get anywhere would find nothing. */
  int shallow = count >= 1000 && (seen->open < count / 2 || seen->answers < count / 4);
  failed |= shallow;
  printf("%d passed, %d failed, 0 skipped\n", !failed, failed);
  return failed;
}
