-- sock_diag(7)
return {
  headers = { "linux/sock_diag.h", "linux/inet_diag.h", "linux/unix_diag.h" },
  constants = {
    SOCK_DIAG_BY_FAMILY = 20,
    SOCK_DESTROY = 21,
    SK_MEMINFO_RMEM_ALLOC = 0,
    SK_MEMINFO_RCVBUF = 1,
    SK_MEMINFO_WMEM_ALLOC = 2,
    SK_MEMINFO_SNDBUF = 3,
    SK_MEMINFO_FWD_ALLOC = 4,
    SK_MEMINFO_WMEM_QUEUED = 5,
    SK_MEMINFO_OPTMEM = 6,
    SK_MEMINFO_BACKLOG = 7,
    SK_MEMINFO_DROPS = 8,
    SK_MEMINFO_VARS = 9,
    SK_DIAG_BPF_STORAGE_REQ_NONE = 0,
    SK_DIAG_BPF_STORAGE_REQ_MAP_FD = 1,
    SK_DIAG_BPF_STORAGE_REP_NONE = 0,
    SK_DIAG_BPF_STORAGE = 1,
    SK_DIAG_BPF_STORAGE_NONE = 0,
    SK_DIAG_BPF_STORAGE_PAD = 1,
    SK_DIAG_BPF_STORAGE_MAP_ID = 2,
    SK_DIAG_BPF_STORAGE_MAP_VALUE = 3,
    TCPDIAG_GETSOCK = 18,
    DCCPDIAG_GETSOCK = 19,
    INET_DIAG_NOCOOKIE = 0xffffffff,
    INET_DIAG_REQ_NONE = 0,
    INET_DIAG_REQ_BYTECODE = 1,
    INET_DIAG_REQ_SK_BPF_STORAGES = 2,
    INET_DIAG_REQ_PROTOCOL = 3,
    INET_DIAG_BC_NOP = 0,
    INET_DIAG_BC_JMP = 1,
    INET_DIAG_BC_S_GE = 2,
    INET_DIAG_BC_S_LE = 3,
    INET_DIAG_BC_D_GE = 4,
    INET_DIAG_BC_D_LE = 5,
    INET_DIAG_BC_AUTO = 6,
    INET_DIAG_BC_S_COND = 7,
    INET_DIAG_BC_D_COND = 8,
    INET_DIAG_BC_DEV_COND = 9,
    INET_DIAG_BC_MARK_COND = 10,
    INET_DIAG_BC_S_EQ = 11,
    INET_DIAG_BC_D_EQ = 12,
    INET_DIAG_BC_CGROUP_COND = 13,
    INET_DIAG_NONE = 0,
    INET_DIAG_MEMINFO = 1,
    INET_DIAG_INFO = 2,
    INET_DIAG_VEGASINFO = 3,
    INET_DIAG_CONG = 4,
    INET_DIAG_TOS = 5,
    INET_DIAG_TCLASS = 6,
    INET_DIAG_SKMEMINFO = 7,
    INET_DIAG_SHUTDOWN = 8,
    INET_DIAG_DCTCPINFO = 9,
    INET_DIAG_PROTOCOL = 10,
    INET_DIAG_SKV6ONLY = 11,
    INET_DIAG_LOCALS = 12,
    INET_DIAG_PEERS = 13,
    INET_DIAG_PAD = 14,
    INET_DIAG_MARK = 15,
    INET_DIAG_BBRINFO = 16,
    INET_DIAG_CLASS_ID = 17,
    INET_DIAG_MD5SIG = 18,
    INET_DIAG_ULP_INFO = 19,
    INET_DIAG_SK_BPF_STORAGES = 20,
    INET_DIAG_CGROUP_ID = 21,
    INET_DIAG_SOCKOPT = 22,
    UDIAG_SHOW_NAME = 0x1,
    UDIAG_SHOW_VFS = 0x2,
    UDIAG_SHOW_PEER = 0x4,
    UDIAG_SHOW_ICONS = 0x8,
    UDIAG_SHOW_RQLEN = 0x10,
    UDIAG_SHOW_MEMINFO = 0x20,
    UDIAG_SHOW_UID = 0x40,
    UNIX_DIAG_NAME = 0,
    UNIX_DIAG_VFS = 1,
    UNIX_DIAG_PEER = 2,
    UNIX_DIAG_ICONS = 3,
    UNIX_DIAG_RQLEN = 4,
    UNIX_DIAG_MEMINFO = 5,
    UNIX_DIAG_SHUTDOWN = 6,
    UNIX_DIAG_UID = 7,
  },
  structs = [[
    struct @inet_diag_sockid {
      uint16_t idiag_sport;
      uint16_t idiag_dport;
      uint32_t idiag_src[4];
      uint32_t idiag_dst[4];
      uint32_t idiag_if;
      uint32_t idiag_cookie[2];
    };
    struct @inet_diag_req_v2 {
      uint8_t sdiag_family;
      uint8_t sdiag_protocol;
      uint8_t idiag_ext;
      uint8_t pad;
      uint32_t idiag_states;
      struct @inet_diag_sockid id;
    };
    struct @inet_diag_msg {
      uint8_t idiag_family;
      uint8_t idiag_state;
      uint8_t idiag_timer;
      uint8_t idiag_retrans;
      struct @inet_diag_sockid id;
      uint32_t idiag_expires;
      uint32_t idiag_rqueue;
      uint32_t idiag_wqueue;
      uint32_t idiag_uid;
      uint32_t idiag_inode;
    };
  ]],
}
