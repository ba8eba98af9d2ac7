-- access(2), lseek(2), utimensat(2), close_range(2), pathconf(3)
return {
  headers = { "unistd.h", "sys/stat.h", "linux/close_range.h", "linux/limits.h" },
  constants = {
    STDIN_FILENO = 0,
    STDOUT_FILENO = 1,
    STDERR_FILENO = 2,
    R_OK = 4,
    W_OK = 2,
    X_OK = 1,
    F_OK = 0,
    CLOSE_RANGE_UNSHARE = 2,
    CLOSE_RANGE_CLOEXEC = 4,
    UTIME_NOW = 0x3fffffff,
    UTIME_OMIT = 0x3ffffffe,
    NGROUPS_MAX = 65536,
    NAME_MAX = 255,
    PATH_MAX = 4096,
    PIPE_BUF = 4096,
    XATTR_NAME_MAX = 255,
    XATTR_SIZE_MAX = 65536,
    XATTR_LIST_MAX = 65536,
  },
}
