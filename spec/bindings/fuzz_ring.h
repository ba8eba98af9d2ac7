/* A process on this machine, as the far side: it has a socket to the host, and mostly a ring beside it. And the ring
 * that a root has beside its stream. */
#ifndef FUZZ_RING_H
#define FUZZ_RING_H

#include <fcntl.h>
#include <sys/socket.h>

#include "arena.h"
#include "fuzz_world.h"

enum { LINE_OF_RING = 1, ARENA_SIZE = 1 << 20, RING_ADDRESS = 0x10000, ROOT_RING_ADDRESS = 0x20000 };

/* The memory of a ring, as the far side uses it. */
struct shared {
  struct afar_ring *ring; /* NULL: there is none */
  uint32_t head, tail;
  int spoiled; /* the positions are no more what the host wrote */
};

static struct shared root_ring; /* of the first side */
static int root_ring_asked;

static struct {
  struct far far;
  int fd; /* -1: its process has ended, or there is none */
  int made;
  struct shared shared;    /* without a ring all goes over the socket */
  struct afar_ring *place; /* of the ring that it may be told of */
  size_t over_socket;      /* bytes of replies that still go there, though there is a ring */
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
  ring.shared = (struct shared){0};
  ring.place = NULL;
  ring.over_socket = 0;
  ring.far.chance = &f.chance;
  ring.far.right = f.right;
  ring.far.lines[LINE_OF_RING] =
      (struct line){.kind = LINE_TASK, .task = f.tasks[f.task_count - 1], .host_credit = UINT64_MAX};
  if (one_in(&f.chance, 4))
    return;
  method(f.task_objects[f.task_count - 1], "ring");
  lua_getfield(f.L, LUA_REGISTRYINDEX, "memory");
  ring.place = arena_at(arena_check(f.L, -1), RING_ADDRESS, sizeof *ring.place);
  lua_pushnumber(f.L, RING_ADDRESS);
  act(3);
}

/* ---- the process's part ---- */

static void take_shared(struct shared *shared, struct far *far, uint32_t line, uint32_t length) {
  uint32_t size = sizeof shared->ring->to_stub;
  while (length > 0) {
    uint32_t at = shared->head % size, part = size - at < length ? size - at : length;
    take_payload(far, line, (const char *)shared->ring->to_stub + at, part);
    shared->head += part;
    length -= part;
  }
  shared->ring->to_stub_head = shared->head;
}

static void take_all(struct shared *shared, struct far *far, uint32_t line) {
  uint32_t length = shared->ring->to_stub_tail - shared->head;
  MUST(length <= sizeof shared->ring->to_stub);
  take_shared(shared, far, line, length);
}

static void ring_takes(void) {
  char buffer[4096];
  ssize_t count;
  if (ring.fd < 0)
    return;
  while ((count = recv(ring.fd, buffer, sizeof buffer, 0)) > 0)
    if (!ring.shared.ring) /* else these are bells */
      take_payload(&ring.far, LINE_OF_RING, buffer, (size_t)count);
  if (ring.shared.ring && !ring.shared.spoiled)
    take_all(&ring.shared, &ring.far, LINE_OF_RING);
}

static void give_shared(struct shared *shared, struct bytes *out) {
  uint32_t size = sizeof shared->ring->to_host, room = size - (shared->tail - shared->ring->to_host_head);
  size_t length = bytes_length(out);
  length = length < room ? length : room > size ? 0 : room;
  if (length > 0 && one_in(&f.chance, 3))
    length = 1 + below(&f.chance, (uint32_t)length);
  for (size_t i = 0; i < length; i++)
    shared->ring->to_host[(shared->tail + i) % size] = (uint8_t)bytes_head(out)[i];
  bytes_drop(out, length);
  shared->tail += (uint32_t)length;
  shared->ring->to_host_tail = shared->tail;
}

static void ring_gives(void) {
  struct bytes *out = &ring.far.lines[LINE_OF_RING].out;
  if (ring.fd < 0)
    return;
  if (ring.shared.ring && ring.over_socket == 0)
    return give_shared(&ring.shared, out);
  ssize_t count = send(ring.fd, bytes_head(out), ring.shared.ring ? ring.over_socket : bytes_length(out), MSG_NOSIGNAL);
  if (count <= 0)
    return;
  bytes_drop(out, (size_t)count);
  ring.over_socket -= ring.shared.ring ? (size_t)count : 0;
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
  if (ring.fd < 0 || !line->task || (ring.shared.ring ? ring.over_socket : bytes_length(&line->out)) > 0)
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
  if (ring.fd < 0 || !ring.shared.ring || ring.over_socket > 0)
    return;
  ring.shared.ring->stub_asleep = below(&f.chance, 2);
  send(ring.fd, &bell, sizeof bell, MSG_NOSIGNAL);
}

static void ring_ends(void) {
  if (ring.fd < 0 || !one_in(&f.chance, 6))
    return;
  close(ring.fd);
  ring.fd = -1;
}

static void spoil_ring(struct chance *c, struct shared *spoiled) {
  struct afar_ring *shared = spoiled->ring;
  uint32_t *const words[] = {&shared->to_stub_tail, &shared->to_host_head, &shared->host_asleep,
                             &shared->to_host_tail, &shared->to_stub_head, &shared->stub_asleep};
  spoiled->spoiled = 1;
  if (one_in(c, 2))
    *words[below(c, 6)] = one_in(c, 2) ? spoiled->tail + below(c, 64) : (uint32_t)odd_value(c);
  else
    shared->to_host[(spoiled->tail - 1 - below(c, 64)) % sizeof shared->to_host] ^= (uint8_t)(1 << below(c, 8));
}

static void ring_does_wrong(void) {
  struct chance *c = &f.chance;
  if (f.right || ring.fd < 0)
    return;
  if (ring.shared.ring && one_in(c, 2))
    return spoil_ring(c, &ring.shared);
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

/* ---- a root's ring ---- */

static struct far *first_far(void) {
  return &f.sides[0].far;
}

/* The host asks for one. */
static void do_root_ring(void) {
  struct side *side = &f.sides[0];
  if (root_ring_asked || is_gone(side->object) || !side->root || side->stream->state != STREAM_OPEN)
    return;
  for (int i = 0; i < f.task_count; i++) {
    if (f.tasks[i] != side->root || is_gone(f.task_objects[i]) || side->root->in_flight > 0 || side->root->ended)
      continue;
    method(f.task_objects[i], "ring");
    lua_getfield(f.L, LUA_REGISTRYINDEX, "memory");
    struct arena *arena = arena_check(f.L, -1);
    lua_pushnumber(f.L, ROOT_RING_ADDRESS);
    root_ring_asked = 1;
    root_ring.ring = arena_at(arena, ROOT_RING_ADDRESS, sizeof *root_ring.ring);
    act(3);
    return;
  }
}

/* A process's begins behind the reply to that. */
static int begins_ring_of_process(struct line *line, const struct afar_request *request) {
  struct asked asked = {.tag = request->tag};
  int refused = one_in(&f.chance, 4);
  MUST(ring.place && request->args[0] == RING_ADDRESS);
  reply(line, &asked, refused ? -EFAULT : 0, 0, 0);
  if (refused)
    return 1;
  ring.shared.ring = ring.place;
  ring.over_socket = bytes_length(&line->out);
  return 1;
}

/* It begins at once, or is refused. */
static int begins_ring(struct far *far, struct line *line, const struct afar_request *request) {
  if (request->op == AFAR_OP_RING && far == &ring.far)
    return begins_ring_of_process(line, request);
  if (request->op != AFAR_OP_RING || far != first_far())
    return 0;
  MUST(root_ring_asked && request->args[0] == ROOT_RING_ADDRESS);
  struct asked asked = {.tag = request->tag};
  int refused = one_in(&f.chance, 4);
  reply(line, &asked, refused ? -EOPNOTSUPP : 0, 0, 0);
  if (refused)
    root_ring.ring = NULL;
  return 1;
}

static void take_bell(struct far *far, uint32_t value) {
  MUST(far == first_far() && root_ring_asked);
  if (!root_ring.ring || root_ring.spoiled)
    return;
  uint32_t length = (value - root_ring.head) & 0xffffff;
  MUST(length <= root_ring.ring->to_stub_tail - root_ring.head);
  take_shared(&root_ring, far, 0, length);
}

static void root_ring_takes(void) {
  int behind = root_ring.ring && (int32_t)(root_ring.ring->stream - first_far()->received) > 0;
  if (root_ring.ring && !root_ring.spoiled && !behind)
    take_all(&root_ring, first_far(), 0);
}

static void root_ring_gives(void) {
  if (root_ring.ring && !first_far()->lines[0].ended)
    give_shared(&root_ring, &first_far()->lines[0].out);
}

static void root_ring_act(void) {
  struct chance *c = &f.chance;
  if (!root_ring.ring)
    return do_root_ring();
  root_ring.ring->stub_asleep = below(c, 2);
  switch (below(c, 8)) {
  case 0:
    return say(first_far(), 0, AFAR_BELL, 0);
  case 1:
    return f.right ? (void)0 : spoil_ring(c, &root_ring);
  case 2:
  case 3:
    return root_ring_takes();
  default:
    root_ring_takes();
    root_ring_gives();
  }
}

static void root_ring_free(void) {
  root_ring = (struct shared){0};
  root_ring_asked = 0;
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
