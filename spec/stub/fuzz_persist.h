/* What the pretending kernel does for a process that is persistent: connections come and go, of hosts that greet it, or
 * say nonsense. */
#ifndef FUZZ_PERSIST_H
#define FUZZ_PERSIST_H

#define PERSIST_SIZE (1 << 20) /* more than all that it keeps */

static struct {
  int on;
  uint8_t *memory; /* where it is mapped */
  size_t said;     /* of its greeting, by the host that has connected last */
  struct afar_greeting greeting;
} persistent;

static void persistent_begin(int on) {
  persistent.on = on;
  if (!persistent.memory)
    persistent.memory = malloc(PERSIST_SIZE);
  memset(persistent.memory, 0, 4096);
}

static int64_t persistent_accept(void) {
  struct afar_greeting *greeting = &persistent.greeting;
  if (one_in(3))
    return one_in(2) ? -EAGAIN : -EMFILE;
  *greeting = (struct afar_greeting){.magic = AFAR_MAGIC,
                                     .major = AFAR_MAJOR,
                                     .size = sizeof *greeting,
                                     .flags = (uint32_t)random_below(2),
                                     .session = {7 + random_below(2), 9},
                                     .received = 16 * random_below(one_in(3) ? 1 << 16 : 8)};
  memset(greeting->name, 'x', sizeof greeting->name);
  if (one_in(8))
    ((uint8_t *)greeting)[random_below(sizeof *greeting)] ^= (uint8_t)random_next();
  persistent.said = 0;
  return FD_MOVED;
}

static int64_t persistent_greet(struct msghdr *message) {
  uint64_t left = sizeof persistent.greeting - persistent.said, *control = message->control;
  message->control_length = 0;
  if (one_in(8))
    return one_in(2) ? -EAGAIN : 0;
  if (left > message->iov->length)
    left = message->iov->length;
  if (one_in(3))
    left = random_below(left + 1);
  memcpy((void *)message->iov->base, (uint8_t *)&persistent.greeting + persistent.said, left);
  persistent.said += left;
  if (one_in(2)) {
    message->control_length = 24;
    control[0] = 20;
    control[1] = SOL_SOCKET | (uint64_t)SCM_RIGHTS << 32;
    control[2] = random_below(200);
  }
  return (int64_t)left;
}

/* Nobody comes any more, and who is there ends. One without a lease would be left so for ever. */
static int64_t persistent_is_left(struct pollfd *fds) {
  if (fds[2].fd < 0 && one_in(50))
    longjmp(kernel.exit, 1);
  for (int i = 0; i < OWN_POLLS; i++)
    fds[i].revents = i == 2 && fds[i].fd >= 0 ? POLLIN : 0;
  return 1;
}

static int64_t persistent_option(uint64_t option, uint32_t *value) {
  if (one_in(30))
    return -ENOTSOCK;
  if (option == SO_PEERCRED)
    value[0] = 5, value[1] = one_in(5) ? 1000 : 0, value[2] = 0;
  else
    value[0] = !one_in(10);
  return 0;
}

#endif
