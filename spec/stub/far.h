/* A host as small as a test needs: starts a stub, speaks frames with it, and keeps what comes by channel.
 * A function that waits gives up after PATIENCE seconds and fails the test: it jumps out of it. */
#ifndef FAR_H
#define FAR_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "protocol.h"

#define MARKER   "0123456789abcdef0123456789abcdef"
#define CHANNELS 8
#define PATIENCE 20

static const char *stub_path, *runner;
static jmp_buf out_of_test;
static char reason[400];

_Noreturn static void fail(const char *file, int line, const char *what) {
  (void)file;
  snprintf(reason, sizeof reason, "line %d: %s", line, what);
  longjmp(out_of_test, 1);
}

_Noreturn static void skip(const char *why) {
  snprintf(reason, sizeof reason, "%s", why);
  longjmp(out_of_test, 2);
}

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition))                                                                                                  \
      fail(__FILE__, __LINE__, #condition);                                                                            \
  } while (0)

#define CHECK_EQ(a, b)                                                                                                 \
  do {                                                                                                                 \
    long long a_ = (long long)(a), b_ = (long long)(b);                                                                \
    if (a_ != b_) {                                                                                                    \
      char text_[200];                                                                                                 \
      snprintf(text_, sizeof text_, "%s is %lld, not %s (%lld)", #a, a_, #b, b_);                                      \
      fail(__FILE__, __LINE__, text_);                                                                                 \
    }                                                                                                                  \
  } while (0)

/* ---- the numbers that tests use, by architecture ---- */

enum {
  GETPID,
  GETPPID,
  CLOSE,
  PIPE2,
  READ,
  WRITE,
  SOCKETPAIR,
  CLONE,
  EXECVE,
  NANOSLEEP,
  SENDMSG,
  EXIT_GROUP,
  PRCTL,
  FCNTL,
  OPENAT,
  MUNMAP,
  MMAP,
  GETSID,
  SETSOCKOPT,
  CLOSE_RANGE,
  WAIT4,
  NUMBERS
};

static const uint16_t numbers[2][NUMBERS] = {
    {39, 110, 3, 293, 0, 1, 53, 56, 59, 35, 46, 231, 157, 72, 257, 11, 9, 124, 54, 436, 61},
    {172, 173, 57, 59, 63, 64, 199, 220, 221, 101, 211, 94, 167, 25, 56, 215, 222, 156, 208, 436, 260},
};

/* ---- a stub and what has come from it ---- */

struct stream_in {
  char *bytes;
  size_t length, start;
  uint64_t credit; /* given to us */
  int eof, closed; /* eof: 1 + errno */
  int fds[64], fd_count;
};

struct far {
  pid_t pid;
  int in, out; /* ours */
  struct afar_hello hello;
  char *more;
  uint32_t tag;
  struct stream_in channel[CHANNELS];
  int pongs;
  uint32_t pong;
  int ended;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(double seconds) {
  struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&t, NULL);
}

static uint16_t nr(const struct far *far, int which) {
  return numbers[far->hello.machine == 183][which];
}

/* Reads exactly that much: 1; the end came before it: 0. */
static int get(struct far *far, void *to, size_t length) {
  double until = now() + PATIENCE;
  for (size_t have = 0; have < length;) {
    struct pollfd p = {far->in, POLLIN, 0};
    CHECK(poll(&p, 1, PATIENCE * 1000) > 0 && now() < until);
    ssize_t count = read(far->in, (char *)to + have, length - have);
    if (count <= 0)
      return 0;
    have += (size_t)count;
  }
  return 1;
}

/* What goes without waiting. */
static ssize_t send_now(int fd, const void *bytes, size_t length) {
  ssize_t count = send(fd, bytes, length, MSG_DONTWAIT);
  if (count < 0 && errno == ENOTSOCK)
    count = write(fd, bytes, length < 4096 ? length : 4096);
  return count < 0 && errno == EAGAIN ? 0 : count;
}

static int take_frame(struct far *far);

/* A host never stops reading while it writes, or both could wait for each other. */
static void put(struct far *far, const void *bytes, size_t length) {
  const char *at = bytes;
  while (length > 0) {
    struct pollfd p[2] = {{far->out, POLLOUT, 0}, {far->in, POLLIN, 0}};
    CHECK(poll(p, 2, PATIENCE * 1000) > 0);
    ssize_t count = p[0].revents ? send_now(far->out, at, length) : 0;
    if (count == 0)
      CHECK(take_frame(far));
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET))
      return; /* it has ended amid what it refuses; who expects more of it sees that */
    CHECK(count >= 0);
    at += count;
    length -= (size_t)count;
  }
}

struct options {
  int pipes;             /* on fds 0 and 1, instead of one socket */
  const char *env[4];    /* added to the environment */
  const char *extra_arg; /* fourth argument */
  int keep_fd;           /* to be inherited, when extra_arg is set */
  void (*before)(void);  /* in the child, right before exec */
};

static void exec_stub(int in, int out, const struct options *o) {
  char in_text[12], out_text[12];
  snprintf(in_text, sizeof in_text, "%d", in);
  snprintf(out_text, sizeof out_text, "%d", out);
  const char *argv[8], **at = argv;
  if (runner)
    *at++ = runner;
  *at++ = stub_path, *at++ = MARKER, *at++ = in_text, *at++ = out_text;
  *at++ = o->extra_arg;
  *at = NULL;
  if (o->before)
    o->before();
  for (int i = 0; i < 4 && o->env[i]; i++)
    putenv((char *)o->env[i]);
  execv(argv[0], (char **)argv);
  _exit(127);
}

/* The stub's ends: pipes come as its fds 0 and 1, a socket keeps its number. */
static void spawn(struct far *far, const struct options *o) {
  int to[2], from[2];
  if (o->pipes)
    CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
  else
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to) == 0);
  fflush(stdout);
  far->pid = fork();
  if (far->pid == 0) {
    if (o->pipes) {
      dup2(to[0], 0), dup2(from[1], 1);
      exec_stub(0, 1, o);
    }
    fcntl(to[0], F_SETFD, 0);
    exec_stub(to[0], to[0], o);
  }
  close(to[0]);
  far->out = far->in = to[1];
  if (o->pipes)
    close(from[1]), far->in = from[0];
}

static struct far *begin_with(const struct options *o) {
  char marker[32];
  struct far *far = calloc(1, sizeof *far);
  spawn(far, o);
  CHECK(get(far, marker, sizeof marker));
  CHECK(memcmp(marker, MARKER, 32) == 0);
  CHECK(get(far, &far->hello, sizeof far->hello));
  CHECK_EQ(far->hello.magic, AFAR_MAGIC);
  CHECK_EQ(far->hello.size, sizeof far->hello);
  far->more = malloc(far->hello.more + 1);
  CHECK(get(far, far->more, far->hello.more));
  return far;
}

static struct far *begin(void) {
  static const struct options plain;
  return begin_with(&plain);
}

/* The exit status once the stub has ended; 1000 + the signal that killed it. */
static int status_of(struct far *far) {
  int status, patience = PATIENCE * 100;
  while (waitpid(far->pid, &status, WNOHANG) == 0) {
    CHECK(patience-- > 0);
    nap(0.01);
  }
  far->pid = 0;
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void hang_up(struct far *far) {
  close(far->in);
  if (far->out != far->in)
    close(far->out);
  far->in = far->out = -1;
}

static void release(struct far *far) {
  for (int i = 0; i < CHANNELS; i++)
    free(far->channel[i].bytes);
  free(far->more);
  free(far);
}

/* Hangs up; the stub must then end by itself with status 0. */
static void end(struct far *far) {
  hang_up(far);
  CHECK_EQ(status_of(far), 0);
  release(far);
}

/* ---- frames ---- */

static void send_frame(struct far *far, uint32_t channel, int type, uint32_t value) {
  struct afar_frame frame = {channel, (uint32_t)type << 24 | value};
  put(far, &frame, sizeof frame);
}

static void send_data(struct far *far, uint32_t channel, const void *bytes, size_t length) {
  const char *at = bytes;
  while (length > 0) {
    size_t part = length < AFAR_FRAME_MAX ? length : AFAR_FRAME_MAX;
    send_frame(far, channel, AFAR_DATA, (uint32_t)part);
    put(far, at, part);
    at += part;
    length -= part;
  }
}

static void take_data(struct far *far, struct stream_in *in, size_t length) {
  in->bytes = realloc(in->bytes, in->length + length);
  CHECK(get(far, in->bytes + in->length, length));
  in->length += length;
}

/* Takes one frame: 1; the stream has ended: 0. */
static int take_frame(struct far *far) {
  struct afar_frame frame;
  if (!get(far, &frame, sizeof frame)) {
    far->ended = 1;
    return 0;
  }
  CHECK(frame.channel < CHANNELS);
  struct stream_in *in = &far->channel[frame.channel];
  uint32_t value = frame.word & 0xffffff;
  switch (frame.word >> 24) {
  case AFAR_DATA:
    CHECK(value > 0 && value <= AFAR_FRAME_MAX);
    take_data(far, in, value);
    break;
  case AFAR_CREDIT:
    in->credit += value;
    break;
  case AFAR_EOF:
    CHECK(!in->eof);
    in->eof = 1 + (int)value;
    break;
  case AFAR_CLOSE:
    in->closed++;
    break;
  case AFAR_PONG:
    far->pongs++;
    far->pong = value;
    break;
  case AFAR_FD:
    in->fds[in->fd_count++] = (int)value;
    break;
  default:
    CHECK(!"a known frame");
  }
  return 1;
}

static size_t there(const struct far *far, uint32_t channel) {
  return far->channel[channel].length - far->channel[channel].start;
}

static void take(struct far *far, uint32_t channel, void *to, size_t length) {
  struct stream_in *in = &far->channel[channel];
  while (there(far, channel) < length)
    CHECK(take_frame(far));
  memcpy(to, in->bytes + in->start, length);
  in->start += length;
}

/* Waits until `condition`, taking frames. */
#define UNTIL(far, condition)                                                                                          \
  while (!(condition))                                                                                                 \
  CHECK(take_frame(far))

#endif
