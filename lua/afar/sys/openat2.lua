-- openat2(2)
return {
  headers = { "linux/openat2.h" },
  constants = {
    RESOLVE_NO_XDEV = 0x1,
    RESOLVE_NO_MAGICLINKS = 0x2,
    RESOLVE_NO_SYMLINKS = 0x4,
    RESOLVE_BENEATH = 0x8,
    RESOLVE_IN_ROOT = 0x10,
    RESOLVE_CACHED = 0x20,
  },
  structs = [[
    struct @open_how {
      uint64_t flags;
      uint64_t mode;
      uint64_t resolve;
    };
  ]],
}
