-- unix(7)
return {
  headers = { "linux/un.h" },
  constants = {
    UNIX_PATH_MAX = 108,
  },
  structs = [[
    struct @sockaddr_un {
      uint16_t sun_family;
      char sun_path[108];
    };
  ]],
}
