-- seccomp(2)
return {
  headers = { "linux/seccomp.h", "linux/filter.h", "linux/audit.h" },
  constants = {
    SECCOMP_MODE_DISABLED = 0,
    SECCOMP_MODE_STRICT = 1,
    SECCOMP_MODE_FILTER = 2,
    SECCOMP_SET_MODE_STRICT = 0,
    SECCOMP_SET_MODE_FILTER = 1,
    SECCOMP_GET_ACTION_AVAIL = 2,
    SECCOMP_GET_NOTIF_SIZES = 3,
    SECCOMP_FILTER_FLAG_TSYNC = 1,
    SECCOMP_FILTER_FLAG_LOG = 2,
    SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4,
    SECCOMP_FILTER_FLAG_NEW_LISTENER = 8,
    SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 0x10,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 0x20,
    SECCOMP_RET_KILL_PROCESS = 0x80000000,
    SECCOMP_RET_KILL_THREAD = 0x0,
    SECCOMP_RET_KILL = 0x0,
    SECCOMP_RET_TRAP = 0x30000,
    SECCOMP_RET_ERRNO = 0x50000,
    SECCOMP_RET_USER_NOTIF = 0x7fc00000,
    SECCOMP_RET_TRACE = 0x7ff00000,
    SECCOMP_RET_LOG = 0x7ffc0000,
    SECCOMP_RET_ALLOW = 0x7fff0000,
    SECCOMP_RET_ACTION_FULL = 0xffff0000,
    SECCOMP_RET_ACTION = 0x7fff0000,
    SECCOMP_RET_DATA = 0xffff,
    SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1,
    SECCOMP_ADDFD_FLAG_SETFD = 1,
    SECCOMP_ADDFD_FLAG_SEND = 2,
    SECCOMP_IOC_MAGIC = 33,
    BPF_LD = 0x0,
    BPF_LDX = 0x1,
    BPF_ST = 0x2,
    BPF_STX = 0x3,
    BPF_ALU = 0x4,
    BPF_JMP = 0x5,
    BPF_RET = 0x6,
    BPF_MISC = 0x7,
    BPF_W = 0x0,
    BPF_B = 0x10,
    BPF_IMM = 0x0,
    BPF_ABS = 0x20,
    BPF_IND = 0x40,
    BPF_MEM = 0x60,
    BPF_LEN = 0x80,
    BPF_MSH = 0xa0,
    BPF_ADD = 0x0,
    BPF_SUB = 0x10,
    BPF_MUL = 0x20,
    BPF_DIV = 0x30,
    BPF_OR = 0x40,
    BPF_AND = 0x50,
    BPF_LSH = 0x60,
    BPF_RSH = 0x70,
    BPF_NEG = 0x80,
    BPF_MOD = 0x90,
    BPF_XOR = 0xa0,
    BPF_JA = 0x0,
    BPF_JEQ = 0x10,
    BPF_JGT = 0x20,
    BPF_JGE = 0x30,
    BPF_JSET = 0x40,
    BPF_K = 0x0,
    BPF_X = 0x8,
    BPF_MAXINSNS = 4096,
    BPF_MAJOR_VERSION = 1,
    BPF_MINOR_VERSION = 1,
    BPF_A = 0x10,
    BPF_TAX = 0x0,
    BPF_TXA = 0x80,
    BPF_MEMWORDS = 16,
    SKF_AD_OFF = -4096,
    SKF_AD_PROTOCOL = 0,
    SKF_AD_PKTTYPE = 4,
    SKF_AD_IFINDEX = 8,
    SKF_AD_NLATTR = 12,
    SKF_AD_NLATTR_NEST = 16,
    SKF_AD_MARK = 20,
    SKF_AD_QUEUE = 24,
    SKF_AD_HATYPE = 28,
    SKF_AD_RXHASH = 32,
    SKF_AD_CPU = 36,
    SKF_AD_ALU_XOR_X = 40,
    SKF_AD_VLAN_TAG = 44,
    SKF_AD_VLAN_TAG_PRESENT = 48,
    SKF_AD_PAY_OFFSET = 52,
    SKF_AD_RANDOM = 56,
    SKF_AD_VLAN_TPID = 60,
    SKF_AD_MAX = 64,
    SKF_NET_OFF = -1048576,
    SKF_LL_OFF = -2097152,
    BPF_NET_OFF = -1048576,
    BPF_LL_OFF = -2097152,
    AUDIT_ARCH_AARCH64 = 0xc00000b7,
    AUDIT_ARCH_ARM = 0x40000028,
    AUDIT_ARCH_I386 = 0x40000003,
    AUDIT_ARCH_X86_64 = 0xc000003e,
  },
  structs = [[
    struct @sock_filter {
      uint16_t code;
      uint8_t jt;
      uint8_t jf;
      uint32_t k;
    };
    struct @sock_fprog {
      uint16_t len;
      uint64_t filter;
    };
    struct @seccomp_data {
      int32_t nr;
      uint32_t arch;
      uint64_t instruction_pointer;
      uint64_t args[6];
    };
    struct @seccomp_notif {
      uint64_t id;
      uint32_t pid;
      uint32_t flags;
      struct @seccomp_data data;
    };
    struct @seccomp_notif_resp {
      uint64_t id;
      int64_t val;
      int32_t error;
      uint32_t flags;
    };
    struct @seccomp_notif_addfd {
      uint64_t id;
      uint32_t flags;
      uint32_t srcfd;
      uint32_t newfd;
      uint32_t newfd_flags;
    };
  ]],
}
