-- sigaction(2), sigaltstack(2), signal(7), sigevent(7)
return {
  headers = { "asm/signal.h", "asm/siginfo.h" },
  constants = {
    SIGHUP = 1,
    SIGINT = 2,
    SIGQUIT = 3,
    SIGILL = 4,
    SIGTRAP = 5,
    SIGABRT = 6,
    SIGIOT = 6,
    SIGBUS = 7,
    SIGFPE = 8,
    SIGKILL = 9,
    SIGUSR1 = 10,
    SIGSEGV = 11,
    SIGUSR2 = 12,
    SIGPIPE = 13,
    SIGALRM = 14,
    SIGTERM = 15,
    SIGSTKFLT = 16,
    SIGCHLD = 17,
    SIGCONT = 18,
    SIGSTOP = 19,
    SIGTSTP = 20,
    SIGTTIN = 21,
    SIGTTOU = 22,
    SIGURG = 23,
    SIGXCPU = 24,
    SIGXFSZ = 25,
    SIGVTALRM = 26,
    SIGPROF = 27,
    SIGWINCH = 28,
    SIGIO = 29,
    SIGPOLL = 29,
    SIGPWR = 30,
    SIGSYS = 31,
    SIGUNUSED = 31,
    SIGRTMIN = 32,
    SA_RESTORER = 0x4000000,
    SA_NOCLDSTOP = 0x1,
    SA_NOCLDWAIT = 0x2,
    SA_SIGINFO = 0x4,
    SA_UNSUPPORTED = 0x400,
    SA_EXPOSE_TAGBITS = 0x800,
    SA_ONSTACK = 0x8000000,
    SA_RESTART = 0x10000000,
    SA_NODEFER = 0x40000000,
    SA_RESETHAND = 0x80000000,
    SA_NOMASK = 0x40000000,
    SA_ONESHOT = 0x80000000,
    SIG_BLOCK = 0,
    SIG_UNBLOCK = 1,
    SIG_SETMASK = 2,
    SIG_DFL = 0,
    SIG_IGN = 1,
    SI_USER = 0,
    SI_KERNEL = 0x80,
    SI_QUEUE = -1,
    SI_TIMER = -2,
    SI_MESGQ = -3,
    SI_ASYNCIO = -4,
    SI_SIGIO = -5,
    SI_TKILL = -6,
    SI_DETHREAD = -7,
    SI_ASYNCNL = -60,
    ILL_ILLOPC = 1,
    ILL_ILLOPN = 2,
    ILL_ILLADR = 3,
    ILL_ILLTRP = 4,
    ILL_PRVOPC = 5,
    ILL_PRVREG = 6,
    ILL_COPROC = 7,
    ILL_BADSTK = 8,
    ILL_BADIADDR = 9,
    FPE_INTDIV = 1,
    FPE_INTOVF = 2,
    FPE_FLTDIV = 3,
    FPE_FLTOVF = 4,
    FPE_FLTUND = 5,
    FPE_FLTRES = 6,
    FPE_FLTINV = 7,
    FPE_FLTSUB = 8,
    FPE_FLTUNK = 14,
    FPE_CONDTRAP = 15,
    SEGV_MAPERR = 1,
    SEGV_ACCERR = 2,
    SEGV_BNDERR = 3,
    SEGV_PKUERR = 4,
    SEGV_ACCADI = 5,
    SEGV_ADIDERR = 6,
    SEGV_ADIPERR = 7,
    SEGV_MTEAERR = 8,
    SEGV_MTESERR = 9,
    BUS_ADRALN = 1,
    BUS_ADRERR = 2,
    BUS_OBJERR = 3,
    BUS_MCEERR_AR = 4,
    BUS_MCEERR_AO = 5,
    TRAP_BRKPT = 1,
    TRAP_TRACE = 2,
    TRAP_BRANCH = 3,
    TRAP_HWBKPT = 4,
    TRAP_UNK = 5,
    TRAP_PERF = 6,
    TRAP_PERF_FLAG_ASYNC = 1,
    CLD_EXITED = 1,
    CLD_KILLED = 2,
    CLD_DUMPED = 3,
    CLD_TRAPPED = 4,
    CLD_STOPPED = 5,
    CLD_CONTINUED = 6,
    POLL_IN = 1,
    POLL_OUT = 2,
    POLL_MSG = 3,
    POLL_ERR = 4,
    POLL_PRI = 5,
    POLL_HUP = 6,
    SYS_SECCOMP = 1,
    SYS_USER_DISPATCH = 2,
    EMT_TAGOVF = 1,
    SIGEV_SIGNAL = 0,
    SIGEV_NONE = 1,
    SIGEV_THREAD = 2,
    SIGEV_THREAD_ID = 4,
    SIGEV_MAX_SIZE = 64,
  },
  -- The header of x86_64 defines it as a name that it does not define.
  unchecked = {
    SIGRTMAX = 64,
  },
  structs = [[
    struct @sigaction {
      uint64_t sa_handler;
      uint64_t sa_flags;
      uint64_t sa_restorer;
      uint64_t sa_mask;
    };
    struct @stack {
      uint64_t ss_sp;
      int32_t ss_flags;
      uint64_t ss_size;
    };
    struct @siginfo {
      int32_t si_signo;
      int32_t si_errno;
      int32_t si_code;
      int32_t __pad0;
      union {
        struct {
          int32_t si_pid;
          uint32_t si_uid;
          union {
            uint64_t si_value;
            struct {
              int32_t si_status;
              int64_t si_utime;
              int64_t si_stime;
            };
          };
        };
        struct {
          int32_t si_tid;
          int32_t si_overrun;
        };
        uint64_t si_addr;
        struct {
          int64_t si_band;
          int32_t si_fd;
        };
        struct {
          uint64_t si_call_addr;
          int32_t si_syscall;
          uint32_t si_arch;
        };
        uint8_t __pad1[112];
      };
    };
  ]],
  x86_64 = {
    constants = {
      MINSIGSTKSZ = 2048,
      SIGSTKSZ = 8192,
    },
  },
  aarch64 = {
    constants = {
      MINSIGSTKSZ = 5120,
      SIGSTKSZ = 16384,
    },
  },
  -- The name in C, where it is not "struct NAME".
  cname = { siginfo = "siginfo_t", stack = "stack_t" },
}
