-- eventfd(2)
return {
  headers = { "sys/eventfd.h" },
  constants = {
    EFD_SEMAPHORE = 1,
    EFD_CLOEXEC = 0x80000,
    EFD_NONBLOCK = 0x800,
  },
}
