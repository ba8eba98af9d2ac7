-- uname(2)
return {
  headers = { "linux/utsname.h" },
  constants = {
    __NEW_UTS_LEN = 64,
  },
  structs = [[
    struct @utsname {
      char sysname[65];
      char nodename[65];
      char release[65];
      char version[65];
      char machine[65];
      char domainname[65];
    };
  ]],
  -- The name in C, where it is not "struct NAME".
  cname = { utsname = "struct new_utsname" },
}
