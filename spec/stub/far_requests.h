/* Requests, and what they make on the far side: memory, fds, channels, children. */
#ifndef FAR_REQUESTS_H
#define FAR_REQUESTS_H

#include "far.h"

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
  if (!f)
    return "";
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
  struct afar_start start = {flags, ppid, 20, SOL_SOCKET, SCM_RIGHTS, {-1, -1}, -1, 0, 0};
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
