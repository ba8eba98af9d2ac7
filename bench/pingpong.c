/* pingpong socket|memory CALLS COUNT [CPU CPU]
 * pingpong command COUNT PROGRAM ARGUMENT...
 *
 * socket, memory: two processes; COUNT times one sends 64 bytes for each of CALLS, the other makes that many system
 * calls (getppid) and sends 16 bytes for each. Over a unix socket, where the one that asks waits with epoll and the
 * other in its read; or through shared memory, where both look until something is there. With CPUs, each process stays
 * on its own.
 * command: the other one is any program that sends back what it gets, as `ssh host cat` does: 64 bytes each way.
 * Prints the microseconds of one round trip. It ends after some seconds, whatever COUNT is. */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 64, REPLY = 16, MOST = 65536, LOOKS = 2000, SECONDS = 3 };

struct memory {
  _Alignas(64) atomic_uint asked;
  _Alignas(64) atomic_uint answered;
  _Alignas(64) char request[MOST];
  char reply[MOST];
};

static size_t calls, request_size, reply_size;
static struct memory *memory; /* NULL: a socket */
static int out, in, epoll;

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
    syscall(SYS_getppid);
}

static void answer_socket(int fd) {
  static char buffer[MOST];
  for (;;) {
    take(fd, buffer, request_size);
    make_calls();
    give(fd, buffer, reply_size);
  }
}

static void ask_socket(void) {
  static char buffer[MOST];
  struct epoll_event event;
  give(out, buffer, request_size);
  if (epoll_wait(epoll, &event, 1, -1) != 1)
    exit(1);
  take(in, buffer, reply_size);
}

static void look_for(atomic_uint *place, unsigned value) {
  for (int looks = 0; atomic_load_explicit(place, memory_order_acquire) != value; looks++)
    if (looks % LOOKS == LOOKS - 1)
      sched_yield();
}

static void answer_memory(void) {
  static char buffer[MOST];
  for (unsigned turn = 1;; turn++) {
    look_for(&memory->asked, turn);
    memcpy(buffer, memory->request, request_size);
    make_calls();
    memcpy(memory->reply, buffer, reply_size);
    atomic_store_explicit(&memory->answered, turn, memory_order_release);
  }
}

static void ask_memory(unsigned turn) {
  static char buffer[MOST];
  memcpy(memory->request, buffer, request_size);
  atomic_store_explicit(&memory->asked, turn, memory_order_release);
  look_for(&memory->answered, turn);
  memcpy(buffer, memory->reply, reply_size);
}

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* How many were made: fewer when it takes too long. */
static unsigned run(unsigned from, unsigned count, double until) {
  for (unsigned done = 0; done < count; done++) {
    if (done % 64 == 63 && now() > until)
      return done;
    memory ? ask_memory(from + done) : ask_socket();
  }
  return count;
}

static void map_memory(void) {
  memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    exit(1);
}

static pid_t start_answerer(char **cpus) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
    exit(1);
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (cpus)
      stay_on(cpus[1]);
    memory ? answer_memory() : answer_socket(pair[1]);
  }
  if (cpus)
    stay_on(cpus[0]);
  in = out = pair[0];
  return child;
}

static pid_t start_command(char **argv) {
  int to[2], from[2];
  if (pipe(to) < 0 || pipe(from) < 0)
    exit(1);
  pid_t child = fork();
  if (child == 0) {
    dup2(to[0], 0);
    dup2(from[1], 1);
    for (int i = 0; i < 2; i++)
      close(to[i]), close(from[i]);
    execvp(argv[0], argv);
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  out = to[1], in = from[0];
  return child;
}

int main(int argc, char **argv) {
  int command = argc > 3 && strcmp(argv[1], "command") == 0;
  if (argc < 4)
    return 2;
  unsigned count = (unsigned)strtoul(argv[command ? 2 : 3], NULL, 10);
  calls = command ? 1 : strtoul(argv[2], NULL, 10);
  request_size = calls * REQUEST, reply_size = command ? REQUEST : calls * REPLY;
  if (request_size > MOST || count == 0)
    return 2;
  if (strcmp(argv[1], "memory") == 0)
    map_memory();
  pid_t child = command ? start_command(argv + 3) : start_answerer(argc > 5 ? argv + 4 : NULL);
  struct epoll_event event = {.events = EPOLLIN};
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (child < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, in, &event) < 0)
    return 1;
  unsigned first = run(1, count / 10 + 1, now() + SECONDS);
  double start = now();
  unsigned done = run(first + 1, count, start + SECONDS);
  printf("%.4f\n", (now() - start) / done * 1e6);
  close(out);
  if (!command)
    kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return 0;
}
