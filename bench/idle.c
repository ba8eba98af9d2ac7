/* idle COUNT: that many clones that share memory and fds with their parent, each with a stack of 16 KiB, and wait for
 * ever. Says "ready"; all end with stdin. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK = 16384 };

static int wait_for_ever(void *unused) {
  (void)unused;
  while (pause())
    ;
  return 0;
}

static char *new_stack(void) {
  char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED)
    exit(1);
  return stack;
}

int main(int argc, char **argv) {
  char byte;
  int count = argc > 1 ? atoi(argv[1]) : 0;
  pid_t *pids = calloc((size_t)count + 1, sizeof *pids);
  for (int i = 0; i < count; i++)
    if ((pids[i] = clone(wait_for_ever, new_stack() + STACK, CLONE_VM | CLONE_FILES | SIGCHLD, NULL)) < 0)
      return 1;
  puts("ready");
  fflush(stdout);
  while (read(0, &byte, 1) > 0)
    ;
  for (int i = 0; i < count; i++)
    kill(pids[i], SIGKILL);
  while (wait(NULL) > 0)
    ;
  return 0;
}
