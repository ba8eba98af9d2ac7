/* A cloned child: from its first instruction to its last it uses nothing but its block. */
#include "child.h"
#include "handover.h"
#include "persist.h"
#include "ring.h"

#define STACK_SIZE 4096 /* at least; it has all that is left of the block */

struct child {
  struct afar_start start;
  struct server server;
};

_Static_assert(sizeof(struct child) + STACK_SIZE <= CHILD_BLOCK_SIZE, "a child's block is too small");

static void send_replies(struct server *server, const uint8_t *bytes, size_t length) {
  if (server->persist)
    return persist_send(server, bytes, length);
  if (server->ring)
    return ring_send(server, bytes, length);
  if (write_all(server->carrier, bytes, length, write_wait) < 0)
    sys_exit(0);
}

static void flush(struct server *server) {
  if (server->ring)
    ring_tell(server);
}

static void bell(struct server *server) {
  static const struct afar_reply message = {AFAR_TAG_BELL, 0, 0};
  if (write_all(server->carrier, &message, sizeof message, write_wait) < 0)
    sys_exit(0);
}

static int64_t perform_other(struct server *server, uint8_t op, const uint64_t args[6]) {
  switch (op) {
  case AFAR_OP_RING:
    return ring_begin_later(server, args);
  case AFAR_OP_PERSIST:
    return persist_begin(server, args);
  default:
    return -EOPNOTSUPP;
  }
}

static const struct server_kind kind = {send_replies, flush, perform_other, bell, ring_rest};

/* Leaves the low numbers to the script. */
static int move_up(int fd) {
  if (fd >= AFAR_FD_CHILD)
    return fd;
  int64_t moved = sys_fcntl(fd, F_DUPFD_CLOEXEC, AFAR_FD_CHILD);
  if (moved < 0)
    sys_exit(1);
  sys_close(fd);
  return (int)moved;
}

/* Performs what can be performed, and sleeps once. */
void child_turn(struct server *server) {
  if (server->starting)
    persist_start(server);
  if (server->persist)
    return persist_turn(server);
  if (server->next_ring)
    ring_start(server);
  if (server->ring)
    return ring_turn(server);
  server_send(server);
  int readable = 1;
  if (server->held > 0) {
    readable = hold_wait(server, server->carrier, -1);
    hold_run(server);
  }
  if (!readable)
    return;
  uint8_t *in = server->much ? server->in : server->in_little;
  size_t size = server->much ? IN_SIZE : IN_LITTLE;
  int64_t count = sys_read(server->carrier, in, size);
  struct pollfd poll = {server->carrier, POLLIN, 0};
  server->much = count == (int64_t)size;
  if (count > 0)
    server_feed(server, in, (size_t)count);
  else if (count == -EAGAIN)
    sys_poll(&poll, 1, -1);
  else if (count != -EINTR)
    sys_exit(count < 0);
}

uint64_t child_block_of(const struct server *server) {
  return (uint64_t)server - offsetof(struct child, server);
}

void child_init(struct afar_start *start) {
  struct server *server = &((struct child *)start)->server;
  server_init(server, &kind);
  server->carrier = start->carrier = move_up(start->fd[1]);
}

struct server *child_server_at(int64_t block, const struct server *other) {
  struct server *server = &((struct child *)block)->server;
  if (other)
    memcpy(server, other, sizeof *server);
  else
    server_init(server, &kind);
  server->kind = &kind;
  server->carrier = -1;
  server->ring = server->next_ring = NULL;
  return server;
}

/* ---- a script ---- */

/* Replies for which there is no room are dropped: the host sees by the length that there were more. */
static void keep_replies(struct server *server, const uint8_t *bytes, size_t length) {
  struct afar_script *script = (struct afar_script *)((struct child *)child_block_of(server))->start.script;
  size_t room = script->room - script->answered;
  memcpy((uint8_t *)(script + 1) + script->answered, bytes, length < room ? length : room);
  script->answered += (uint32_t)(length < room ? length : room);
}

static void nothing(struct server *server) {
  (void)server;
}

static int64_t refuse(struct server *server, uint8_t op, const uint64_t args[6]) {
  (void)server, (void)op, (void)args;
  return -EOPNOTSUPP;
}

static const struct server_kind script_kind = {keep_replies, nothing, refuse, nothing, nothing};

/* Its requests lie in memory; what follows a HOLD that has to wait is not performed. */
_Noreturn static void perform_script(struct afar_start *start) {
  struct server *server = &((struct child *)start)->server;
  struct afar_script *script = (struct afar_script *)start->script;
  server_init(server, &script_kind);
  server_feed(server, (const uint8_t *)script->requests, script->length);
  server_flush(server);
  sys_exit(AFAR_SCRIPT_DONE);
}

/* ---- its life ---- */

/* What is the root's in the copy of its table. */
static int64_t close_zone(int but) {
  unsigned from = AFAR_FD_ZONE;
  int64_t error = 0;
  if (but > AFAR_FD_ZONE)
    error = SYS(NR_CLOSE_RANGE, AFAR_FD_ZONE, but - 1, 0);
  if (but >= AFAR_FD_ZONE)
    from = (unsigned)but + 1;
  return error < 0 ? error : SYS(NR_CLOSE_RANGE, from, ~0u, 0);
}

void afar_child(struct afar_start *start) {
  if (!(start->flags & AFAR_START_ORPHAN)) {
    sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (start->ppid != 0 && sys_getppid() != start->ppid)
      sys_exit(1);
  }
  if (start->flags & CHILD_FRONT)
    handover_front();
  if (start->flags & AFAR_START_SCRIPT)
    perform_script(start);
  child_init(start);
  if (start->flags & AFAR_START_CLOSE && close_zone(start->carrier) < 0)
    sys_exit(1);
  for (;;)
    child_turn(&((struct child *)start)->server);
}
