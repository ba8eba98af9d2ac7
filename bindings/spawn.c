/* How the host starts the one process that is its own child: the root of this machine. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bindings.h"
#include "bulk.h"

enum { ARGS_MAX = 16 };

extern char **environ;

/* ---- the core, without Lua ---- */

static int write_all(int fd, const char *data, size_t length) {
  while (length > 0) {
    ssize_t count = write(fd, data, length);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return -errno;
    data += count;
    length -= (size_t)count;
  }
  return 0;
}

/* A memfd with the program in it: nothing on disk, nothing to clean up. */
static int program_fd(const char *image, size_t length) {
  int fd = memfd_create("afar-stub", MFD_CLOEXEC);
  if (fd < 0)
    return -errno;
  int error = write_all(fd, image, length);
  if (error == 0)
    return fd;
  close(fd);
  return error;
}

enum { CARRIER = 3, ARENA = 4 };

/* In the child, between fork and exec: only what is safe there. Fds 0 to 2 stay, 3 is the carrier, 4 the arena. */
/* What the host got from whoever started it is for none of the programs that will run below the root. */
static void close_at_exec(int from) {
  if (syscall(SYS_close_range, from, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
    return;
  for (int fd = from; fd < 1024; fd++) /* before Linux 5.11 */
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void become_root(int program, int carrier, int arena, char **args) {
  int high_program = fcntl(program, F_DUPFD_CLOEXEC, 10), high_arena = fcntl(arena, F_DUPFD_CLOEXEC, 10);
  dup2(carrier, CARRIER);
  fcntl(CARRIER, F_SETFD, 0);
  if (high_arena >= 0)
    dup2(high_arena, ARENA);
  close_at_exec(high_arena >= 0 ? ARENA + 1 : CARRIER + 1);
  fexecve(high_program, args, environ);
  _exit(127);
}

static int spawn_root(int program, int arena, char **args, pid_t *pid) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
    return -errno;
  *pid = fork();
  if (*pid == 0)
    become_root(program, pair[1], arena, args);
  close(pair[1]);
  if (*pid > 0)
    return pair[0];
  int error = -errno;
  close(pair[0]);
  return error;
}

/* ---- functions ---- */

static int fail(lua_State *L, int error) {
  lua_pushnil(L);
  lua_pushstring(L, strerror(-error));
  return 2;
}

/* root(image, { argv... }, arena) -> fd, pid | nil, message. The program gets its carrier as fd 3, and a copy of the fd
 * `arena` (-1: none) as 4. The fd that is returned is the caller's. */
static int l_root(lua_State *L) {
  size_t length;
  const char *image = luaL_checklstring(L, 1, &length);
  char *args[ARGS_MAX + 1] = {0};
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_argcheck(L, lua_objlen(L, 2) <= ARGS_MAX, 2, "too many arguments");
  lua_checkstack(L, ARGS_MAX);
  for (int i = 0; i < (int)lua_objlen(L, 2); i++) {
    lua_rawgeti(L, 2, i + 1);
    args[i] = (char *)luaL_checkstring(L, -1);
  }
  pid_t pid = 0;
  int arena = luaL_checkint(L, 3);
  int program = program_fd(image, length);
  if (program < 0)
    return fail(L, program);
  int fd = spawn_root(program, arena, args, &pid);
  close(program);
  if (fd < 0)
    return fail(L, fd);
  lua_pushinteger(L, fd);
  lua_pushinteger(L, pid);
  return 2;
}

/* reap(pid, kill) -> status as waitpid(2) has it | nil: not ended yet. With kill it is killed first, and waited for. */
static int l_reap(lua_State *L) {
  pid_t pid = luaL_checkint(L, 1);
  int status, force = lua_toboolean(L, 2);
  if (force)
    kill(pid, SIGKILL);
  if (waitpid(pid, &status, force ? 0 : WNOHANG) != pid)
    return 0;
  lua_pushinteger(L, status);
  return 1;
}

/* socketpair() -> fd, fd | nil, message. Unix stream sockets, close-on-exec; both are the caller's. */
static int l_socketpair(lua_State *L) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
    return fail(L, -errno);
  lua_pushinteger(L, pair[0]);
  lua_pushinteger(L, pair[1]);
  return 2;
}

/* pipe() -> its read end, its write end | nil, message. Close-on-exec; both are the caller's. */
static int l_pipe(lua_State *L) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0)
    return fail(L, -errno);
  lua_pushinteger(L, fds[0]);
  lua_pushinteger(L, fds[1]);
  return 2;
}

/* random(count) -> so many bytes that nobody can guess, in hexadecimal; at most 64 */
static int l_random(lua_State *L) {
  unsigned char bytes[64];
  char text[2 * sizeof bytes + 1];
  int count = luaL_checkint(L, 1);
  luaL_argcheck(L, count > 0 && count <= (int)sizeof bytes, 1, "1 to 64");
  if (getrandom(bytes, (size_t)count, 0) != count)
    return luaL_error(L, "getrandom: %s", strerror(errno));
  for (int i = 0; i < count; i++)
    snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  lua_pushlstring(L, text, 2 * (size_t)count);
  return 1;
}

/* dup(fd) -> a copy, close-on-exec, the caller's | nil, message */
static int l_dup(lua_State *L) {
  int fd = fcntl(luaL_checkint(L, 1), F_DUPFD_CLOEXEC, 3);
  if (fd < 0)
    return fail(L, -errno);
  lua_pushinteger(L, fd);
  return 1;
}

/* close(fd): of the host */
static int l_close(lua_State *L) {
  close(luaL_checkint(L, 1));
  return 0;
}

/* write(fd, string): all of it, for what the host itself prints; waits when the reader is slow */
static int l_write(lua_State *L) {
  size_t length;
  const char *data = luaL_checklstring(L, 2, &length);
  lua_pushboolean(L, write_all(luaL_checkint(L, 1), data, length) == 0);
  return 1;
}

/* read(fd, max) -> string ("" at the end) | nil, message: for what the host itself reads, once loop.watch said that it
 * can */
static int l_read(lua_State *L) {
  char buffer[65536];
  size_t max = (size_t)luaL_optinteger(L, 2, sizeof buffer);
  ssize_t count = read(luaL_checkint(L, 1), buffer, max < sizeof buffer ? max : sizeof buffer);
  if (count < 0)
    return fail(L, -errno);
  lua_pushlstring(L, buffer, (size_t)count);
  return 1;
}

/* What is in memory can be read without waiting; a file system of memory alone doesn't say so: `alone` is then set, for
 * the next time. */
static ssize_t read_cached(int fd, char *buffer, size_t length, int *alone) {
  struct iovec iov = {buffer, length};
  struct statfs where;
  ssize_t count = *alone ? -1 : preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
  if (!*alone && (count >= 0 || errno != EOPNOTSUPP))
    return count;
  *alone = *alone || (fstatfs(fd, &where) == 0 && where.f_type == TMPFS_MAGIC);
  if (*alone)
    return read(fd, buffer, length);
  errno = EOPNOTSUPP;
  return -1;
}

/* read_cached(fd, max, alone) -> string ("" at the end) | nil: it would have to wait for a disk | false: there it can't
 * be told; and `alone` for the next time. Of a regular file, from where it stands. */
static int l_read_cached(lua_State *L) {
  static char buffer[65536];
  size_t max = (size_t)luaL_checkinteger(L, 2);
  int alone = lua_toboolean(L, 3);
  ssize_t count = read_cached(luaL_checkint(L, 1), buffer, max < sizeof buffer ? max : sizeof buffer, &alone);
  if (count >= 0)
    bulk_push(L, buffer, (size_t)count);
  else if (errno == EAGAIN || errno == EINTR)
    lua_pushnil(L);
  else
    lua_pushboolean(L, 0);
  lua_pushboolean(L, alone);
  return 2;
}

/* take_fd(pid, number) -> a copy of that process's fd, close-on-exec, the caller's | nil: the kernel doesn't allow it
 */
static int l_take_fd(lua_State *L) {
  int pidfd = (int)syscall(SYS_pidfd_open, luaL_checkint(L, 1), 0), number = luaL_checkint(L, 2);
  if (pidfd < 0)
    return 0;
  int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
  close(pidfd);
  if (fd < 0)
    return 0;
  lua_pushinteger(L, fd);
  return 1;
}

static int l_isatty(lua_State *L) {
  lua_pushboolean(L, isatty(luaL_checkint(L, 1)));
  return 1;
}

static const luaL_Reg functions[] = {
    {"root", l_root},
    {"reap", l_reap},
    {"socketpair", l_socketpair},
    {"pipe", l_pipe},
    {"random", l_random},
    {"dup", l_dup},
    {"write", l_write},
    {"read", l_read},
    {"isatty", l_isatty},
    {"read_cached", l_read_cached},
    {"take_fd", l_take_fd},
    {"close", l_close},
    {NULL, NULL},
};

int luaopen_afar_spawn(lua_State *L) {
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  return 1;
}
