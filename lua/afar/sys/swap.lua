-- swapon(2)
return {
  headers = { "sys/swap.h" },
  constants = {
    SWAP_FLAG_PREFER = 0x8000,
    SWAP_FLAG_PRIO_MASK = 0x7fff,
    SWAP_FLAG_PRIO_SHIFT = 0,
    SWAP_FLAG_DISCARD = 0x10000,
  },
}
