/* How long the host has said nothing. A timer tells, so that nobody looks at a clock each time that something comes. */
#include "root.h"

enum { NOTHING = 2 /* halves without a word, and the host counts as gone */ };

static void arm(void) {
  struct timespec times[2] = {{0, 0}, {root.silence / 2, root.silence % 2 * 500000000}}; /* interval, first */
  root.heard = 0;
  SYS(NR_TIMERFD_SETTIME, root.timer, 0, times, NULL);
}

int64_t silence_set(uint64_t seconds) {
  if (seconds > INT32_MAX / 1000)
    return -EINVAL;
  root.silence = (int32_t)seconds;
  silence_broken();
  return 0;
}

void silence_broken(void) {
  root.quiet = 0;
  arm();
}

void silence_half(void) {
  root.quiet = root.heard ? 0 : root.quiet + 1;
  if (root.quiet == NOTHING)
    root_exit(0);
  arm();
}
