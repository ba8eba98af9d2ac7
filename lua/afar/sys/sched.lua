-- clone(2), clone3(2), unshare(2), sched_setscheduler(2), sched_setattr(2)
return {
  headers = { "linux/sched.h", "linux/sched/types.h" },
  constants = {
    CSIGNAL = 0xff,
    CLONE_VM = 0x100,
    CLONE_FS = 0x200,
    CLONE_FILES = 0x400,
    CLONE_SIGHAND = 0x800,
    CLONE_PIDFD = 0x1000,
    CLONE_PTRACE = 0x2000,
    CLONE_VFORK = 0x4000,
    CLONE_PARENT = 0x8000,
    CLONE_THREAD = 0x10000,
    CLONE_NEWNS = 0x20000,
    CLONE_SYSVSEM = 0x40000,
    CLONE_SETTLS = 0x80000,
    CLONE_PARENT_SETTID = 0x100000,
    CLONE_CHILD_CLEARTID = 0x200000,
    CLONE_DETACHED = 0x400000,
    CLONE_UNTRACED = 0x800000,
    CLONE_CHILD_SETTID = 0x1000000,
    CLONE_NEWCGROUP = 0x2000000,
    CLONE_NEWUTS = 0x4000000,
    CLONE_NEWIPC = 0x8000000,
    CLONE_NEWUSER = 0x10000000,
    CLONE_NEWPID = 0x20000000,
    CLONE_NEWNET = 0x40000000,
    CLONE_IO = 0x80000000,
    CLONE_CLEAR_SIGHAND = 0x100000000,
    CLONE_INTO_CGROUP = 0x200000000,
    CLONE_NEWTIME = 0x80,
    CLONE_ARGS_SIZE_VER0 = 64,
    CLONE_ARGS_SIZE_VER1 = 80,
    CLONE_ARGS_SIZE_VER2 = 88,
    SCHED_NORMAL = 0,
    SCHED_FIFO = 1,
    SCHED_RR = 2,
    SCHED_BATCH = 3,
    SCHED_IDLE = 5,
    SCHED_DEADLINE = 6,
    SCHED_RESET_ON_FORK = 0x40000000,
    SCHED_FLAG_RESET_ON_FORK = 0x1,
    SCHED_FLAG_RECLAIM = 0x2,
    SCHED_FLAG_DL_OVERRUN = 0x4,
    SCHED_FLAG_KEEP_POLICY = 0x8,
    SCHED_FLAG_KEEP_PARAMS = 0x10,
    SCHED_FLAG_UTIL_CLAMP_MIN = 0x20,
    SCHED_FLAG_UTIL_CLAMP_MAX = 0x40,
    SCHED_FLAG_KEEP_ALL = 0x18,
    SCHED_FLAG_UTIL_CLAMP = 0x60,
    SCHED_FLAG_ALL = 0x7f,
    SCHED_ATTR_SIZE_VER0 = 48,
    SCHED_ATTR_SIZE_VER1 = 56,
  },
  structs = [[
    struct @clone_args {
      uint64_t flags;
      uint64_t pidfd;
      uint64_t child_tid;
      uint64_t parent_tid;
      uint64_t exit_signal;
      uint64_t stack;
      uint64_t stack_size;
      uint64_t tls;
      uint64_t set_tid;
      uint64_t set_tid_size;
      uint64_t cgroup;
    };
    struct @sched_param {
      int32_t sched_priority;
    };
    struct @sched_attr {
      uint32_t size;
      uint32_t sched_policy;
      uint64_t sched_flags;
      int32_t sched_nice;
      uint32_t sched_priority;
      uint64_t sched_runtime;
      uint64_t sched_deadline;
      uint64_t sched_period;
      uint32_t sched_util_min;
      uint32_t sched_util_max;
    };
  ]],
}
