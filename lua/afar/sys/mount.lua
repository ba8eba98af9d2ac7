-- mount(2), umount2(2), fsopen(2), move_mount(2), mount_setattr(2), statmount(2)
return {
  headers = { "sys/mount.h" },
  constants = {
    MS_RDONLY = 1,
    MS_NOSUID = 2,
    MS_NODEV = 4,
    MS_NOEXEC = 8,
    MS_SYNCHRONOUS = 16,
    MS_REMOUNT = 32,
    MS_MANDLOCK = 64,
    MS_DIRSYNC = 128,
    MS_NOSYMFOLLOW = 256,
    MS_NOATIME = 1024,
    MS_NODIRATIME = 2048,
    MS_BIND = 4096,
    MS_MOVE = 8192,
    MS_REC = 16384,
    MS_SILENT = 32768,
    MS_POSIXACL = 0x10000,
    MS_UNBINDABLE = 0x20000,
    MS_PRIVATE = 0x40000,
    MS_SLAVE = 0x80000,
    MS_SHARED = 0x100000,
    MS_RELATIME = 0x200000,
    MS_KERNMOUNT = 0x400000,
    MS_I_VERSION = 0x800000,
    MS_STRICTATIME = 0x1000000,
    MS_LAZYTIME = 0x2000000,
    MS_SUBMOUNT = 0x4000000,
    MS_NOREMOTELOCK = 0x8000000,
    MS_NOSEC = 0x10000000,
    MS_BORN = 0x20000000,
    MS_ACTIVE = 0x40000000,
    MS_NOUSER = -2147483648,
    MS_RMT_MASK = 0x2800051,
    MS_MGC_VAL = 0xc0ed0000,
    MS_MGC_MSK = 0xffff0000,
    OPEN_TREE_CLONE = 1,
    OPEN_TREE_CLOEXEC = 0x80000,
    MOVE_MOUNT_F_SYMLINKS = 0x1,
    MOVE_MOUNT_F_AUTOMOUNTS = 0x2,
    MOVE_MOUNT_F_EMPTY_PATH = 0x4,
    MOVE_MOUNT_T_SYMLINKS = 0x10,
    MOVE_MOUNT_T_AUTOMOUNTS = 0x20,
    MOVE_MOUNT_T_EMPTY_PATH = 0x40,
    MOVE_MOUNT_SET_GROUP = 0x100,
    MOVE_MOUNT__MASK = 0x177,
    FSOPEN_CLOEXEC = 0x1,
    FSPICK_CLOEXEC = 0x1,
    FSPICK_SYMLINK_NOFOLLOW = 0x2,
    FSPICK_NO_AUTOMOUNT = 0x4,
    FSPICK_EMPTY_PATH = 0x8,
    FSCONFIG_SET_FLAG = 0,
    FSCONFIG_SET_STRING = 1,
    FSCONFIG_SET_BINARY = 2,
    FSCONFIG_SET_PATH = 3,
    FSCONFIG_SET_PATH_EMPTY = 4,
    FSCONFIG_SET_FD = 5,
    FSCONFIG_CMD_CREATE = 6,
    FSCONFIG_CMD_RECONFIGURE = 7,
    FSMOUNT_CLOEXEC = 0x1,
    MOUNT_ATTR_RDONLY = 0x1,
    MOUNT_ATTR_NOSUID = 0x2,
    MOUNT_ATTR_NODEV = 0x4,
    MOUNT_ATTR_NOEXEC = 0x8,
    MOUNT_ATTR__ATIME = 0x70,
    MOUNT_ATTR_RELATIME = 0x0,
    MOUNT_ATTR_NOATIME = 0x10,
    MOUNT_ATTR_STRICTATIME = 0x20,
    MOUNT_ATTR_NODIRATIME = 0x80,
    MOUNT_ATTR_IDMAP = 0x100000,
    MOUNT_ATTR_NOSYMFOLLOW = 0x200000,
    MOUNT_ATTR_SIZE_VER0 = 32,
    MNT_FORCE = 1,
    MNT_DETACH = 2,
    MNT_EXPIRE = 4,
    UMOUNT_NOFOLLOW = 8,
  },
  -- Newer than the headers of Linux 6.1.
  newer = {
    MOVE_MOUNT_BENEATH = 0x200,
    FSCONFIG_CMD_CREATE_EXCL = 8,
    STATMOUNT_SB_BASIC = 0x1,
    STATMOUNT_MNT_BASIC = 0x2,
    STATMOUNT_PROPAGATE_FROM = 0x4,
    STATMOUNT_MNT_ROOT = 0x8,
    STATMOUNT_MNT_POINT = 0x10,
    STATMOUNT_FS_TYPE = 0x20,
    STATMOUNT_MNT_NS_ID = 0x40,
    STATMOUNT_MNT_OPTS = 0x80,
    STATMOUNT_FS_SUBTYPE = 0x100,
    STATMOUNT_SB_SOURCE = 0x200,
    STATMOUNT_OPT_ARRAY = 0x400,
    STATMOUNT_OPT_SEC_ARRAY = 0x800,
    STATMOUNT_SUPPORTED_MASK = 0x1000,
    STATMOUNT_MNT_UIDMAP = 0x2000,
    STATMOUNT_MNT_GIDMAP = 0x4000,
    LISTMOUNT_REVERSE = 0x1,
    LSMT_ROOT = 0xffffffffffffffffULL,
  },
  structs = [[
    struct @mount_attr {
      uint64_t attr_set;
      uint64_t attr_clr;
      uint64_t propagation;
      uint64_t userns_fd;
    };
  ]],
  -- Newer too.
  newer_structs = [[
    struct @mnt_id_req {
      uint32_t size;
      uint32_t spare;
      uint64_t mnt_id;
      uint64_t param;
      uint64_t mnt_ns_id;
    };
    struct @statmount {
      uint32_t size;
      uint32_t mnt_opts;
      uint64_t mask;
      uint32_t sb_dev_major;
      uint32_t sb_dev_minor;
      uint64_t sb_magic;
      uint32_t sb_flags;
      uint32_t fs_type;
      uint64_t mnt_id;
      uint64_t mnt_parent_id;
      uint32_t mnt_id_old;
      uint32_t mnt_parent_id_old;
      uint64_t mnt_attr;
      uint64_t mnt_propagation;
      uint64_t mnt_peer_group;
      uint64_t mnt_master;
      uint64_t propagate_from;
      uint32_t mnt_root;
      uint32_t mnt_point;
      uint64_t mnt_ns_id;
      uint32_t fs_subtype;
      uint32_t sb_source;
      uint32_t opt_num;
      uint32_t opt_array;
      uint32_t opt_sec_num;
      uint32_t opt_sec_array;
      uint64_t supported_mask;
      uint32_t mnt_uidmap_num;
      uint32_t mnt_uidmap;
      uint32_t mnt_gidmap_num;
      uint32_t mnt_gidmap;
      uint64_t __spare2[43];
      char str[0];
    };
  ]],
}
