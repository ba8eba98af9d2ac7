/* direct calls COUNT        getppid, COUNT times. Prints the microseconds of one.
 * direct files COUNT PATH   open, fstat, read and close of a file of 4 KB, and a copy of what was read, as a string of
 *                           Lua's is one; COUNT times. Prints the microseconds of one. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 4096 };

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void make_calls(int count) {
  for (int i = 0; i < count; i++)
    syscall(SYS_getppid);
}

static void read_files(int count, const char *path) {
  static char buffer[SIZE];
  for (int i = 0; i < count; i++) {
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) < 0 || read(fd, buffer, SIZE) != SIZE)
      exit(1);
    close(fd);
    char *copy = malloc(SIZE);
    memcpy(copy, buffer, SIZE);
    __asm__ volatile("" : : "r"(copy) : "memory"); /* it is really made */
    free(copy);
  }
}

int main(int argc, char **argv) {
  int count = argc > 2 ? atoi(argv[2]) : 0, files = argc > 3 && strcmp(argv[1], "files") == 0;
  if (count <= 0 || (!files && strcmp(argv[1], "calls") != 0))
    return 2;
  files ? read_files(count / 10 + 1, argv[3]) : make_calls(count / 10 + 1);
  double start = now();
  files ? read_files(count, argv[3]) : make_calls(count);
  printf("%.4f\n", (now() - start) / count * 1e6);
  return 0;
}
