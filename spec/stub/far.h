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

/* ---- requests ---- */

#define REQ(...)                (&(struct afar_request){__VA_ARGS__})
#define ARGS(...)               .args = {__VA_ARGS__}
#define RES(distance, constant) ((uint64_t)(distance) << 56 | ((uint64_t)(constant)&0xffffffffffffff))
#define KIND(i, kind)           ((kind) << 2 * (i))
#define NOBODY                  0x10 /* an address where nothing is */

/* Queues nothing: each request is one frame. Its tag is the next. */
static uint32_t send_request(struct far *far, uint32_t channel, const struct afar_request *request) {
  struct afar_request copy = *request;
  copy.tag = ++far->tag;
  send_data(far, channel, &copy, sizeof copy);
  return copy.tag;
}

/* The next reply of the channel, which must be for `tag`; READ's payload goes to `to`. */
static int64_t reply(struct far *far, uint32_t channel, uint32_t tag, void *to) {
  struct afar_reply reply;
  take(far, channel, &reply, sizeof reply);
  CHECK_EQ(reply.tag, tag);
  CHECK(reply.length == 0 || to);
  if (reply.length > 0)
    take(far, channel, to, reply.length);
  if (reply.length > 0)
    CHECK_EQ(reply.length, reply.result);
  return reply.result;
}

static int64_t ask(struct far *far, uint32_t channel, const struct afar_request *request) {
  return reply(far, channel, send_request(far, channel, request), NULL);
}

static int64_t call_on(struct far *far, uint32_t channel, int which, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                       uint64_t e) {
  return ask(far, channel, REQ(.nr = nr(far, which), ARGS(a, b, c, d, e)));
}

#define CALL_6(far, channel, which, a, b, c, d, e, ...)                                                                \
  call_on(far, channel, which, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e))
#define CALL(far, channel, which, ...) CALL_6(far, channel, which, __VA_ARGS__, 0, 0, 0, 0, 0)

static uint32_t send_write(struct far *far, uint32_t channel, struct afar_request *request, const void *bytes) {
  request->op = AFAR_OP_WRITE;
  uint32_t tag = send_request(far, channel, request);
  send_data(far, channel, bytes, request->args[1]);
  return tag;
}

static int64_t poke(struct far *far, uint32_t channel, uint64_t to, const void *bytes, size_t length) {
  return reply(far, channel, send_write(far, channel, REQ(ARGS(to, length)), bytes), NULL);
}

static int64_t peek(struct far *far, uint32_t channel, uint64_t from, void *to, size_t length) {
  return reply(far, channel, send_request(far, channel, REQ(.op = AFAR_OP_READ, ARGS(from, length))), to);
}

static uint64_t arena(const struct far *far, uint64_t offset) {
  return far->hello.arena + offset;
}

/* Attaches both ends' window to 64 KiB unless told. */
static int64_t attach(struct far *far, uint32_t channel, int fd, int flags, uint64_t to_host, uint64_t from_host) {
  memset(&far->channel[channel], 0, sizeof far->channel[channel]);
  return ask(far, 0, REQ(.op = AFAR_OP_ATTACH, ARGS(channel, (uint64_t)fd, (uint64_t)flags, to_host, from_host)));
}

static void pipe_there(struct far *far, int fds[2], int flags) {
  CHECK_EQ(CALL(far, 0, PIPE2, arena(far, 0), O_CLOEXEC | flags), 0);
  CHECK_EQ(peek(far, 0, arena(far, 0), fds, 8), 8);
}

static void socketpair_there(struct far *far, int fds[2]) {
  CHECK_EQ(CALL(far, 0, SOCKETPAIR, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, arena(far, 0)), 0);
  CHECK_EQ(peek(far, 0, arena(far, 0), fds, 8), 8);
}

/* ---- what /proc says ---- */

static int count_fds(pid_t pid) {
  char command[80];
  int count = -1;
  snprintf(command, sizeof command, "ls /proc/%d/fd | wc -l", pid);
  FILE *f = popen(command, "r");
  if (fscanf(f, "%d", &count) != 1)
    count = -1;
  pclose(f);
  return count;
}

/* The value of a line of /proc/PID/status, as text. */
static const char *status_line(pid_t pid, const char *name) {
  static char line[200];
  char path[40];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *f = fopen(path, "r");
  CHECK(f);
  size_t length = strlen(name);
  while (fgets(line, sizeof line, f))
    if (strncmp(line, name, length) == 0 && line[length] == ':') {
      fclose(f);
      return line + length + 1;
    }
  fclose(f);
  return "";
}

static void clone_block(struct far *far, uint64_t block, uint32_t flags, int ppid) {
  struct afar_start start = {flags, ppid, 20, SOL_SOCKET, SCM_RIGHTS, {-1, -1}, -1, 0};
  uint64_t top[2] = {far->hello.entry, block};
  CHECK_EQ(poke(far, 0, block, &start, sizeof start), sizeof start);
  CHECK_EQ(poke(far, 0, block + far->hello.block_size - 16, top, 16), 16);
}

/* A copied table of fds: neither side keeps what is the other's. */
static void part_fds(struct far *far, uint32_t channel, uint64_t block, int is_alive) {
  struct afar_start start;
  CHECK_EQ(peek(far, 0, block, &start, sizeof start), sizeof start);
  CHECK_EQ(CALL(far, 0, CLOSE, start.fd[1]), 0);
  if (is_alive)
    CHECK_EQ(CALL(far, channel, CLOSE, start.fd[0]), 0);
  for (int fd = AFAR_FD_ZONE; is_alive && fd < AFAR_FD_ZONE + 30; fd++)
    CALL(far, channel, CLOSE, fd);
}

#define CLONE_VM_    0x100ull
#define CLONE_FILES_ 0x400ull

/* Clones a child of the root as channel `channel`, in one chain; returns its pid. */
static pid_t clone_child(struct far *far, uint32_t channel, uint64_t flags, uint32_t start_flags, int ppid) {
  uint64_t block = arena(far, 4096 + channel * 2ull * far->hello.block_size), fds = block + 24;
  clone_block(far, block, start_flags, ppid);
  memset(&far->channel[channel], 0, sizeof far->channel[channel]);
  uint32_t tag = send_request(
      far, 0, REQ(.nr = nr(far, SOCKETPAIR), .flags = AFAR_EXPECT, ARGS(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)));
  send_request(far, 0,
               REQ(.nr = nr(far, CLONE), .flags = AFAR_CHAIN, .if_ok = 1,
                   ARGS((runner ? 0 : flags) | SIGCHLD, block + far->hello.block_size - 16)));
  send_request(far, 0,
               REQ(.op = AFAR_OP_ATTACH, .flags = AFAR_CHAIN, .if_ok = 1, .kinds = KIND(1, AFAR_LOAD32),
                   ARGS(channel, fds, AFAR_ATTACH_READ | AFAR_ATTACH_WRITE | AFAR_ATTACH_SOCKET, 1 << 18, 1 << 18)));
  CHECK_EQ(reply(far, 0, tag, NULL), 0);
  int64_t pid = reply(far, 0, tag + 1, NULL);
  CHECK(pid > 0);
  CHECK(reply(far, 0, tag + 2, NULL) >= AFAR_FD_ZONE);
  if (!(flags & CLONE_FILES_) || runner)
    part_fds(far, channel, block, ppid != 1);
  return (pid_t)pid;
}

#endif
