-- pidfd_open(2), pidfd_send_signal(2), ioctl_pidfd(2)
return {
  headers = { "linux/pidfd.h" },
  constants = {
    PIDFD_NONBLOCK = 2048,
  },
  -- Newer than the headers of Linux 6.1. PIDFD_GET_INFO has the size of the first published struct pidfd_info, which all take.
  newer = {
    PIDFD_SELF = -10000,
    PIDFD_SELF_PROCESS = -10001,
    PIDFD_THREAD = 0x80,
    PIDFD_SIGNAL_THREAD = 0x1,
    PIDFD_SIGNAL_THREAD_GROUP = 0x2,
    PIDFD_SIGNAL_PROCESS_GROUP = 0x4,
    PIDFD_GET_CGROUP_NAMESPACE = 0xff01,
    PIDFD_GET_IPC_NAMESPACE = 0xff02,
    PIDFD_GET_MNT_NAMESPACE = 0xff03,
    PIDFD_GET_NET_NAMESPACE = 0xff04,
    PIDFD_GET_PID_NAMESPACE = 0xff05,
    PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE = 0xff06,
    PIDFD_GET_TIME_NAMESPACE = 0xff07,
    PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE = 0xff08,
    PIDFD_GET_USER_NAMESPACE = 0xff09,
    PIDFD_GET_UTS_NAMESPACE = 0xff0a,
    PIDFD_GET_INFO = 0xc040ff0b,
    PIDFD_INFO_PID = 0x1,
    PIDFD_INFO_CREDS = 0x2,
    PIDFD_INFO_CGROUPID = 0x4,
    PIDFD_INFO_EXIT = 0x8,
    PIDFD_INFO_COREDUMP = 0x10,
  },
  -- Newer too: as first published.
  newer_structs = [[
    struct @pidfd_info {
      uint64_t mask;
      uint64_t cgroupid;
      uint32_t pid;
      uint32_t tgid;
      uint32_t ppid;
      uint32_t ruid;
      uint32_t rgid;
      uint32_t euid;
      uint32_t egid;
      uint32_t suid;
      uint32_t sgid;
      uint32_t fsuid;
      uint32_t fsgid;
      int32_t exit_code;
    };
  ]],
}
