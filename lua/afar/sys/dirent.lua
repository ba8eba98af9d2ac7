-- getdents64(2)
return {
  headers = { "dirent.h" },
  constants = {
    DT_UNKNOWN = 0,
    DT_FIFO = 1,
    DT_CHR = 2,
    DT_DIR = 4,
    DT_BLK = 6,
    DT_REG = 8,
    DT_LNK = 10,
    DT_SOCK = 12,
    DT_WHT = 14,
  },
  structs = [[
    struct @dirent64 {
      uint64_t d_ino;
      int64_t d_off;
      uint16_t d_reclen;
      uint8_t d_type;
      char d_name[0];
    };
  ]],
  -- The name goes on behind it: C declares room for 256 bytes.
  head = { dirent64 = true },
}
