-- readv(2), process_vm_readv(2)
return {
  headers = { "linux/uio.h" },
  constants = {
    UIO_FASTIOV = 8,
    UIO_MAXIOV = 1024,
  },
  structs = [[
    struct @iovec {
      uint64_t iov_base;
      uint64_t iov_len;
    };
  ]],
}
