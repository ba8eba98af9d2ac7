#include "ring.h"
#include "root.h"

uint8_t *mux_room(size_t length) {
  if (root.out_used + length > MUX_SIZE)
    mux_flush();
  return root.out_bytes + root.out_used;
}

void mux_put(const void *bytes, size_t length) {
  const uint8_t *at = bytes;
  while (length > 0) {
    size_t part = length < MUX_SIZE ? length : MUX_SIZE;
    memcpy(mux_room(part), at, part);
    root.out_used += (uint32_t)part;
    at += part;
    length -= part;
  }
}

void mux_frame(uint32_t channel, enum afar_frame_type type, uint32_t value) {
  struct afar_frame frame = {channel, (uint32_t)type << 24 | value};
  mux_put(&frame, sizeof frame);
}

void mux_flush(void) {
  if (root.out_used > 0 && write_all(root.out, root.out_bytes, root.out_used, ahead_wait) < 0)
    root_exit(0);
  root.out_used = 0;
}

static void on_channel(uint32_t number, enum afar_frame_type type, uint32_t value) {
  struct channel *channel = channel_find(number);
  if (type == AFAR_CLOSE) {
    if (channel)
      channel_close(channel);
    mux_frame(number, AFAR_CLOSE, 0);
  } else if (channel && type == AFAR_EOF) {
    channel_eof(channel);
  } else if (channel && type == AFAR_CREDIT) {
    channel_credit(channel, value);
  }
}

static void on_data(uint32_t number, uint32_t length) {
  struct channel *channel = channel_find(number);
  if (length == 0 || length > AFAR_FRAME_MAX || (channel && length > channel->from_host))
    root_exit(1);
  if (channel)
    channel->from_host -= length;
  root.left = length;
}

/* What the host had put into the ring before the frames that follow. */
static void on_bell(uint32_t value) {
  struct server *server = &root.server;
  uint32_t part = 1, left = server->ring ? (value - server->ring->to_stub_head) & 0xffffff : 0;
  if (left > sizeof server->ring->to_stub) /* they are done already */
    return;
  for (; left > 0 && part > 0; left -= part)
    part = ring_take(server, left);
  root.looked = 0;
}

static void on_frame(uint32_t number, uint32_t type, uint32_t value) {
  switch (type) {
  case AFAR_DATA:
    return on_data(number, value);
  case AFAR_CREDIT:
  case AFAR_EOF:
  case AFAR_CLOSE:
    if (number == 0)
      root_exit(1);
    return on_channel(number, (enum afar_frame_type)type, value);
  case AFAR_PING:
    server_send(&root.server);
    silence_broken();
    return mux_frame(0, AFAR_PONG, value);
  case AFAR_PONG:
    return;
  case AFAR_BELL:
    return on_bell(value);
  default:
    root_exit(1);
  }
}

static size_t take_payload(const uint8_t *bytes, size_t length) {
  size_t part = length < root.left ? length : root.left;
  root.left -= (uint32_t)part;
  if (root.frame.channel == 0) {
    server_feed(&root.server, bytes, part);
  } else {
    struct channel *channel = channel_find(root.frame.channel);
    if (channel)
      channel_data(channel, bytes, part);
  }
  return part;
}

static size_t take_frame(const uint8_t *bytes, size_t length) {
  size_t part = sizeof root.frame - root.have;
  if (part > length)
    part = length;
  memcpy((uint8_t *)&root.frame + root.have, bytes, part);
  root.have += (uint32_t)part;
  if (root.have < sizeof root.frame)
    return part;
  root.have = 0;
  on_frame(root.frame.channel, root.frame.word >> 24, root.frame.word & 0xffffff);
  return part;
}

void mux_feed(const uint8_t *bytes, size_t length) {
  while (length > 0) {
    size_t part = root.left > 0 ? take_payload(bytes, length) : take_frame(bytes, length);
    bytes += part;
    length -= part;
  }
}
