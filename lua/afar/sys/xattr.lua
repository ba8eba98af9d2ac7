-- setxattr(2)
return {
  headers = { "linux/xattr.h" },
  constants = {
    XATTR_CREATE = 0x1,
    XATTR_REPLACE = 0x2,
  },
  -- Newer than the headers of Linux 6.1.
  newer_structs = [[
    struct @xattr_args {
      uint64_t value;
      uint32_t size;
      uint32_t flags;
    };
  ]],
}
