/* A process on this machine, as the far side: it has a socket to the host, and mostly a ring beside it. */
#ifndef FUZZ_RING_H
#define FUZZ_RING_H

#include <fcntl.h>
#include <sys/socket.h>

#include "arena.h"
#include "fuzz_world.h"

enum { LINE_OF_RING = 1, ARENA_SIZE = 1 << 20, RING_ADDRESS = 0x10000 };

static struct {
  struct far far;
  int fd; /* -1: its process has ended, or there is none */
  int made;
  struct afar_ring *ring; /* NULL: all goes over the socket */
  uint32_t head, tail;
  size_t by_socket; /* bytes of requests that are still to come there; behind them only bells */
  int spoiled;      /* the positions are no more what the host wrote */
} ring;

/* ---- the host's part ---- */

static void do_direct(void) {
  int pair[2];
  if (ring.made || f.task_count >= LINES)
    return;
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
  lua_getfield(f.L, 3, "direct");
  lua_pushinteger(f.L, pair[0]);
  lua_pushinteger(f.L, SLOTS);
  lua_pushinteger(f.L, READ_MOST);
  keep_task(make(3));
  ring.made = 1;
  ring.fd = pair[1];
  ring.ring = NULL;
  ring.head = ring.tail = 0;
  ring.by_socket = SIZE_MAX;
  ring.spoiled = 0;
  ring.far.chance = &f.chance;
  ring.far.right = f.right;
  ring.far.lines[LINE_OF_RING] =
      (struct line){.kind = LINE_TASK, .task = f.tasks[f.task_count - 1], .host_credit = UINT64_MAX};
  if (one_in(&f.chance, 4))
    return;
  method(f.task_objects[f.task_count - 1], "ring");
  lua_getfield(f.L, LUA_REGISTRYINDEX, "memory");
  ring.ring = arena_at(arena_check(f.L, -1), RING_ADDRESS, sizeof *ring.ring);
  lua_pushnumber(f.L, RING_ADDRESS);
  act(3);
  ring.by_socket = sizeof(struct afar_request);
}

/* ---- the process's part ---- */

static void take_ring(void) {
  uint32_t tail = ring.ring->to_stub_tail, size = sizeof ring.ring->to_stub;
  MUST(tail - ring.head <= size);
  for (uint32_t length = tail - ring.head; length > 0;) {
    uint32_t at = ring.head % size, part = size - at < length ? size - at : length;
    take_payload(&ring.far, LINE_OF_RING, (const char *)ring.ring->to_stub + at, part);
    ring.head += part;
    length -= part;
  }
  ring.ring->to_stub_head = ring.head;
}

static void ring_takes(void) {
  char buffer[4096];
  ssize_t count;
  if (ring.fd < 0)
    return;
  while ((count = recv(ring.fd, buffer, sizeof buffer, 0)) > 0) {
    size_t part = (size_t)count < ring.by_socket ? (size_t)count : ring.by_socket;
    take_payload(&ring.far, LINE_OF_RING, buffer, part);
    ring.by_socket -= part;
  }
  if (ring.ring && !ring.spoiled)
    take_ring();
}

static void give_ring(struct bytes *out) {
  uint32_t size = sizeof ring.ring->to_host, room = size - (ring.tail - ring.ring->to_host_head);
  size_t length = bytes_length(out);
  length = length < room ? length : room > size ? 0 : room;
  if (length > 0 && one_in(&f.chance, 3))
    length = 1 + below(&f.chance, (uint32_t)length);
  for (size_t i = 0; i < length; i++)
    ring.ring->to_host[(ring.tail + i) % size] = (uint8_t)bytes_head(out)[i];
  bytes_drop(out, length);
  ring.tail += (uint32_t)length;
  ring.ring->to_host_tail = ring.tail;
}

static void ring_gives(void) {
  struct bytes *out = &ring.far.lines[LINE_OF_RING].out;
  if (ring.fd < 0)
    return;
  if (ring.ring)
    return give_ring(out);
  ssize_t count = send(ring.fd, bytes_head(out), bytes_length(out), MSG_NOSIGNAL);
  if (count > 0)
    bytes_drop(out, (size_t)count);
}

static void ring_answers(void) {
  if (ring.fd >= 0)
    answer(&ring.far, LINE_OF_RING, 1 + below(&f.chance, REQUESTS));
}

/* One message with an fd; what it says is not always something that the host asked for. */
static void send_fd(struct afar_reply message) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.header), &ring.fd, sizeof ring.fd);
  struct iovec iov = {&message, sizeof message};
  struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  sendmsg(ring.fd, &header, MSG_NOSIGNAL);
}

static void ring_hands_fd(void) {
  struct line *line = &ring.far.lines[LINE_OF_RING];
  struct afar_reply message = {AFAR_TAG_FD, 0, (int64_t)below(&f.chance, 10)};
  if (ring.fd < 0 || !line->task || (!ring.ring && bytes_length(&line->out) > 0))
    return;
  struct bytes *ids = &line->task->fd_ids;
  if (bytes_length(ids) > 0 && !one_in(&f.chance, 4))
    memcpy(&message.result, bytes_head(ids), sizeof message.result);
  if (!f.right && one_in(&f.chance, 3))
    message.tag = one_in(&f.chance, 2) ? AFAR_TAG_BELL : below(&f.chance, 4);
  send_fd(message);
}

static void ring_rings(void) {
  struct afar_reply bell = {AFAR_TAG_BELL, 0, 0};
  if (ring.fd < 0 || !ring.ring)
    return;
  ring.ring->stub_asleep = below(&f.chance, 2);
  send(ring.fd, &bell, sizeof bell, MSG_NOSIGNAL);
}

static void ring_ends(void) {
  if (ring.fd < 0 || !one_in(&f.chance, 6))
    return;
  close(ring.fd);
  ring.fd = -1;
}

static void spoil_ring(struct chance *c, struct afar_ring *shared) {
  uint32_t *const words[] = {&shared->to_stub_tail, &shared->to_host_head, &shared->host_asleep,
                             &shared->to_host_tail, &shared->to_stub_head, &shared->stub_asleep};
  ring.spoiled = 1;
  if (one_in(c, 2))
    *words[below(c, 6)] = one_in(c, 2) ? ring.tail + below(c, 64) : (uint32_t)odd_value(c);
  else
    shared->to_host[(ring.tail - 1 - below(c, 64)) % sizeof shared->to_host] ^= (uint8_t)(1 << below(c, 8));
}

static void ring_does_wrong(void) {
  struct chance *c = &f.chance;
  if (f.right || ring.fd < 0)
    return;
  if (ring.ring && one_in(c, 2))
    return spoil_ring(c, ring.ring);
  if (one_in(c, 2))
    return odd_reply(&ring.far, LINE_OF_RING);
  struct afar_reply message = {(uint32_t)odd_value(c), (uint32_t)odd_value(c), (int64_t)odd_value(c)};
  send(ring.fd, &message, 1 + below(c, sizeof message), MSG_NOSIGNAL);
}

static void ring_act(void) {
  static void (*const acts[])(void) = {ring_takes, ring_takes,    ring_gives, ring_gives,     ring_answers,
                                       ring_rings, ring_hands_fd, ring_ends,  ring_does_wrong};
  if (!ring.made)
    return do_direct();
  for (uint32_t i = 1 + below(&f.chance, 4); i > 0; i--)
    acts[below(&f.chance, sizeof acts / sizeof *acts)]();
}

/* Whether there was one. */
static int ring_free(void) {
  int made = ring.made;
  if (ring.fd >= 0)
    close(ring.fd);
  ring.fd = -1;
  ring.made = 0;
  far_free(&ring.far);
  return made;
}

/* The memory that all rings lie in, one after the other. */
static void ring_memory(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, "arena");
  lua_getfield(L, -1, "new");
  lua_pushinteger(L, ARENA_SIZE);
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "mapped");
  lua_pushvalue(L, -2);
  lua_pushnumber(L, RING_ADDRESS);
  lua_call(L, 2, 0);
  lua_setfield(L, LUA_REGISTRYINDEX, "memory");
  lua_settop(L, 0);
  ring.fd = -1;
}

#endif
