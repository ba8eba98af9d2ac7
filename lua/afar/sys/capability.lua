-- capabilities(7), capget(2)
return {
  headers = { "linux/capability.h" },
  constants = {
    _LINUX_CAPABILITY_VERSION_3 = 0x20080522,
    _LINUX_CAPABILITY_U32S_3 = 2,
    VFS_CAP_REVISION_MASK = 0xff000000,
    VFS_CAP_REVISION_SHIFT = 24,
    VFS_CAP_FLAGS_MASK = 0xffffff,
    VFS_CAP_FLAGS_EFFECTIVE = 0x1,
    VFS_CAP_REVISION_1 = 0x1000000,
    VFS_CAP_U32_1 = 1,
    XATTR_CAPS_SZ_1 = 12,
    VFS_CAP_REVISION_2 = 0x2000000,
    VFS_CAP_U32_2 = 2,
    XATTR_CAPS_SZ_2 = 20,
    VFS_CAP_REVISION_3 = 0x3000000,
    VFS_CAP_U32_3 = 2,
    XATTR_CAPS_SZ_3 = 24,
    XATTR_CAPS_SZ = 24,
    VFS_CAP_U32 = 2,
    VFS_CAP_REVISION = 0x3000000,
    CAP_CHOWN = 0,
    CAP_DAC_OVERRIDE = 1,
    CAP_DAC_READ_SEARCH = 2,
    CAP_FOWNER = 3,
    CAP_FSETID = 4,
    CAP_KILL = 5,
    CAP_SETGID = 6,
    CAP_SETUID = 7,
    CAP_SETPCAP = 8,
    CAP_LINUX_IMMUTABLE = 9,
    CAP_NET_BIND_SERVICE = 10,
    CAP_NET_BROADCAST = 11,
    CAP_NET_ADMIN = 12,
    CAP_NET_RAW = 13,
    CAP_IPC_LOCK = 14,
    CAP_IPC_OWNER = 15,
    CAP_SYS_MODULE = 16,
    CAP_SYS_RAWIO = 17,
    CAP_SYS_CHROOT = 18,
    CAP_SYS_PTRACE = 19,
    CAP_SYS_PACCT = 20,
    CAP_SYS_ADMIN = 21,
    CAP_SYS_BOOT = 22,
    CAP_SYS_NICE = 23,
    CAP_SYS_RESOURCE = 24,
    CAP_SYS_TIME = 25,
    CAP_SYS_TTY_CONFIG = 26,
    CAP_MKNOD = 27,
    CAP_LEASE = 28,
    CAP_AUDIT_WRITE = 29,
    CAP_AUDIT_CONTROL = 30,
    CAP_SETFCAP = 31,
    CAP_MAC_OVERRIDE = 32,
    CAP_MAC_ADMIN = 33,
    CAP_SYSLOG = 34,
    CAP_WAKE_ALARM = 35,
    CAP_BLOCK_SUSPEND = 36,
    CAP_AUDIT_READ = 37,
    CAP_PERFMON = 38,
    CAP_BPF = 39,
    CAP_CHECKPOINT_RESTORE = 40,
    CAP_LAST_CAP = 40,
  },
  structs = [[
    struct @cap_user_header {
      uint32_t version;
      int32_t pid;
    };
    struct @cap_user_data {
      uint32_t effective;
      uint32_t permitted;
      uint32_t inheritable;
    };
  ]],
  -- The name in C, where it is not "struct NAME".
  cname = { cap_user_header = "struct __user_cap_header_struct", cap_user_data = "struct __user_cap_data_struct" },
}
