-- netlink(7), genetlink
return {
  headers = { "linux/netlink.h", "linux/genetlink.h" },
  constants = {
    NETLINK_ROUTE = 0,
    NETLINK_UNUSED = 1,
    NETLINK_USERSOCK = 2,
    NETLINK_FIREWALL = 3,
    NETLINK_SOCK_DIAG = 4,
    NETLINK_NFLOG = 5,
    NETLINK_XFRM = 6,
    NETLINK_SELINUX = 7,
    NETLINK_ISCSI = 8,
    NETLINK_AUDIT = 9,
    NETLINK_FIB_LOOKUP = 10,
    NETLINK_CONNECTOR = 11,
    NETLINK_NETFILTER = 12,
    NETLINK_IP6_FW = 13,
    NETLINK_DNRTMSG = 14,
    NETLINK_KOBJECT_UEVENT = 15,
    NETLINK_GENERIC = 16,
    NETLINK_SCSITRANSPORT = 18,
    NETLINK_ECRYPTFS = 19,
    NETLINK_RDMA = 20,
    NETLINK_CRYPTO = 21,
    NETLINK_SMC = 22,
    NETLINK_INET_DIAG = 4,
    NLM_F_REQUEST = 0x1,
    NLM_F_MULTI = 0x2,
    NLM_F_ACK = 0x4,
    NLM_F_ECHO = 0x8,
    NLM_F_DUMP_INTR = 0x10,
    NLM_F_DUMP_FILTERED = 0x20,
    NLM_F_ROOT = 0x100,
    NLM_F_MATCH = 0x200,
    NLM_F_ATOMIC = 0x400,
    NLM_F_DUMP = 0x300,
    NLM_F_REPLACE = 0x100,
    NLM_F_EXCL = 0x200,
    NLM_F_CREATE = 0x400,
    NLM_F_APPEND = 0x800,
    NLM_F_NONREC = 0x100,
    NLM_F_BULK = 0x200,
    NLM_F_CAPPED = 0x100,
    NLM_F_ACK_TLVS = 0x200,
    NLMSG_NOOP = 0x1,
    NLMSG_ERROR = 0x2,
    NLMSG_DONE = 0x3,
    NLMSG_OVERRUN = 0x4,
    NLMSG_MIN_TYPE = 0x10,
    NLMSGERR_ATTR_UNUSED = 0,
    NLMSGERR_ATTR_MSG = 1,
    NLMSGERR_ATTR_OFFS = 2,
    NLMSGERR_ATTR_COOKIE = 3,
    NLMSGERR_ATTR_POLICY = 4,
    NLMSGERR_ATTR_MISS_TYPE = 5,
    NLMSGERR_ATTR_MISS_NEST = 6,
    NETLINK_ADD_MEMBERSHIP = 1,
    NETLINK_DROP_MEMBERSHIP = 2,
    NETLINK_PKTINFO = 3,
    NETLINK_BROADCAST_ERROR = 4,
    NETLINK_NO_ENOBUFS = 5,
    NETLINK_RX_RING = 6,
    NETLINK_TX_RING = 7,
    NETLINK_LISTEN_ALL_NSID = 8,
    NETLINK_LIST_MEMBERSHIPS = 9,
    NETLINK_CAP_ACK = 10,
    NETLINK_EXT_ACK = 11,
    NETLINK_GET_STRICT_CHK = 12,
    NETLINK_UNCONNECTED = 0,
    NETLINK_CONNECTED = 1,
    NLA_F_NESTED = 0x8000,
    NLA_F_NET_BYTEORDER = 0x4000,
    NLA_TYPE_MASK = -49153,
    NLA_ALIGNTO = 4,
    NLA_HDRLEN = 4,
    GENL_NAMSIZ = 16,
    GENL_MIN_ID = 0x10,
    GENL_MAX_ID = 1023,
    GENL_HDRLEN = 4,
    GENL_ADMIN_PERM = 0x1,
    GENL_CMD_CAP_DO = 0x2,
    GENL_CMD_CAP_DUMP = 0x4,
    GENL_CMD_CAP_HASPOL = 0x8,
    GENL_UNS_ADMIN_PERM = 0x10,
    GENL_ID_CTRL = 0x10,
    GENL_ID_VFS_DQUOT = 17,
    GENL_ID_PMCRAID = 18,
    GENL_START_ALLOC = 19,
    CTRL_CMD_UNSPEC = 0,
    CTRL_CMD_NEWFAMILY = 1,
    CTRL_CMD_DELFAMILY = 2,
    CTRL_CMD_GETFAMILY = 3,
    CTRL_CMD_NEWOPS = 4,
    CTRL_CMD_DELOPS = 5,
    CTRL_CMD_GETOPS = 6,
    CTRL_CMD_NEWMCAST_GRP = 7,
    CTRL_CMD_DELMCAST_GRP = 8,
    CTRL_CMD_GETMCAST_GRP = 9,
    CTRL_CMD_GETPOLICY = 10,
    CTRL_ATTR_UNSPEC = 0,
    CTRL_ATTR_FAMILY_ID = 1,
    CTRL_ATTR_FAMILY_NAME = 2,
    CTRL_ATTR_VERSION = 3,
    CTRL_ATTR_HDRSIZE = 4,
    CTRL_ATTR_MAXATTR = 5,
    CTRL_ATTR_OPS = 6,
    CTRL_ATTR_MCAST_GROUPS = 7,
    CTRL_ATTR_POLICY = 8,
    CTRL_ATTR_OP_POLICY = 9,
    CTRL_ATTR_OP = 10,
    CTRL_ATTR_OP_UNSPEC = 0,
    CTRL_ATTR_OP_ID = 1,
    CTRL_ATTR_OP_FLAGS = 2,
    CTRL_ATTR_MCAST_GRP_UNSPEC = 0,
    CTRL_ATTR_MCAST_GRP_NAME = 1,
    CTRL_ATTR_MCAST_GRP_ID = 2,
    CTRL_ATTR_POLICY_UNSPEC = 0,
    CTRL_ATTR_POLICY_DO = 1,
    CTRL_ATTR_POLICY_DUMP = 2,
  },
  structs = [[
    struct @sockaddr_nl {
      uint16_t nl_family;
      uint16_t nl_pad;
      uint32_t nl_pid;
      uint32_t nl_groups;
    };
    struct @nlmsghdr {
      uint32_t nlmsg_len;
      uint16_t nlmsg_type;
      uint16_t nlmsg_flags;
      uint32_t nlmsg_seq;
      uint32_t nlmsg_pid;
    };
    struct @nlmsgerr {
      int32_t error;
      struct @nlmsghdr msg;
    };
    struct @nlattr {
      uint16_t nla_len;
      uint16_t nla_type;
    };
    struct @genlmsghdr {
      uint8_t cmd;
      uint8_t version;
      uint16_t reserved;
    };
  ]],
}
