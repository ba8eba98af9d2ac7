/* A kernel that only pretends. It touches no memory but the stub's own, where it knows each buffer that the stub may
 * name: an address inside the stub's memory and outside of these is a bug of the stub, any other is EFAULT. */
#ifndef FUZZ_KERNEL_H
#define FUZZ_KERNEL_H

#include "fuzz_output.h"

#define FD_MOVED        64 /* what every fd that is moved becomes, as far as the input's goes */
#define CALLS_MAX       1000000
#define BLOCKS_MAX      64
#define ARENA_SIZE_HERE 4096 /* a ring lies behind it, where no request reaches it */

static struct {
  jmp_buf exit;
  int in, is_root;
  int sleepy;     /* what is waited for hardly ever comes */
  size_t at;      /* in the input */
  size_t ring_at; /* in that of a root's ring */
  uint64_t calls_here, clock;
  char *stack;
  struct block *blocks[BLOCKS_MAX]; /* those that are mapped */
  struct block *spare[BLOCKS_MAX];
  uint64_t calls, exits[2]; /* in all */
} kernel;

#include "fuzz_persist.h"

static _Alignas(4096) uint8_t child_block[CHILD_BLOCK_SIZE];
static uint8_t *arena_bytes; /* far from all else: no damaged address of it is one of the stub */
static void *channel_table;

void __asan_poison_memory_region(const volatile void *at, size_t length);
void __asan_unpoison_memory_region(const volatile void *at, size_t length);
int madvise(void *at, size_t length, int advice);
#define MADV_DONTNEED 4

static uint64_t arena_address(void) {
  return (uint64_t)arena_bytes +
         (one_in(2) ? random_below(ARENA_SIZE_HERE + 16) : random_below(ARENA_SIZE_HERE / 8) * 8);
}

static struct server *child_server(void) {
  return (struct server *)(child_block + sizeof(struct afar_start));
}

static void kernel_init(void) {
  arena_bytes = aligned_alloc(4096, 6 * ARENA_SIZE_HERE);
  memset(arena_bytes, 0, 6 * ARENA_SIZE_HERE);
  channel_table = aligned_alloc(4096, AFAR_CHANNELS_MAX * sizeof(struct channel));
  memset(channel_table, 0, AFAR_CHANNELS_MAX * sizeof(struct channel));
}

static void kernel_begin(int in, int is_root) {
  char here;
  kernel.in = in;
  kernel.is_root = is_root;
  kernel.at = kernel.ring_at = 0;
  kernel.calls_here = 0;
  kernel.sleepy = one_in(8);
  kernel.stack = &here;
  persistent_begin(0);
  output_begin(is_root);
}

static int64_t kernel_unmap(uint64_t at);

static void kernel_end(void) {
  kernel.calls += kernel.calls_here;
  for (int i = 0; i < BLOCKS_MAX; i++) {
    if (kernel.blocks[i])
      kernel_unmap((uint64_t)kernel.blocks[i]);
  }
  if (input_damaged) /* only then numbers of channels may be large */
    madvise(channel_table, AFAR_CHANNELS_MAX * sizeof(struct channel), MADV_DONTNEED);
  else
    memset(channel_table, 0, 8 * sizeof(struct channel));
}

/* ---- which memory is the stub's ---- */

static struct afar_ring *host_ring(void) {
  return (struct afar_ring *)(arena_bytes + 2 * ARENA_SIZE_HERE);
}

static int within(uint64_t at, uint64_t length, const void *base, uint64_t size) {
  return at >= (uint64_t)base && at - (uint64_t)base <= size && length <= size - (at - (uint64_t)base);
}

static int in_arena(uint64_t at, uint64_t length) {
  return within(at, length, arena_bytes, ARENA_SIZE_HERE);
}

static int in_server(uint64_t at, uint64_t length, struct server *server) {
  return within(at, length, server->in, sizeof server->in) ||
         within(at, length, server->in_little, sizeof server->in_little) ||
         within(at, length, server->out, sizeof server->out) ||
         within(at, length, server->polls, sizeof server->polls) ||
         within(at, length, server->args, sizeof server->args) || within(at, length, &server->word, 8);
}

static int is_buffer(uint64_t at, uint64_t length) {
  if (in_server(at, length, kernel.is_root ? &root.server : child_server()))
    return 1;
  if (within(at, length, kernel.stack - 65536, 65536) || within(at, length, arena_bytes, ARENA_SIZE_HERE))
    return 1;
  if (persistent.on && (within(at, length, persistent.memory, PERSIST_SIZE) || in_server(at, length, child_server())))
    return 1;
  if (kernel.is_root && (within(at, length, root.in_bytes, sizeof root.in_bytes) ||
                         within(at, length, root.out_bytes, sizeof root.out_bytes)))
    return 1;
  if (within(at, length, host_ring()->to_stub, sizeof host_ring()->to_stub))
    return 1;
  for (int i = 0; i < BLOCKS_MAX; i++)
    if (kernel.blocks[i] && within(at, length, kernel.blocks[i]->bytes, sizeof kernel.blocks[i]->bytes))
      return 1;
  return 0;
}

static int may_touch(uint64_t at, uint64_t length) {
  if (length > 1 << 20 || is_buffer(at, length))
    return length <= 1 << 20;
  if (within(at, 0, &root, sizeof root) || within(at, 0, child_block, sizeof child_block))
    bug("an address in the stub's memory that is no buffer, which no host can know");
  return 0;
}

/* ---- a mad host's side of a ring ---- */

static void take_replies(struct afar_ring *ring) {
  uint32_t there = ring->to_host_tail - ring->to_host_head;
  EXPECT(output.unchecked || there <= sizeof ring->to_host);
  if (one_in(3))
    there = (uint32_t)random_below(there + 1);
  for (uint32_t i = 0; i < there && !output.unchecked; i++)
    on_reply_byte(ring->to_host[(ring->to_host_head + i) % sizeof ring->to_host]);
  ring->to_host_head += there;
}

static void give_requests(struct afar_ring *ring) {
  uint32_t space = (uint32_t)sizeof ring->to_stub - (ring->to_stub_tail - ring->to_stub_head);
  const uint8_t *from = kernel.is_root ? ring_input : input;
  size_t *at = kernel.is_root ? &kernel.ring_at : &kernel.at;
  size_t left = (kernel.is_root ? ring_length : input_length) - *at;
  if (space > sizeof ring->to_stub)
    space = 0;
  uint64_t most = left < space ? left : space;
  if (kernel.sleepy && most > 80)
    most = 80;
  for (uint64_t i = random_below(most + 1); i > 0; i--)
    ring->to_stub[ring->to_stub_tail++ % sizeof ring->to_stub] = from[(*at)++];
}

/* Whatever the stub does, the host may do something meanwhile. */
static void kernel_ring(void) {
  struct afar_ring *ring = kernel.is_root ? root.server.ring : child_server()->ring;
  if (!ring)
    return;
  EXPECT(ring == host_ring());
  if (!kernel.sleepy) /* else when it is woken */
    take_replies(ring);
  give_requests(ring);
  ring->host_asleep = one_in(2);
  ring->stream = root.received + (uint32_t)(one_in(8) ? random_below(200) : -random_below(200));
  if (output.unchecked || !one_in(200))
    return;
  output.unchecked = 1; /* and not again: it would never end */
  *(one_in(2) ? &ring->to_stub_tail : &ring->to_host_head) += (uint32_t)random_below(one_in(2) ? 20000 : 200);
}

/* On a ring's socket there are only bells, and in the end its end. */
static int64_t kernel_bell(void) {
  struct afar_ring *ring = host_ring();
  take_replies(ring);
  if (one_in(20))
    return one_in(2) ? -EAGAIN : -EINTR;
  return kernel.at == input_length && ring->to_stub_head == ring->to_stub_tail ? 0 : 1;
}

/* ---- the calls ---- */

static int64_t some_errno(void) {
  static const int errors[] = {EAGAIN, EINTR, EPERM, EBADF, EFAULT, EINVAL, ENOSYS, 32, 104, 4095};
  return -errors[random_below(sizeof errors / sizeof errors[0])];
}

static int64_t kernel_read_in(uint64_t to, uint64_t length) {
  size_t left = input_length - kernel.at;
  if (!kernel.is_root && child_server()->ring)
    return kernel_bell();
  if (one_in(20))
    return one_in(2) ? -EAGAIN : -EINTR;
  if (left == 0 && kernel.is_root && root.server.ring && kernel.ring_at < ring_length && !output.unchecked)
    return -EAGAIN; /* the stream goes on as long as the ring does */
  if (length > left)
    length = left;
  if (one_in(3))
    length = left > 0 ? 1 + random_below(length) : 0;
  memcpy((void *)to, input + kernel.at, length);
  kernel.at += length;
  return (int64_t)length;
}

static int64_t kernel_read(int fd, uint64_t to, uint64_t length) {
  if (!may_touch(to, length))
    return -EFAULT;
  if (fd == kernel.in)
    return kernel_read_in(to, length);
  if (one_in(4))
    return one_in(2) ? 0 : some_errno();
  length = random_below(length + 1);
  memset((void *)to, 0x5a, one_in(64) || length < 256 ? length : (length = 256));
  return (int64_t)length;
}

static int64_t kernel_write(int fd, uint64_t from, uint64_t length) {
  if (!kernel.is_root && child_server()->ring && fd == kernel.in && length <= sizeof(struct afar_reply))
    return one_in(16) ? -EAGAIN : (int64_t)length;   /* a bell, which is no buffer but a constant */
  if (!may_touch(from, length) || in_arena(from, 0)) /* the latter is a CALL of the host's: no output of the stub */
    return -EFAULT;
  if (one_in(16) || (kernel.sleepy && fd != kernel.in))
    return fd != kernel.in && kernel.sleepy && !one_in(50) ? -EAGAIN : fd == kernel.in ? -EAGAIN : some_errno();
  if (one_in(4))
    length = random_below(length + 1);
  if (fd == kernel.in && length > 0 && (kernel.is_root || !child_server()->ring))
    on_output((const uint8_t *)from, length);
  return (int64_t)length + (length == 0 && fd == kernel.in ? -EINTR : 0);
}

static int64_t kernel_recvmsg(int fd, struct msghdr *message) {
  if (in_arena((uint64_t)message, 0) || !may_touch((uint64_t)message, sizeof *message))
    return -EFAULT; /* in the arena it is a CALL of the host's */
  if (persistent.on && !kernel.is_root)
    return persistent_greet(message);
  int64_t count = kernel_read(fd, message->iov->base, message->iov->length);
  uint64_t *control = message->control;
  uint64_t fds = one_in(8) ? random_below(FDS_MAX + 1) : 0;
  message->control_length = fds && count > 0 ? 16 + (fds * 4 + 7) / 8 * 8 : 0;
  if (message->control_length) {
    control[0] = 16 + fds * 4;
    control[1] = SOL_SOCKET | (uint64_t)SCM_RIGHTS << 32;
    for (uint64_t i = 0; i < fds; i++)
      ((uint32_t *)control)[4 + i] = (uint32_t)random_below(200);
  }
  return one_in(300) ? -ENOTSOCK : count;
}

static int64_t kernel_map(uint64_t length) {
  if (length == AFAR_CHANNELS_MAX * sizeof(struct channel)) {
    return (int64_t)channel_table;
  }
  if (persistent.on && length > BLOCK_SIZE)
    return length > PERSIST_SIZE || one_in(30) ? -ENOMEM : (int64_t)persistent.memory;
  if (persistent.on && length == CHILD_BLOCK_SIZE)
    return one_in(30) ? -ENOMEM : (int64_t)child_block;
  for (int i = 0; i < BLOCKS_MAX && length == BLOCK_SIZE && !one_in(30); i++) {
    if (kernel.blocks[i])
      continue;
    if (!kernel.spare[i])
      kernel.spare[i] = malloc(length);
    __asan_unpoison_memory_region(kernel.spare[i], length);
    return (int64_t)(kernel.blocks[i] = kernel.spare[i]);
  }
  return length == BLOCK_SIZE || one_in(2) ? -ENOMEM : (int64_t)arena_bytes;
}

static int64_t kernel_unmap(uint64_t at) {
  for (int i = 0; i < BLOCKS_MAX; i++)
    if (kernel.blocks[i] && (uint64_t)kernel.blocks[i] == at) {
      __asan_poison_memory_region(kernel.blocks[i], BLOCK_SIZE);
      kernel.blocks[i] = NULL;
      return 0;
    }
  return -EINVAL;
}

static int64_t kernel_poll(struct pollfd *fds, uint64_t count) {
  int64_t ready = 0;
  if (count == 0 || count > HOLD_SLOTS + (persistent.on ? OWN_POLLS : 1) ||
      !may_touch((uint64_t)fds, count * sizeof *fds))
    return -EFAULT;
  if (one_in(16))
    return -EINTR;
  if (!kernel.is_root && child_server()->persist && fds == child_server()->polls && kernel.at == input_length)
    return persistent_is_left(fds);
  for (uint64_t i = 0; i < count; i++) {
    int is_in = (fds[i].fd == kernel.in && fds[i].events) || (kernel.is_root && fds[i].fd == root.epoll && i == 0);
    fds[i].revents = is_in || one_in(kernel.sleepy ? 300 : 6) ? (int16_t)(one_in(4) ? random_next() & 0x3f : 1) : 0;
    ready += fds[i].revents != 0;
  }
  return ready;
}

static int64_t kernel_epoll_wait(struct epoll_event *events, uint64_t max) {
  int64_t count = 0;
  if (max > 1024 || !may_touch((uint64_t)events, max * sizeof *events))
    return -EFAULT;
  if (one_in(20))
    return -EINTR;
  if (!one_in(4))
    events[count++] = (struct epoll_event){EPOLLIN, 0};
  while (count < (int64_t)max && !one_in(3))
    events[count++] = (struct epoll_event){(uint32_t)random_next() & 0x1f, random_below(5)};
  return count;
}

/* process_vm_readv(2) and process_vm_writev(2): the far side may be anything. */
static int64_t kernel_transfer(const struct iovec *own, const struct iovec *other, int is_read) {
  if (!may_touch((uint64_t)own, sizeof *own) || !may_touch((uint64_t)other, sizeof *other))
    return -EFAULT;
  EXPECT(is_buffer(own->base, own->length) || own->length > 1 << 20);
  if (one_in(40))
    return one_in(2) ? -ENOSYS : some_errno();
  if (!in_arena(other->base, other->length) &&
      !(own->length == 1 && within(other->base, 1, host_ring(), sizeof(struct afar_ring))))
    return -EFAULT;
  uint64_t length = one_in(8) ? random_below(own->length + 1) : own->length;
  if (is_read)
    memcpy((void *)own->base, (void *)other->base, length);
  else
    memmove((void *)other->base, (void *)own->base, length);
  return (int64_t)length;
}

static int64_t kernel_fcntl(uint64_t command, uint64_t argument) {
  if (one_in(12))
    return some_errno();
  if (command != F_DUPFD_CLOEXEC)
    return 0;
  return argument == AFAR_FD_CHILD || kernel.calls_here < 6 ? FD_MOVED : FD_MOVED + 1 + (int64_t)random_below(100);
}

static int64_t kernel_epoll_ctl(void) {
  return one_in(5) ? (one_in(2) ? -EPERM : some_errno()) : 0;
}

int64_t syscall6(int64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  (void)e, (void)f;
  if (++kernel.calls_here > CALLS_MAX)
    bug("it hangs");
  kernel_ring();
  switch (nr) {
  case NR_EXIT_GROUP:
    kernel.exits[a != 0]++;
    longjmp(kernel.exit, 1);
  case NR_READ:
    return kernel_read((int)a, b, c);
  case NR_WRITE:
  case NR_SENDTO:
    return kernel_write((int)a, b, c);
  case NR_RECVMSG:
    return kernel_recvmsg((int)a, (struct msghdr *)b);
  case NR_MMAP:
    return kernel_map(b);
  case NR_MUNMAP:
    return kernel_unmap(a);
  case NR_PPOLL:
    return kernel_poll((struct pollfd *)a, b);
  case NR_EPOLL_PWAIT:
    return kernel_epoll_wait((struct epoll_event *)b, c);
  case NR_EPOLL_CTL:
    return kernel_epoll_ctl();
  case NR_EPOLL_CREATE1:
    return FD_MOVED + 1;
  case NR_FCNTL:
    return kernel_fcntl(b, c);
  case NR_PROCESS_VM_READV:
    return kernel_transfer((struct iovec *)b, (struct iovec *)d, 1);
  case NR_PROCESS_VM_WRITEV:
    return kernel_transfer((struct iovec *)b, (struct iovec *)d, 0);
  case NR_FUTEX:
    return e % 4 == 0 && in_arena(e, 8) ? (one_in(20) ? -ENOSYS : 0) : -EFAULT;
  case NR_GETSOCKOPT:
    return persistent.on && may_touch(d, 12) ? persistent_option(c, (uint32_t *)d) : -ENOTSOCK;
  case NR_ACCEPT4:
    return persistent.on ? persistent_accept() : -EINVAL;
  case NR_CLONE:
    return persistent.on && kernel.is_root ? 77 : -EPERM;
  case NR_CLOSE: /* the first thing that is done once the stream is another's */
    if (persistent.on && kernel.is_root && child_server()->starting)
      kernel.is_root = 0;
    return one_in(20) ? -EINTR : 0;
  case NR_PIPE2:
    if (!may_touch(a, 8) || one_in(8))
      return -EFAULT;
    memcpy((void *)a, (int32_t[]){90, 91}, 8);
    return 0;
  case NR_CLOCK_GETTIME:
    if (!may_touch(b, sizeof(struct timespec)))
      return -EFAULT;
    kernel.clock += random_below(200);
    *(struct timespec *)b = (struct timespec){(int64_t)kernel.clock, 0};
    return 0;
  case NR_OPENAT:
    return one_in(2) ? -ENOENT : 50 + (int64_t)random_below(4);
  case NR_GETGROUPS:
    return one_in(4) ? -EINVAL : (int64_t)random_below(65537);
  default:
    return one_in(3) ? some_errno() : (int64_t)some_number();
  }
}

#endif
