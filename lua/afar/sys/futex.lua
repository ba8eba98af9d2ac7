-- futex(2), set_robust_list(2)
return {
  headers = { "linux/futex.h" },
  constants = {
    FUTEX_WAIT = 0,
    FUTEX_WAKE = 1,
    FUTEX_FD = 2,
    FUTEX_REQUEUE = 3,
    FUTEX_CMP_REQUEUE = 4,
    FUTEX_WAKE_OP = 5,
    FUTEX_LOCK_PI = 6,
    FUTEX_UNLOCK_PI = 7,
    FUTEX_TRYLOCK_PI = 8,
    FUTEX_WAIT_BITSET = 9,
    FUTEX_WAKE_BITSET = 10,
    FUTEX_WAIT_REQUEUE_PI = 11,
    FUTEX_CMP_REQUEUE_PI = 12,
    FUTEX_LOCK_PI2 = 13,
    FUTEX_PRIVATE_FLAG = 128,
    FUTEX_CLOCK_REALTIME = 256,
    FUTEX_CMD_MASK = -385,
    FUTEX_WAIT_PRIVATE = 0x80,
    FUTEX_WAKE_PRIVATE = 0x81,
    FUTEX_REQUEUE_PRIVATE = 0x83,
    FUTEX_CMP_REQUEUE_PRIVATE = 0x84,
    FUTEX_WAKE_OP_PRIVATE = 0x85,
    FUTEX_LOCK_PI_PRIVATE = 0x86,
    FUTEX_LOCK_PI2_PRIVATE = 0x8d,
    FUTEX_UNLOCK_PI_PRIVATE = 0x87,
    FUTEX_TRYLOCK_PI_PRIVATE = 0x88,
    FUTEX_WAIT_BITSET_PRIVATE = 0x89,
    FUTEX_WAKE_BITSET_PRIVATE = 0x8a,
    FUTEX_WAIT_REQUEUE_PI_PRIVATE = 0x8b,
    FUTEX_CMP_REQUEUE_PI_PRIVATE = 0x8c,
    FUTEX_32 = 2,
    FUTEX_WAITV_MAX = 128,
    FUTEX_WAITERS = 0x80000000,
    FUTEX_OWNER_DIED = 0x40000000,
    FUTEX_TID_MASK = 0x3fffffff,
    FUTEX_BITSET_MATCH_ANY = 0xffffffff,
  },
  -- Newer than the headers of Linux 6.1.
  newer = {
    FUTEX2_SIZE_U8 = 0x0,
    FUTEX2_SIZE_U16 = 0x1,
    FUTEX2_SIZE_U32 = 0x2,
    FUTEX2_SIZE_U64 = 0x3,
    FUTEX2_NUMA = 0x4,
    FUTEX2_MPOL = 0x8,
    FUTEX2_PRIVATE = 0x80,
  },
  structs = [[
    struct @futex_waitv {
      uint64_t val;
      uint64_t uaddr;
      uint32_t flags;
      uint32_t __reserved;
    };
  ]],
}
