#include "link.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOAD(place)         __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)
#define FENCE()             __atomic_thread_fence(__ATOMIC_SEQ_CST)

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() __asm__ volatile("yield")
#endif

enum { FDS_MAX = 16, FDS_AHEAD = 256 /* of which the message is still to come */, SPIN_NS = 50000 };

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* How often one looks in SPIN_NS: found out once. 0: there is one CPU only, and the other side needs it. */
static uint32_t looks(void) {
  static uint32_t count;
  static int known;
  cpu_set_t cpus;
  if (known)
    return count;
  known = 1;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) < 2)
    return 0;
  double began = now();
  for (int i = 0; i < 500; i++)
    PAUSE();
  double each = (now() - began) / 500;
  count = each > 0 ? (uint32_t)(SPIN_NS * 1e-9 / each) : 1000;
  return count;
}

/* ---- the socket ---- */

static void end(struct link *link, enum fate fate, int error) {
  struct sink *sink = link->sink;
  link->sink = NULL;
  if (sink)
    sink->end(sink, fate, error);
}

static int take_fds(struct link *link, struct msghdr *message) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    bytes_append(&link->fds, CMSG_DATA(c), (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) * sizeof(int));
  }
  return bytes_length(&link->fds) <= FDS_AHEAD * sizeof(int) ? 0 : -EPROTO;
}

int link_take_fd(struct link *link) {
  int fd = -1;
  if (bytes_length(&link->fds) > 0) {
    memcpy(&fd, bytes_head(&link->fds), sizeof fd);
    bytes_drop(&link->fds, sizeof fd);
  }
  return fd;
}

/* With a ring the socket carries messages of 16 bytes: bells, and what accompanies an fd. */
static int take_messages(struct link *link, const char *data, size_t length) {
  while (length > 0) {
    size_t part = sizeof link->message - link->message_have;
    part = part < length ? part : length;
    memcpy((char *)&link->message + link->message_have, data, part);
    link->message_have += part;
    data += part;
    length -= part;
    if (link->message_have < sizeof link->message)
      return 0;
    link->message_have = 0;
    int error = link->message.tag == AFAR_TAG_BELL ? 0 : -EPROTO;
    if (link->message.tag == AFAR_TAG_FD && link->sink)
      error = link->sink->message(link->sink, &link->message);
    if (error)
      return error;
  }
  return 0;
}

static ssize_t receive(struct link *link, char *buffer, size_t size) {
  union {
    char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    struct cmsghdr align;
  } control;
  struct iovec iov = {buffer, size};
  struct msghdr message = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t count = recvmsg(link->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (count > 0 && take_fds(link, &message) < 0) {
    errno = EPROTO;
    return -1;
  }
  return count;
}

static void on_readable(struct ev_loop *ev, ev_io *io, int events) {
  (void)ev, (void)events;
  static char buffer[65536];
  struct link *link = io->data;
  ssize_t count = receive(link, buffer, sizeof buffer);
  if (count < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  int error = count < 0 ? errno : 0;
  if (link->ring) {
    if (count > 0 && take_messages(link, buffer, (size_t)count) < 0)
      error = EPROTO;
    link_look(link); /* before the end: what was written before it counts */
    if (link->sink)
      link->sink->credit(link->sink);
  } else if (count > 0 && link->sink && link->sink->data(link->sink, buffer, (size_t)count) < 0) {
    error = EPROTO;
  }
  if (count <= 0 || error) {
    ev_io_stop(ev, io);
    end(link, error == EPROTO ? FATE_LOST : FATE_EOF, error);
  }
}

static void on_writable(struct ev_loop *ev, ev_io *io, int events) {
  (void)events;
  struct link *link = io->data;
  ev_io_stop(ev, io);
  if (link->sink)
    link->sink->credit(link->sink);
}

static long write_socket(struct link *link, const char *data, size_t length) {
  ssize_t count = send(link->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count < 0 && errno != EAGAIN && errno != EINTR)
    return -errno; /* its end is told by reading */
  if (count < (ssize_t)length)
    ev_io_start(link->loop->ev, &link->writer);
  return count < 0 ? 0 : count;
}

/* ---- the ring ---- */

/* Wakes the stub if it sleeps, and learns from that whether its looking around is worth the time. */
static void wake_stub(struct link *link) {
  FENCE();
  if (!LOAD(link->ring->stub_asleep)) {
    if (link->spin < looks())
      STORE(link->ring->spin, link->spin = looks());
    return;
  }
  double at = now();
  link->spin = at - link->asleep_at < 20 * SPIN_NS * 1e-9 ? looks() : link->spin / 2;
  link->asleep_at = at;
  STORE(link->ring->spin, link->spin);
  send(link->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static uint32_t copy_in(struct link *link, const char *data, size_t length) {
  struct afar_ring *ring = link->ring;
  uint32_t used = link->tail - LOAD(ring->to_stub_head), size = sizeof ring->to_stub, done = 0;
  if (used > size)
    return 0; /* nonsense: it will not be answered either */
  uint32_t space = size - used;
  while (done < length && space > 0) {
    uint32_t at = link->tail % size, part = size - at;
    part = part < space ? part : space;
    part = part < length - done ? part : (uint32_t)(length - done);
    memcpy(ring->to_stub + at, data + done, part);
    link->tail += part;
    done += part;
    space -= part;
  }
  STORE(ring->to_stub_tail, link->tail);
  return done;
}

/* All replies that are there. */
static int take_replies(struct link *link) {
  struct afar_ring *ring = link->ring;
  uint32_t length = LOAD(ring->to_host_tail) - link->head, size = sizeof ring->to_host;
  if (length == 0)
    return 0;
  if (length > size)
    return -EPROTO;
  while (length > 0 && link->sink) {
    uint32_t at = link->head % size, part = size - at;
    part = part < length ? part : length;
    link->head += part;
    length -= part;
    int error = link->sink->data(link->sink, (const char *)ring->to_host + at, part);
    if (error)
      return error;
  }
  STORE(ring->to_host_head, link->head);
  FENCE();
  if (LOAD(ring->stub_asleep))
    send(link->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL); /* it may wait for room */
  return 1;
}

int link_look(struct link *link) {
  if (!link->ring || !link->sink)
    return 0;
  int came = take_replies(link);
  if (came < 0)
    end(link, FATE_LOST, EPROTO);
  else if (came > 0 && link->sink)
    link->sink->credit(link->sink);
  return came != 0;
}

int link_spin(struct link *link) {
  for (uint32_t left = link->patience; left > 0 && link->ring && link->sink; left--) {
    if (LOAD(link->ring->to_host_tail) != link->head) {
      link->patience = looks();
      return link_look(link);
    }
    PAUSE();
  }
  link->patience = link->patience > 64 ? link->patience / 2 : looks() ? 32 : 0;
  return 0;
}

static int run_poll(struct poll *poll, int sleeping) {
  struct link *link = (struct link *)((char *)poll - offsetof(struct link, poll));
  if (sleeping < 0) {
    STORE(link->ring->host_asleep, 0);
    return 0;
  }
  if (sleeping > 0) {
    __atomic_store_n(&link->ring->host_asleep, 1, __ATOMIC_RELAXED);
    FENCE();
  }
  if (LOAD(link->ring->to_host_tail) != link->head)
    return link_look(link);
  link->sink->credit(link->sink);
  return 0;
}

void link_await(struct link *link, int awaited) {
  if (!link->ring)
    return;
  if (awaited)
    loop_poll(link->loop, &link->poll);
  else
    loop_poll_stop(&link->poll);
}

/* ---- both ---- */

long link_write(struct link *link, const char *data, size_t length) {
  if (!link->ring)
    return write_socket(link, data, length);
  long count = copy_in(link, data, length);
  wake_stub(link);
  return count;
}

void link_open(struct link *link, struct loop *loop, int fd, struct sink *sink) {
  *link = (struct link){.loop = loop, .fd = fd, .sink = sink, .poll = {.run = run_poll}};
  ev_io_init(&link->reader, on_readable, fd, EV_READ);
  ev_io_init(&link->writer, on_writable, fd, EV_WRITE);
  link->reader.data = link->writer.data = link;
  ev_io_start(loop->ev, &link->reader);
}

void link_prepare_ring(struct afar_ring *ring) {
  memset(ring, 0, offsetof(struct afar_ring, to_stub));
  STORE(ring->spin, looks());
}

void link_use_ring(struct link *link, struct afar_ring *ring) {
  link->spin = link->patience = looks();
  link->ring = ring;
}

void link_close(struct link *link) {
  if (link->fd < 0)
    return;
  link_await(link, 0);
  ev_io_stop(link->loop->ev, &link->reader);
  ev_io_stop(link->loop->ev, &link->writer);
  for (int fd = link_take_fd(link); fd >= 0; fd = link_take_fd(link))
    close(fd);
  bytes_free(&link->fds);
  close(link->fd);
  link->fd = -1;
  link->ring = NULL;
  link->sink = NULL;
}
