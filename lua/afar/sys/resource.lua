-- getrlimit(2), getrusage(2), getpriority(2)
return {
  headers = { "linux/resource.h" },
  constants = {
    RUSAGE_SELF = 0,
    RUSAGE_CHILDREN = -1,
    RUSAGE_BOTH = -2,
    RUSAGE_THREAD = 1,
    RLIM64_INFINITY = 0xffffffffffffffffULL,
    PRIO_MIN = -20,
    PRIO_MAX = 20,
    PRIO_PROCESS = 0,
    PRIO_PGRP = 1,
    PRIO_USER = 2,
    RLIMIT_CPU = 0,
    RLIMIT_FSIZE = 1,
    RLIMIT_DATA = 2,
    RLIMIT_STACK = 3,
    RLIMIT_CORE = 4,
    RLIMIT_RSS = 5,
    RLIMIT_NPROC = 6,
    RLIMIT_NOFILE = 7,
    RLIMIT_MEMLOCK = 8,
    RLIMIT_AS = 9,
    RLIMIT_LOCKS = 10,
    RLIMIT_SIGPENDING = 11,
    RLIMIT_MSGQUEUE = 12,
    RLIMIT_NICE = 13,
    RLIMIT_RTPRIO = 14,
    RLIMIT_RTTIME = 15,
    RLIM_NLIMITS = 16,
    RLIM_INFINITY = 0xffffffffffffffffULL,
  },
  structs = [[
    struct @rlimit {
      uint64_t rlim_cur;
      uint64_t rlim_max;
    };
    struct @rusage {
      struct @timeval ru_utime;
      struct @timeval ru_stime;
      int64_t ru_maxrss;
      int64_t ru_ixrss;
      int64_t ru_idrss;
      int64_t ru_isrss;
      int64_t ru_minflt;
      int64_t ru_majflt;
      int64_t ru_nswap;
      int64_t ru_inblock;
      int64_t ru_oublock;
      int64_t ru_msgsnd;
      int64_t ru_msgrcv;
      int64_t ru_nsignals;
      int64_t ru_nvcsw;
      int64_t ru_nivcsw;
    };
  ]],
}
