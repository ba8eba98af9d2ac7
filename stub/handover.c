#include "handover.h"
#include "child.h"
#include "persist.h"
#include "root.h"

#define STACK 65536

enum { WAIT, GO, GIVE_UP };

static struct {
  int64_t block;  /* of what is persistent then */
  uint32_t order; /* to the cloned process, which waits for it */
} handover;

static void tell(uint32_t order) {
  __atomic_store_n(&handover.order, order, __ATOMIC_SEQ_CST);
  SYS(NR_FUTEX, &handover.order, FUTEX_WAKE_PRIVATE, 1);
}

static int64_t clone_front(void) {
  int64_t at = sys_map(STACK, 0);
  if (at < 0 && at >= -4095)
    return at;
  struct afar_start *start = (struct afar_start *)at;
  uint64_t *stack = (uint64_t *)(at + STACK - 16);
  start->flags = CHILD_FRONT;
  start->ppid = (int32_t)sys_getpid();
  stack[0] = (uint64_t)afar_child_entry;
  stack[1] = (uint64_t)at;
  int64_t pid = SYS(NR_CLONE, CLONE_VM, stack);
  if (pid < 0)
    sys_unmap(start, STACK);
  return pid;
}

int64_t handover_begin(struct server *server, const uint64_t args[6]) {
  handover.block = sys_map(CHILD_BLOCK_SIZE, 0);
  if (handover.block < 0 && handover.block >= -4095)
    return handover.block;
  handover.order = WAIT;
  int64_t pid = clone_front(), error = pid < 0 ? pid : persist_begin(server, args);
  if (error == 0) {
    persist_front(server, (int32_t)pid);
    return 0;
  }
  tell(GIVE_UP);
  if (pid > 0)
    SYS(NR_WAIT4, pid, NULL, WAIT_ALL, NULL);
  sys_unmap((void *)handover.block, CHILD_BLOCK_SIZE);
  return error;
}

/* They are the cloned process's: held here too they would never end. */
static void close_stream(void) {
  sys_close(root.in);
  if (root.out != root.in)
    sys_close(root.out);
  sys_close(root.epoll);
  sys_close(root.timer);
  for (uint32_t i = 1; i < AFAR_CHANNELS_MAX; i++) {
    const struct channel *channel = channel_find(i);
    if (channel && channel->fd >= 0)
      sys_close(channel->fd);
  }
}

void handover_finish(void) {
  struct server *server = child_server_at(handover.block, &root.server);
  close_stream();
  tell(GO);
  for (;;)
    child_turn(server);
}

/* What lies below the zone is not the stream's; what the script has above, the host knows. */
static void close_others(void) {
  if (SYS(NR_CLOSE_RANGE, 3, AFAR_FD_ZONE - 1, 0) == 0)
    return;
  for (int fd = 3; fd < AFAR_FD_ZONE; fd++)
    sys_close(fd);
}

void handover_front(void) {
  uint32_t order;
  while ((order = __atomic_load_n(&handover.order, __ATOMIC_SEQ_CST)) == WAIT)
    SYS(NR_FUTEX, &handover.order, FUTEX_WAIT_PRIVATE, WAIT, NULL);
  if (order == GIVE_UP)
    sys_exit(0);
  close_others();
  root_begin();
  for (;;)
    root_turn();
}
