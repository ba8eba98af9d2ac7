-- timerfd_create(2)
return {
  headers = { "linux/timerfd.h" },
  constants = {
    TFD_TIMER_ABSTIME = 1,
    TFD_TIMER_CANCEL_ON_SET = 2,
    TFD_CLOEXEC = 0x80000,
    TFD_NONBLOCK = 2048,
    TFD_IOC_SET_TICKS = 0x40085400,
  },
}
