// What the shell side of a bootstrap needs of a stub, and no more: without arguments status 64; else it unlinks
// AFAR_UNLINK, closes its fourth argument, says the marker and AFAR, and then is cat.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *text) {
  if (write(1, text, strlen(text)) < 0)
    exit(1);
}

int main(int argc, char **argv) {
  char bytes[4096];
  ssize_t n;

  if (argc < 2)
    return 64;
  if (getenv("AFAR_UNLINK"))
    unlink(getenv("AFAR_UNLINK"));
  if (argc > 4)
    close(atoi(argv[4]));
  say(argv[1]);
  say("AFAR\n");
  while ((n = read(0, bytes, sizeof bytes)) > 0)
    if (write(1, bytes, n) != n)
      return 1;
  return 0;
}
