-- vsock(7)
return {
  headers = { "sys/socket.h", "linux/vm_sockets.h" },
  constants = {
    SO_VM_SOCKETS_BUFFER_SIZE = 0,
    SO_VM_SOCKETS_BUFFER_MIN_SIZE = 1,
    SO_VM_SOCKETS_BUFFER_MAX_SIZE = 2,
    SO_VM_SOCKETS_PEER_HOST_VM_ID = 3,
    SO_VM_SOCKETS_TRUSTED = 5,
    SO_VM_SOCKETS_NONBLOCK_TXRX = 7,
    SO_VM_SOCKETS_CONNECT_TIMEOUT = 6,
    VMADDR_CID_ANY = 0xffffffff,
    VMADDR_PORT_ANY = 0xffffffff,
    VMADDR_CID_HYPERVISOR = 0,
    VMADDR_CID_LOCAL = 1,
    VMADDR_CID_HOST = 2,
    VMADDR_FLAG_TO_HOST = 0x1,
  },
  structs = [[
    struct @sockaddr_vm {
      uint16_t svm_family;
      uint16_t svm_reserved1;
      uint32_t svm_port;
      uint32_t svm_cid;
      uint8_t svm_flags;
      uint8_t svm_zero[3];
    };
  ]],
}
