-- open_by_handle_at(2), splice(2): what only the C library's fcntl.h declares
return {
  headers = { "fcntl.h" },
  constants = {
    SPLICE_F_MOVE = 1,
    SPLICE_F_NONBLOCK = 2,
    SPLICE_F_MORE = 4,
    SPLICE_F_GIFT = 8,
    MAX_HANDLE_SZ = 128,
  },
  structs = [[
    struct @file_handle {
      uint32_t handle_bytes;
      int32_t handle_type;
      uint8_t f_handle[0];
    };
  ]],
}
