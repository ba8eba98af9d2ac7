/* spawn COUNT PROGRAM ARGUMENT...: vfork, execve and waitpid, COUNT times one after the other, stdin and the outputs
 * from and to /dev/null. Prints the microseconds of one. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static int spawn(char **argv, int null) {
  int status;
  pid_t pid = vfork();
  if (pid == 0) {
    for (int fd = 0; fd < 3; fd++)
      dup2(null, fd);
    execve(argv[0], argv, environ);
    _exit(127);
  }
  return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

int main(int argc, char **argv) {
  int count = argc > 2 ? atoi(argv[1]) : 0, null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (count <= 0 || null < 0 || spawn(argv + 2, null) < 0)
    return 2;
  double start = now();
  for (int i = 0; i < count; i++)
    if (spawn(argv + 2, null) < 0)
      return 1;
  printf("%.4f\n", (now() - start) / count * 1e6);
  return 0;
}
