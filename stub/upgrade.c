#include "upgrade.h"
#include "child.h"
#include "persist.h"

#define FAILED 65 /* exit status */

static void read_all(int fd, void *to, size_t length) {
  uint8_t *at = to;
  while (length > 0) {
    int64_t count = sys_read(fd, at, length);
    if (count == -EINTR)
      continue;
    if (count <= 0)
      sys_exit(FAILED);
    at += count;
    length -= (size_t)count;
  }
}

static int64_t map(size_t length) {
  int64_t at = sys_map(length, 0);
  if (at < 0 && at >= -4095)
    sys_exit(FAILED);
  return at;
}

static void close_on_exec(int fd, uint32_t count) {
  for (int32_t kept; count > 0; count--) {
    read_all(fd, &kept, sizeof kept);
    sys_fcntl(kept, F_SETFD, FD_CLOEXEC);
  }
}

void upgrade_run(int fd) {
  static const uint64_t interrupt = 1ull << (AFAR_PERSIST_SIGNAL - 1);
  struct afar_state state;
  read_all(fd, &state, sizeof state);
  if (state.magic != AFAR_MAGIC || state.major != AFAR_MAJOR || state.size != sizeof state)
    sys_exit(FAILED);
  close_on_exec(fd, state.fds);
  int64_t kept = map(state.kept);
  read_all(fd, (void *)kept, state.kept);
  sys_close(fd);
  struct server *server = child_server_at(map(CHILD_BLOCK_SIZE), NULL);
  const uint64_t args[6] = {(uint64_t)state.listener, state.lease, state.session[0], state.session[1], (uint64_t)kept};
  if (persist_begin(server, args) < 0)
    sys_exit(FAILED);
  persist_front(server, (int32_t)state.front);
  SYS(NR_RT_SIGPROCMASK, SIG_UNBLOCK, &interrupt, NULL, 8);
  for (;;)
    child_turn(server);
}
