/* pingpong socket|memory CALLS COUNT [CPU CPU]: two processes; COUNT times one sends 64 bytes for each of CALLS, the
 * other makes that many system calls and sends 16 bytes for each. Over a unix socket, blocking; or through shared
 * memory, looking until something is there. With CPUs, each process stays on its own. Prints the microseconds of one
 * round trip. */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 64, REPLY = 16, MOST = 65536, LOOKS = 2000 };

struct memory {
  _Alignas(64) atomic_uint asked;
  _Alignas(64) atomic_uint answered;
  _Alignas(64) char request[MOST];
  char reply[MOST];
};

static size_t calls, request_size, reply_size;

static void stay_on(const char *cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(atoi(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

static void take(int fd, char *buffer, size_t length) {
  for (ssize_t count; length > 0; length -= (size_t)count)
    if ((count = read(fd, buffer, length)) <= 0)
      exit(1);
}

static void give(int fd, const char *buffer, size_t length) {
  for (ssize_t count; length > 0; length -= (size_t)count)
    if ((count = write(fd, buffer, length)) <= 0)
      exit(1);
}

static void make_calls(void) {
  for (size_t i = 0; i < calls; i++)
    syscall(SYS_getpid);
}

static void answer_socket(int fd) {
  static char buffer[MOST];
  for (;;) {
    take(fd, buffer, request_size);
    make_calls();
    give(fd, buffer, reply_size);
  }
}

static void ask_socket(int fd) {
  static char buffer[MOST];
  give(fd, buffer, request_size);
  take(fd, buffer, reply_size);
}

static void look_for(atomic_uint *place, unsigned value) {
  for (int looks = 0; atomic_load_explicit(place, memory_order_acquire) != value; looks++)
    if (looks % LOOKS == LOOKS - 1)
      sched_yield();
}

static void answer_memory(struct memory *m) {
  static char buffer[MOST];
  for (unsigned turn = 1;; turn++) {
    look_for(&m->asked, turn);
    memcpy(buffer, m->request, request_size);
    make_calls();
    memcpy(m->reply, buffer, reply_size);
    atomic_store_explicit(&m->answered, turn, memory_order_release);
  }
}

static void ask_memory(struct memory *m, unsigned turn) {
  static char buffer[MOST];
  memcpy(m->request, buffer, request_size);
  atomic_store_explicit(&m->asked, turn, memory_order_release);
  look_for(&m->answered, turn);
  memcpy(buffer, m->reply, reply_size);
}

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void run(int by_memory, int fd, struct memory *memory, unsigned from, unsigned count) {
  for (unsigned turn = from; turn < from + count; turn++)
    by_memory ? ask_memory(memory, turn) : ask_socket(fd);
}

int main(int argc, char **argv) {
  if (argc < 4)
    return 2;
  int by_memory = strcmp(argv[1], "memory") == 0, pair[2];
  calls = strtoul(argv[2], NULL, 10), request_size = calls * REQUEST, reply_size = calls * REPLY;
  unsigned count = (unsigned)strtoul(argv[3], NULL, 10);
  if (request_size > MOST || count == 0)
    return 2;
  struct memory *memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
    return 1;
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc > 5)
      stay_on(argv[5]);
    by_memory ? answer_memory(memory) : answer_socket(pair[1]);
  }
  if (argc > 5)
    stay_on(argv[4]);
  run(by_memory, pair[0], memory, 1, count / 10 + 1);
  double start = now();
  run(by_memory, pair[0], memory, count / 10 + 2, count);
  printf("%.4f\n", (now() - start) / count * 1e6);
  kill(child, SIGKILL);
  return 0;
}
