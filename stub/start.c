/* From the first instruction of a root to its hello. */
#include "root.h"
#include "upgrade.h"

#define USAGE     64 /* exit status: also how a bootstrap finds out whether it can be executed at all */
#define AT_PAGESZ 6
#define TCGETS    0x5401
#define TCSETS    0x5402
#define O_NOCTTY  0400

_Noreturn void afar_root(uint64_t *stack);

/* A decimal number, or -1 */
static int number(const char *text) {
  int value = 0;
  if (!*text)
    return -1;
  for (; *text; text++) {
    if (*text < '0' || *text > '9' || value > 100000000)
      return -1;
    value = value * 10 + (*text - '0');
  }
  return value;
}

/* SIGPIPE, and what a terminal sends, except where that shall end us as it would have ended the program whose place we
 * take. */
static void ignore_signals(struct inherited *inherited, int from_terminal) {
  static const uint64_t ignore[4] = {SIG_IGN, 0, 0, 0};
  static const uint64_t terminal = 1 << (SIGHUP - 1) | 1 << (SIGINT - 1) | 1 << (SIGQUIT - 1) | 1 << (SIGTSTP - 1) |
                                   1 << (SIGTTIN - 1) | 1 << (SIGTTOU - 1) | 1 << (SIGTERM - 1);
  SYS(NR_RT_SIGACTION, SIGPIPE, ignore, NULL, 8);
  SYS(NR_RT_SIGPROCMASK, SIG_BLOCK, from_terminal ? &terminal : NULL, &inherited->sigmask, 8);
}

static void raise_nofile(struct inherited *inherited) {
  if (SYS(NR_PRLIMIT64, 0, RLIMIT_NOFILE, NULL, &inherited->nofile) < 0)
    return;
  struct rlimit raised = {inherited->nofile.hard, inherited->nofile.hard};
  SYS(NR_PRLIMIT64, 0, RLIMIT_NOFILE, &raised, NULL);
}

/* Something harmless at a standard fd that was the stream: /dev/null, or the end of a pipe without another. */
static void fill(int fd, int is_out) {
  int pipe[2];
  int64_t other = sys_open("/dev/null", O_RDWR | O_CLOEXEC);
  if (other < 0 && sys_pipe2(pipe, O_CLOEXEC) == 0) {
    sys_close(pipe[!is_out]);
    other = pipe[is_out];
  }
  if (other == fd)
    sys_fcntl(fd, F_SETFD, 0);
  if (other < 0 || other == fd)
    return;
  sys_dup3((int)other, fd, 0);
  sys_close((int)other);
}

static int move(int fd, int is_out) {
  int moved = root_zone(fd);
  if (moved < 0)
    sys_exit(1);
  if (fd <= 2)
    fill(fd, is_out);
  return moved;
}

static void take_streams(int in, int out) {
  int new_in = move(in, 0);
  root_init(new_in, in == out ? new_in : move(out, 1));
}

/* A terminal (a serial line, say) would hold back, change and echo what it passes. Whether it is one. */
static int make_raw(int fd) {
  uint32_t termios[9]; /* input, output, control and local modes; the line's number; 19 characters */
  if (SYS(NR_IOCTL, fd, TCGETS, termios) < 0)
    return 0;
  termios[0] = termios[1] = termios[3] = 0;
  termios[5] = 1u << 24; /* MIN 1, TIME 0 */
  SYS(NR_IOCTL, fd, TCSETS, termios);
  return 1;
}

/* Who writes to a pseudoterminal that is full is at times never woken: its reader does that before the kernel has freed
 * what was read. So we must not block there, and look again ourselves; which takes an open file of our own, as others
 * who have this one rely on its blocking. Where it can't be opened we block. */
static void reopen(int fd) {
  char path[] = "/proc/self/fd/00";
  if (fd > 99)
    return;
  path[sizeof path - 3] += (char)(fd / 10);
  path[sizeof path - 2] += (char)(fd % 10);
  int64_t own = sys_open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (own < 0)
    return;
  sys_dup3((int)own, fd, O_CLOEXEC);
  sys_close((int)own);
}

static void unlink_self(char **environ) {
  static const char name[] = "AFAR_UNLINK=";
  for (; *environ; environ++) {
    size_t i = 0;
    while (i < sizeof name - 1 && (*environ)[i] == name[i])
      i++;
    if (i == sizeof name - 1)
      SYS(NR_UNLINKAT, AT_FDCWD, *environ + i, 0);
  }
}

static void read_stack(uint64_t *stack, struct inherited *inherited) {
  inherited->argv = (char **)(stack + 1);
  inherited->environ = inherited->argv + stack[0] + 1;
  uint64_t *at = (uint64_t *)inherited->environ;
  while (*at++ != 0)
    ;
  for (; at[0] != 0; at += 2)
    if (at[0] == AT_PAGESZ)
      inherited->page_size = (uint32_t)at[1];
}

static _Noreturn void serve(const struct inherited *inherited, const char *marker, size_t length) {
  mux_put(marker, length);
  hello_put(inherited);
  for (;;)
    root_turn();
}

/* A program that somebody else has started: all that it has is as it was given, and it is nobody's child that we know.
 */
static _Noreturn void be_called(struct inherited *inherited) {
  char marker[32];
  ignore_signals(inherited, 0);
  raise_nofile(inherited);
  int fd = callback_connect(inherited->argv[0] ? inherited->argv[0] : "afar");
  take_streams(fd, fd);
  callback_marker(marker);
  serve(inherited, marker, sizeof marker);
}

void afar_root(uint64_t *stack) {
  struct inherited inherited = {0};
  if (callback_is()) {
    read_stack(stack, &inherited);
    be_called(&inherited);
  }
  if (stack[0] == 2)
    upgrade_run(number((char *)stack[2]));
  if (stack[0] < 4)
    sys_exit(USAGE);
  read_stack(stack, &inherited);
  char **argv = inherited.argv;
  int in = number(argv[2]), out = number(argv[3]), extra = stack[0] > 4 ? number(argv[4]) : -1;
  if (in < 0 || out < 0)
    sys_exit(USAGE);
  ignore_signals(&inherited, 1);
  raise_nofile(&inherited);
  if (extra >= 0 && extra != in && extra != out)
    sys_close(extra);
  make_raw(in);
  int is_terminal = make_raw(out);
  take_streams(in, out);
  if (is_terminal && root.out != root.in) /* else epoll has it already */
    reopen(root.out);
  if (in != 0 || out != 1)
    sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
  unlink_self(inherited.environ);
  size_t marker = 0;
  while (argv[1][marker])
    marker++;
  serve(&inherited, argv[1], marker);
}
