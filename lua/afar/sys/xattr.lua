-- setxattr(2)
return {
  headers = { "linux/xattr.h" },
  constants = {
    XATTR_CREATE = 0x1,
    XATTR_REPLACE = 0x2,
  },
}
