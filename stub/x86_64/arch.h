/* What differs on x86_64: numbers of system calls, and one layout. */
#ifndef AFAR_ARCH_H
#define AFAR_ARCH_H

#define AFAR_MACHINE      62 /* EM_X86_64 */
#define AFAR_EPOLL_LAYOUT __attribute__((packed))

#define AFAR_PAUSE() __builtin_ia32_pause()

enum afar_nr {
  NR_READ = 0,
  NR_WRITE = 1,
  NR_CLOSE = 3,
  NR_MMAP = 9,
  NR_MUNMAP = 11,
  NR_RT_SIGACTION = 13,
  NR_RT_SIGPROCMASK = 14,
  NR_GETPID = 39,
  NR_SOCKET = 41,
  NR_CONNECT = 42,
  NR_SENDTO = 44,
  NR_RECVMSG = 47,
  NR_SHUTDOWN = 48,
  NR_UNAME = 63,
  NR_FCNTL = 72,
  NR_GETPPID = 110,
  NR_GETGROUPS = 115,
  NR_GETRESUID = 118,
  NR_GETRESGID = 120,
  NR_CAPGET = 125,
  NR_PRCTL = 157,
  NR_FUTEX = 202,
  NR_CLOCK_GETTIME = 228,
  NR_EXIT_GROUP = 231,
  NR_EPOLL_CTL = 233,
  NR_OPENAT = 257,
  NR_NEWFSTATAT = 262,
  NR_UNLINKAT = 263,
  NR_PPOLL = 271,
  NR_EPOLL_PWAIT = 281,
  NR_EPOLL_CREATE1 = 291,
  NR_DUP3 = 292,
  NR_PIPE2 = 293,
  NR_PRLIMIT64 = 302,
  NR_PROCESS_VM_READV = 310,
  NR_PROCESS_VM_WRITEV = 311,
};

#endif
