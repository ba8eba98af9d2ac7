/* spawn COUNT SIDE PROGRAM ARGUMENT...   vfork, execve and wait, stdin and the outputs from and to /dev/null; COUNT
 *                                        times, up to SIDE of them at a time
 * spawn COUNT clone                      clone(CLONE_VM) with a stack, exit, waitid, one after the other
 * Prints the microseconds of one. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STACK = 16384 };

extern char **environ;

static int null;

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void start(char **argv) {
  pid_t pid = vfork();
  if (pid == 0) {
    for (int fd = 0; fd < 3; fd++)
      dup2(null, fd);
    execve(argv[0], argv, environ);
    _exit(127);
  }
  if (pid < 0)
    exit(1);
}

static void await(void) {
  int status;
  if (wait(&status) < 0 || status != 0)
    exit(1);
}

static void programs(int count, int side, char **argv) {
  int running = 0;
  for (int started = 0; started < count || running > 0;) {
    if (started < count && running < side) {
      start(argv);
      started++, running++;
    } else {
      await();
      running--;
    }
  }
}

static int end_at_once(void *unused) {
  (void)unused;
  _exit(0);
}

static void clones(int count) {
  static char stack[STACK] __attribute__((aligned(16)));
  for (int i = 0; i < count; i++) {
    siginfo_t info;
    pid_t pid = clone(end_at_once, stack + STACK, CLONE_VM | SIGCHLD, NULL);
    if (pid < 0 || waitid(P_PID, (id_t)pid, &info, WEXITED) < 0)
      exit(1);
  }
}

int main(int argc, char **argv) {
  int count = argc > 2 ? atoi(argv[1]) : 0, clone_only = argc == 3 && strcmp(argv[2], "clone") == 0;
  null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (count <= 0 || null < 0 || (!clone_only && (argc < 4 || atoi(argv[2]) <= 0)))
    return 2;
  clone_only ? clones(1) : programs(1, 1, argv + 3);
  double begin = now();
  clone_only ? clones(count) : programs(count, atoi(argv[2]), argv + 3);
  printf("%.4f\n", (now() - begin) / count * 1e6);
  return 0;
}
