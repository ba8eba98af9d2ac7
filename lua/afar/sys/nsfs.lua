-- ioctl_ns(2)
return {
  headers = { "linux/nsfs.h" },
  constants = {
    NS_GET_USERNS = 0xb701,
    NS_GET_PARENT = 0xb702,
    NS_GET_NSTYPE = 0xb703,
    NS_GET_OWNER_UID = 0xb704,
  },
  -- Newer than the headers of Linux 6.1.
  newer = {
    NS_GET_MNTNS_ID = 0x8008b705,
    NS_GET_PID_FROM_PIDNS = 0x8004b706,
    NS_GET_TGID_FROM_PIDNS = 0x8004b707,
    NS_GET_PID_IN_PIDNS = 0x8004b708,
    NS_GET_TGID_IN_PIDNS = 0x8004b709,
  },
}
