-- fuse(4): the kernel's side of a filesystem that a program serves
return {
  headers = { "linux/fuse.h" },
  constants = {
    FUSE_LOOKUP = 1,
    FUSE_FORGET = 2,
    FUSE_GETATTR = 3,
    FUSE_SETATTR = 4,
    FUSE_READLINK = 5,
    FUSE_SYMLINK = 6,
    FUSE_MKNOD = 8,
    FUSE_MKDIR = 9,
    FUSE_UNLINK = 10,
    FUSE_RMDIR = 11,
    FUSE_RENAME = 12,
    FUSE_LINK = 13,
    FUSE_OPEN = 14,
    FUSE_READ = 15,
    FUSE_WRITE = 16,
    FUSE_STATFS = 17,
    FUSE_RELEASE = 18,
    FUSE_FSYNC = 20,
    FUSE_SETXATTR = 21,
    FUSE_GETXATTR = 22,
    FUSE_LISTXATTR = 23,
    FUSE_REMOVEXATTR = 24,
    FUSE_FLUSH = 25,
    FUSE_INIT = 26,
    FUSE_OPENDIR = 27,
    FUSE_READDIR = 28,
    FUSE_RELEASEDIR = 29,
    FUSE_FSYNCDIR = 30,
    FUSE_GETLK = 31,
    FUSE_SETLK = 32,
    FUSE_SETLKW = 33,
    FUSE_ACCESS = 34,
    FUSE_CREATE = 35,
    FUSE_INTERRUPT = 36,
    FUSE_BMAP = 37,
    FUSE_DESTROY = 38,
    FUSE_IOCTL = 39,
    FUSE_POLL = 40,
    FUSE_BATCH_FORGET = 42,
    FUSE_FALLOCATE = 43,
    FUSE_READDIRPLUS = 44,
    FUSE_RENAME2 = 45,
    FUSE_LSEEK = 46,
    FUSE_COPY_FILE_RANGE = 47,
    FUSE_SETUPMAPPING = 48,
    FUSE_REMOVEMAPPING = 49,
    FUSE_SYNCFS = 50,
    FUSE_TMPFILE = 51,
    FUSE_KERNEL_VERSION = 7,
    FUSE_ROOT_ID = 1,
    FATTR_MODE = 1,
    FATTR_UID = 2,
    FATTR_GID = 4,
    FATTR_SIZE = 8,
    FATTR_ATIME = 0x10,
    FATTR_MTIME = 0x20,
    FATTR_FH = 0x40,
    FATTR_ATIME_NOW = 0x80,
    FATTR_MTIME_NOW = 0x100,
    FATTR_LOCKOWNER = 0x200,
    FATTR_CTIME = 0x400,
    FATTR_KILL_SUIDGID = 0x800,
    FOPEN_DIRECT_IO = 1,
    FOPEN_KEEP_CACHE = 2,
    FOPEN_NONSEEKABLE = 4,
    FOPEN_CACHE_DIR = 8,
    FOPEN_STREAM = 0x10,
    FOPEN_NOFLUSH = 0x20,
    FUSE_ASYNC_READ = 1,
    FUSE_POSIX_LOCKS = 2,
    FUSE_FILE_OPS = 4,
    FUSE_ATOMIC_O_TRUNC = 8,
    FUSE_EXPORT_SUPPORT = 0x10,
    FUSE_BIG_WRITES = 0x20,
    FUSE_DONT_MASK = 0x40,
    FUSE_SPLICE_WRITE = 0x80,
    FUSE_SPLICE_MOVE = 0x100,
    FUSE_SPLICE_READ = 0x200,
    FUSE_FLOCK_LOCKS = 0x400,
    FUSE_HAS_IOCTL_DIR = 0x800,
    FUSE_AUTO_INVAL_DATA = 0x1000,
    FUSE_DO_READDIRPLUS = 0x2000,
    FUSE_READDIRPLUS_AUTO = 0x4000,
    FUSE_ASYNC_DIO = 0x8000,
    FUSE_WRITEBACK_CACHE = 0x10000,
    FUSE_NO_OPEN_SUPPORT = 0x20000,
    FUSE_PARALLEL_DIROPS = 0x40000,
    FUSE_HANDLE_KILLPRIV = 0x80000,
    FUSE_POSIX_ACL = 0x100000,
    FUSE_ABORT_ERROR = 0x200000,
    FUSE_MAX_PAGES = 0x400000,
    FUSE_CACHE_SYMLINKS = 0x800000,
    FUSE_NO_OPENDIR_SUPPORT = 0x1000000,
    FUSE_EXPLICIT_INVAL_DATA = 0x2000000,
    FUSE_MAP_ALIGNMENT = 0x4000000,
    FUSE_SUBMOUNTS = 0x8000000,
    FUSE_HANDLE_KILLPRIV_V2 = 0x10000000,
    FUSE_SETXATTR_EXT = 0x20000000,
    FUSE_INIT_EXT = 0x40000000,
    FUSE_SECURITY_CTX = 0x100000000,
    FUSE_HAS_INODE_DAX = 0x200000000,
    FUSE_RELEASE_FLUSH = 1,
    FUSE_RELEASE_FLOCK_UNLOCK = 2,
    FUSE_GETATTR_FH = 1,
    FUSE_LK_FLOCK = 1,
    FUSE_WRITE_CACHE = 1,
    FUSE_WRITE_LOCKOWNER = 2,
    FUSE_WRITE_KILL_SUIDGID = 4,
    FUSE_WRITE_KILL_PRIV = 4,
    FUSE_READ_LOCKOWNER = 2,
    FUSE_POLL_SCHEDULE_NOTIFY = 1,
    FUSE_FSYNC_FDATASYNC = 1,
    FUSE_ATTR_SUBMOUNT = 1,
    FUSE_ATTR_DAX = 2,
    FUSE_OPEN_KILL_SUIDGID = 1,
    FUSE_SETXATTR_ACL_KILL_SGID = 1,
    FUSE_MIN_READ_BUFFER = 0x2000,
  },
  newer = {
    FUSE_HAS_EXPIRE_ONLY = 0x800000000,
    FOPEN_PARALLEL_DIRECT_WRITES = 0x40,
    FUSE_EXPIRE_ONLY = 1,
  },
  structs = [[
    struct @fuse_attr {
      uint64_t ino;
      uint64_t size;
      uint64_t blocks;
      uint64_t atime;
      uint64_t mtime;
      uint64_t ctime;
      uint32_t atimensec;
      uint32_t mtimensec;
      uint32_t ctimensec;
      uint32_t mode;
      uint32_t nlink;
      uint32_t uid;
      uint32_t gid;
      uint32_t rdev;
      uint32_t blksize;
      uint32_t flags;
    };
    struct @fuse_kstatfs {
      uint64_t blocks;
      uint64_t bfree;
      uint64_t bavail;
      uint64_t files;
      uint64_t ffree;
      uint32_t bsize;
      uint32_t namelen;
      uint32_t frsize;
      uint32_t padding;
      uint32_t spare[6];
    };
    struct @fuse_entry_out {
      uint64_t nodeid;
      uint64_t generation;
      uint64_t entry_valid;
      uint64_t attr_valid;
      uint32_t entry_valid_nsec;
      uint32_t attr_valid_nsec;
      struct @fuse_attr attr;
    };
    struct @fuse_forget_in {
      uint64_t nlookup;
    };
    struct @fuse_forget_one {
      uint64_t nodeid;
      uint64_t nlookup;
    };
    struct @fuse_batch_forget_in {
      uint32_t count;
      uint32_t dummy;
    };
    struct @fuse_getattr_in {
      uint32_t getattr_flags;
      uint32_t dummy;
      uint64_t fh;
    };
    struct @fuse_attr_out {
      uint64_t attr_valid;
      uint32_t attr_valid_nsec;
      uint32_t dummy;
      struct @fuse_attr attr;
    };
    struct @fuse_mknod_in {
      uint32_t mode;
      uint32_t rdev;
      uint32_t umask;
      uint32_t padding;
    };
    struct @fuse_mkdir_in {
      uint32_t mode;
      uint32_t umask;
    };
    struct @fuse_rename_in {
      uint64_t newdir;
    };
    struct @fuse_rename2_in {
      uint64_t newdir;
      uint32_t flags;
      uint32_t padding;
    };
    struct @fuse_link_in {
      uint64_t oldnodeid;
    };
    struct @fuse_setattr_in {
      uint32_t valid;
      uint32_t padding;
      uint64_t fh;
      uint64_t size;
      uint64_t lock_owner;
      uint64_t atime;
      uint64_t mtime;
      uint64_t ctime;
      uint32_t atimensec;
      uint32_t mtimensec;
      uint32_t ctimensec;
      uint32_t mode;
      uint32_t unused4;
      uint32_t uid;
      uint32_t gid;
      uint32_t unused5;
    };
    struct @fuse_open_in {
      uint32_t flags;
      uint32_t open_flags;
    };
    struct @fuse_create_in {
      uint32_t flags;
      uint32_t mode;
      uint32_t umask;
      uint32_t open_flags;
    };
    struct @fuse_open_out {
      uint64_t fh;
      uint32_t open_flags;
      uint32_t padding;
    };
    struct @fuse_release_in {
      uint64_t fh;
      uint32_t flags;
      uint32_t release_flags;
      uint64_t lock_owner;
    };
    struct @fuse_flush_in {
      uint64_t fh;
      uint32_t unused;
      uint32_t padding;
      uint64_t lock_owner;
    };
    struct @fuse_read_in {
      uint64_t fh;
      uint64_t offset;
      uint32_t size;
      uint32_t read_flags;
      uint64_t lock_owner;
      uint32_t flags;
      uint32_t padding;
    };
    struct @fuse_write_in {
      uint64_t fh;
      uint64_t offset;
      uint32_t size;
      uint32_t write_flags;
      uint64_t lock_owner;
      uint32_t flags;
      uint32_t padding;
    };
    struct @fuse_write_out {
      uint32_t size;
      uint32_t padding;
    };
    struct @fuse_statfs_out {
      struct @fuse_kstatfs st;
    };
    struct @fuse_fsync_in {
      uint64_t fh;
      uint32_t fsync_flags;
      uint32_t padding;
    };
    struct @fuse_setxattr_in {
      uint32_t size;
      uint32_t flags;
      uint32_t setxattr_flags;
      uint32_t padding;
    };
    struct @fuse_getxattr_in {
      uint32_t size;
      uint32_t padding;
    };
    struct @fuse_getxattr_out {
      uint32_t size;
      uint32_t padding;
    };
    struct @fuse_access_in {
      uint32_t mask;
      uint32_t padding;
    };
    struct @fuse_init_in {
      uint32_t major;
      uint32_t minor;
      uint32_t max_readahead;
      uint32_t flags;
      uint32_t flags2;
      uint32_t unused[11];
    };
    struct @fuse_init_out {
      uint32_t major;
      uint32_t minor;
      uint32_t max_readahead;
      uint32_t flags;
      uint16_t max_background;
      uint16_t congestion_threshold;
      uint32_t max_write;
      uint32_t time_gran;
      uint16_t max_pages;
      uint16_t map_alignment;
      uint32_t flags2;
      uint32_t unused[7];
    };
    struct @fuse_interrupt_in {
      uint64_t unique;
    };
    struct @fuse_in_header {
      uint32_t len;
      uint32_t opcode;
      uint64_t unique;
      uint64_t nodeid;
      uint32_t uid;
      uint32_t gid;
      uint32_t pid;
      uint32_t __pad;
    };
    struct @fuse_out_header {
      uint32_t len;
      int32_t error;
      uint64_t unique;
    };
    struct @fuse_dirent {
      uint64_t ino;
      uint64_t off;
      uint32_t namelen;
      uint32_t type;
    };
    struct @fuse_direntplus {
      struct @fuse_entry_out entry_out;
      struct @fuse_dirent dirent;
    };
    struct @fuse_lseek_in {
      uint64_t fh;
      uint64_t offset;
      uint32_t whence;
      uint32_t padding;
    };
    struct @fuse_lseek_out {
      uint64_t offset;
    };
    struct @fuse_fallocate_in {
      uint64_t fh;
      uint64_t offset;
      uint64_t length;
      uint32_t mode;
      uint32_t padding;
    };
  ]],
}
