-- getrandom(2), random(4)
return {
  headers = { "linux/random.h" },
  constants = {
    RNDGETENTCNT = 0x80045200,
    RNDADDTOENTCNT = 0x40045201,
    RNDGETPOOL = 0x80085202,
    RNDADDENTROPY = 0x40085203,
    RNDZAPENTCNT = 0x5204,
    RNDCLEARPOOL = 0x5206,
    RNDRESEEDCRNG = 0x5207,
    GRND_NONBLOCK = 0x1,
    GRND_RANDOM = 0x2,
    GRND_INSECURE = 0x4,
  },
}
