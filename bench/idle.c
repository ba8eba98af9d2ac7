/* idle COUNT: that many forked processes that wait for the end of stdin, as their parent does. Says "ready". */
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

int main(int argc, char **argv) {
  char byte;
  for (int i = argc > 1 ? atoi(argv[1]) : 0; i > 0; i--) {
    pid_t pid = fork();
    if (pid < 0)
      return 1;
    if (pid == 0) {
      while (read(0, &byte, 1) > 0)
        ;
      _exit(0);
    }
  }
  puts("ready");
  fflush(stdout);
  while (read(0, &byte, 1) > 0)
    ;
  return 0;
}
