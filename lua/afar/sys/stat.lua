-- stat(2), statx(2), inode(7)
return {
  headers = { "linux/stat.h", "asm/stat.h" },
  constants = {
    S_IFMT = 0xf000,
    S_IFSOCK = 0xc000,
    S_IFLNK = 0xa000,
    S_IFREG = 0x8000,
    S_IFBLK = 0x6000,
    S_IFDIR = 0x4000,
    S_IFCHR = 0x2000,
    S_IFIFO = 0x1000,
    S_ISUID = 0x800,
    S_ISGID = 0x400,
    S_ISVTX = 0x200,
    S_IRWXU = 0x1c0,
    S_IRUSR = 0x100,
    S_IWUSR = 0x80,
    S_IXUSR = 0x40,
    S_IRWXG = 0x38,
    S_IRGRP = 0x20,
    S_IWGRP = 0x10,
    S_IXGRP = 8,
    S_IRWXO = 7,
    S_IROTH = 4,
    S_IWOTH = 2,
    S_IXOTH = 1,
    STATX_TYPE = 0x1,
    STATX_MODE = 0x2,
    STATX_NLINK = 0x4,
    STATX_UID = 0x8,
    STATX_GID = 0x10,
    STATX_ATIME = 0x20,
    STATX_MTIME = 0x40,
    STATX_CTIME = 0x80,
    STATX_INO = 0x100,
    STATX_SIZE = 0x200,
    STATX_BLOCKS = 0x400,
    STATX_BASIC_STATS = 0x7ff,
    STATX_BTIME = 0x800,
    STATX_MNT_ID = 0x1000,
    STATX_DIOALIGN = 0x2000,
    STATX_ALL = 0xfff,
    STATX_ATTR_COMPRESSED = 0x4,
    STATX_ATTR_IMMUTABLE = 0x10,
    STATX_ATTR_APPEND = 0x20,
    STATX_ATTR_NODUMP = 0x40,
    STATX_ATTR_ENCRYPTED = 0x800,
    STATX_ATTR_AUTOMOUNT = 0x1000,
    STATX_ATTR_MOUNT_ROOT = 0x2000,
    STATX_ATTR_VERITY = 0x100000,
    STATX_ATTR_DAX = 0x200000,
  },
  -- Newer than the headers of Linux 6.1.
  newer = {
    STATX_MNT_ID_UNIQUE = 0x4000,
    STATX_SUBVOL = 0x8000,
    STATX_WRITE_ATOMIC = 0x10000,
    STATX_DIO_READ_ALIGN = 0x20000,
    STATX_ATTR_WRITE_ATOMIC = 0x400000,
  },
  structs = [[
    struct @statx_timestamp {
      int64_t tv_sec;
      uint32_t tv_nsec;
      int32_t __reserved;
    };
    struct @statx {
      uint32_t stx_mask;
      uint32_t stx_blksize;
      uint64_t stx_attributes;
      uint32_t stx_nlink;
      uint32_t stx_uid;
      uint32_t stx_gid;
      uint16_t stx_mode;
      uint16_t __spare0[1];
      uint64_t stx_ino;
      uint64_t stx_size;
      uint64_t stx_blocks;
      uint64_t stx_attributes_mask;
      struct @statx_timestamp stx_atime;
      struct @statx_timestamp stx_btime;
      struct @statx_timestamp stx_ctime;
      struct @statx_timestamp stx_mtime;
      uint32_t stx_rdev_major;
      uint32_t stx_rdev_minor;
      uint32_t stx_dev_major;
      uint32_t stx_dev_minor;
      uint64_t stx_mnt_id;
      uint32_t stx_dio_mem_align;
      uint32_t stx_dio_offset_align;
      uint64_t __spare3[12];
    };
  ]],
  x86_64 = {
    structs = [[
      struct @stat {
        uint64_t st_dev;
        uint64_t st_ino;
        uint64_t st_nlink;
        uint32_t st_mode;
        uint32_t st_uid;
        uint32_t st_gid;
        uint32_t __pad0;
        uint64_t st_rdev;
        int64_t st_size;
        int64_t st_blksize;
        int64_t st_blocks;
        uint64_t st_atime;
        uint64_t st_atime_nsec;
        uint64_t st_mtime;
        uint64_t st_mtime_nsec;
        uint64_t st_ctime;
        uint64_t st_ctime_nsec;
        int64_t __unused[3];
      };
    ]],
  },
  aarch64 = {
    structs = [[
      struct @stat {
        uint64_t st_dev;
        uint64_t st_ino;
        uint32_t st_mode;
        uint32_t st_nlink;
        uint32_t st_uid;
        uint32_t st_gid;
        uint64_t st_rdev;
        uint64_t __pad1;
        int64_t st_size;
        int32_t st_blksize;
        int32_t __pad2;
        int64_t st_blocks;
        int64_t st_atime;
        uint64_t st_atime_nsec;
        int64_t st_mtime;
        uint64_t st_mtime_nsec;
        int64_t st_ctime;
        uint64_t st_ctime_nsec;
        uint32_t __unused4;
        uint32_t __unused5;
      };
    ]],
  },
}
