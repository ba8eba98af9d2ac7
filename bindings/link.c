#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FDS_MAX = 16, FDS_AHEAD = 256 /* of which the message is still to come */ };

/* ---- the socket ---- */

static void end(struct link *link, enum fate fate, int error) {
  struct sink *sink = link->sink;
  link->sink = link->ring.sink = NULL;
  if (sink)
    sink->end(sink, fate, error);
}

static int wrong(struct link *link, const char *what) {
  if (link->sink)
    link->sink->fault = what;
  return -EPROTO;
}

static int take_fds(struct link *link, struct msghdr *message) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    bytes_append(&link->fds, CMSG_DATA(c), (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) * sizeof(int));
  }
  if (message->msg_flags &
      MSG_CTRUNC) { /* our own table is full: the kernel has dropped it, and its message comes all the same */
    int lost = LINK_FD_LOST;
    bytes_append(&link->fds, &lost, sizeof lost);
  }
  if (bytes_length(&link->fds) > FDS_AHEAD * sizeof(int))
    return wrong(link, "more fds than messages that they belong to");
  return 0;
}

int link_take_fd(struct link *link) {
  int fd = LINK_FD_NONE;
  if (bytes_length(&link->fds) > 0) {
    memcpy(&fd, bytes_head(&link->fds), sizeof fd);
    bytes_drop(&link->fds, sizeof fd);
  }
  return fd;
}

/* With a ring the socket carries messages of 16 bytes: bells, and what accompanies an fd. */
int link_take_messages(struct link *link, const char *data, size_t length) {
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
    if (link->message.tag == AFAR_TAG_BELL || !link->sink)
      continue;
    if (link->message.tag != AFAR_TAG_FD)
      return wrong(link, "a message that is none, beside its ring");
    int error = link->sink->message(link->sink, &link->message);
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
  if (link->ring.at) {
    if (count > 0 && link_take_messages(link, buffer, (size_t)count) < 0)
      error = EPROTO;
    ring_look(&link->ring); /* before the end: what was written before it counts */
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

static void bell(struct ring *ring) {
  struct link *link = (struct link *)((char *)ring - offsetof(struct link, ring));
  send(link->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void broken(struct ring *ring) {
  end((struct link *)((char *)ring - offsetof(struct link, ring)), FATE_LOST, EPROTO);
}

/* ---- both ---- */

long link_write(struct link *link, const char *data, size_t length) {
  return link->ring.at ? (long)ring_write(&link->ring, data, length) : write_socket(link, data, length);
}

void link_open(struct link *link, struct loop *loop, int fd, struct sink *sink) {
  *link = (struct link){.loop = loop, .fd = fd, .sink = sink, .ring = {.bell = bell, .broken = broken}};
  ev_io_init(&link->reader, on_readable, fd, EV_READ);
  ev_io_init(&link->writer, on_writable, fd, EV_WRITE);
  link->reader.data = link->writer.data = link;
  ev_io_start(loop->ev, &link->reader);
}

void link_use_ring(struct link *link, struct afar_ring *at) {
  ring_open(&link->ring, link->loop, at, link->sink);
}

void link_close(struct link *link) {
  if (link->fd < 0)
    return;
  ring_close(&link->ring);
  ev_io_stop(link->loop->ev, &link->reader);
  ev_io_stop(link->loop->ev, &link->writer);
  for (int fd = link_take_fd(link); fd != LINK_FD_NONE; fd = link_take_fd(link))
    if (fd >= 0)
      close(fd);
  bytes_free(&link->fds);
  close(link->fd);
  link->fd = -1;
  link->sink = NULL;
}
