/* The system calls that the stub makes for itself, with what it needs of the kernel's constants and structures.
 * Each returns what the kernel does: a negative errno on failure. */
#ifndef AFAR_SYS_H
#define AFAR_SYS_H

#include <stddef.h>
#include <stdint.h>

#include "arch.h"

int64_t syscall6(int64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);

#define SYS(nr, ...) SYS_6(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_6(nr, a, b, c, d, e, f, ...)                                                                               \
  syscall6(nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))

enum {
  EPERM = 1,
  ENOENT = 2,
  EINTR = 4,
  EBADF = 9,
  EAGAIN = 11,
  ENOMEM = 12,
  EFAULT = 14,
  EBUSY = 16,
  EINVAL = 22,
  EMFILE = 24,
  ENOSYS = 38,
  ENOTSOCK = 88,
  EOPNOTSUPP = 95,
  ENOBUFS = 105,
  ECANCELED = 125,
};

enum {
  AT_FDCWD = -100,
  O_RDWR = 2,
  O_NONBLOCK = 04000,
  O_CLOEXEC = 02000000,
  F_GETFD = 1,
  F_SETFD = 2,
  F_SETFL = 4,
  FD_CLOEXEC = 1,
  F_DUPFD_CLOEXEC = 1030,
  F_SETPIPE_SZ = 1031,
  PROT_READ = 1,
  PROT_WRITE = 2,
  MAP_PRIVATE = 2,
  MAP_ANONYMOUS = 0x20,
  MAP_NORESERVE = 0x4000,
  POLLIN = 1,
  POLLOUT = 4,
  POLLNVAL = 0x20,
  EPOLLIN = 1,
  EPOLLOUT = 4,
  EPOLL_CTL_ADD = 1,
  EPOLL_CTL_DEL = 2,
  EPOLL_CTL_MOD = 3,
  AF_UNIX = 1,
  SOCK_STREAM = 1,
  SOL_SOCKET = 1,
  SCM_RIGHTS = 1,
  SO_PEERCRED = 17,
  SO_ACCEPTCONN = 30,
  SOCK_CLOEXEC = 02000000,
  SOCK_NONBLOCK = 04000,
  SHUT_WR = 1,
  MSG_DONTWAIT = 0x40,
  MSG_NOSIGNAL = 0x4000,
  MSG_CMSG_CLOEXEC = 0x40000000,
  SIGHUP = 1,
  SIGINT = 2,
  SIGQUIT = 3,
  SIGKILL = 9,
  SIGPIPE = 13,
  SIGTERM = 15,
  SIGTSTP = 20,
  SIGTTIN = 21,
  SIGTTOU = 22,
  SIG_BLOCK = 0,
  SIG_UNBLOCK = 1,
  SIG_IGN = 1,
  PR_SET_PDEATHSIG = 1,
  PR_GET_NO_NEW_PRIVS = 39,
  RLIMIT_NOFILE = 7,
  CLOCK_MONOTONIC = 1,
  CLONE_VM = 0x100,
  WAIT_NOHANG = 1,       /* WNOHANG */
  WAIT_ALL = 0x40000000, /* __WALL */
  FUTEX_WAIT_PRIVATE = 0 | 128,
  FUTEX_WAKE_PRIVATE = 1 | 128,
  FUTEX_WAKE_OP_PRIVATE = 5 | 128,
  FUTEX_OP_OR_NOTHING = 2 << 28, /* *uaddr2 |= 0; wake if it was == 0 */
};

struct timespec {
  int64_t seconds, nanoseconds;
};

struct pollfd {
  int32_t fd;
  int16_t events, revents;
};

struct iovec {
  uint64_t base, length;
};

struct msghdr {
  uint64_t name;
  uint32_t name_length, pad;
  struct iovec *iov;
  uint64_t iov_count;
  void *control;
  uint64_t control_length;
  uint32_t flags, pad2;
};

struct epoll_event {
  uint32_t events;
  uint64_t data;
} AFAR_EPOLL_LAYOUT;

struct rlimit {
  uint64_t soft, hard;
};

static inline int64_t sys_read(int fd, void *to, size_t length) {
  return SYS(NR_READ, fd, to, length);
}

static inline int64_t sys_write(int fd, const void *from, size_t length) {
  return SYS(NR_WRITE, fd, from, length);
}

static inline int64_t sys_send(int fd, const void *from, size_t length, int flags) {
  return SYS(NR_SENDTO, fd, from, length, flags);
}

static inline int64_t sys_recvmsg(int fd, struct msghdr *message, int flags) {
  return SYS(NR_RECVMSG, fd, message, flags);
}

static inline int64_t sys_getsockopt(int fd, int level, int option, void *value, uint32_t *length) {
  return SYS(NR_GETSOCKOPT, fd, level, option, value, length);
}

static inline int64_t sys_accept4(int fd, int flags) {
  return SYS(NR_ACCEPT4, fd, NULL, NULL, flags);
}

static inline int64_t sys_shutdown(int fd, int how) {
  return SYS(NR_SHUTDOWN, fd, how);
}

static inline int64_t sys_open(const char *path, int flags) {
  return SYS(NR_OPENAT, AT_FDCWD, path, flags);
}

static inline int64_t sys_close(int fd) {
  return SYS(NR_CLOSE, fd);
}

static inline int64_t sys_dup3(int from, int to, int flags) {
  return SYS(NR_DUP3, from, to, flags);
}

static inline int64_t sys_fcntl(int fd, int command, int argument) {
  return SYS(NR_FCNTL, fd, command, argument);
}

static inline int64_t sys_pipe2(int fds[2], int flags) {
  return SYS(NR_PIPE2, fds, flags);
}

/* timeout: milliseconds, or -1 */
static inline int64_t sys_poll(struct pollfd *fds, size_t count, int64_t timeout) {
  struct timespec time = {timeout / 1000, timeout % 1000 * 1000000};
  return SYS(NR_PPOLL, fds, count, timeout < 0 ? NULL : &time, NULL, 8);
}

static inline int64_t sys_epoll_create1(int flags) {
  return SYS(NR_EPOLL_CREATE1, flags);
}

static inline int64_t sys_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event) {
  return SYS(NR_EPOLL_CTL, epoll, op, fd, event);
}

static inline int64_t sys_epoll_wait(int epoll, struct epoll_event *events, int max, int64_t timeout) {
  return SYS(NR_EPOLL_PWAIT, epoll, events, max, timeout, NULL, 8);
}

/* Anonymous private memory; a negative errno as every other call. */
static inline int64_t sys_map(size_t length, int flags) {
  return SYS(NR_MMAP, NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static inline int64_t sys_unmap(void *at, size_t length) {
  return SYS(NR_MUNMAP, at, length);
}

static inline int64_t sys_prctl(int option, uint64_t value) {
  return SYS(NR_PRCTL, option, value);
}

static inline int64_t sys_getpid(void) {
  return SYS(NR_GETPID, 0);
}

static inline int64_t sys_getppid(void) {
  return SYS(NR_GETPPID, 0);
}

/* CLOCK_MONOTONIC in milliseconds */
static inline int64_t sys_clock(void) {
  struct timespec time = {0, 0};
  SYS(NR_CLOCK_GETTIME, CLOCK_MONOTONIC, &time);
  return time.seconds * 1000 + time.nanoseconds / 1000000;
}

_Noreturn static inline void sys_exit(int status) {
  for (;;)
    SYS(NR_EXIT_GROUP, status);
}

void *memcpy(void *to, const void *from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);

#endif
