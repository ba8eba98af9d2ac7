#include "persist.h"

void server_init(struct server *server, const struct server_kind *kind) {
  memset(server, 0, offsetof(struct server, live));
  server->live.count = 0;
  server->kind = kind;
  server->arriving = NO_SLOT;
  server->free = NO_SLOT;
  memory_init(&server->memory);
}

void server_send_all(struct server *server) {
  if (server->out_used > 0)
    server->kind->send(server, server->out, server->out_used);
  server->out_used = 0;
  server->urgent = 0;
}

void server_send(struct server *server) {
  if (server->urgent)
    server_send_all(server);
}

void server_flush(struct server *server) {
  server_send(server);
  server->kind->flush(server);
}

void server_flush_all(struct server *server) {
  server_send_all(server);
  server->kind->flush(server);
}

static void begin_chain(struct server *server) {
  server->live.count = 0;
  server->arriving = NO_SLOT;
  server->behind_hold = 0;
  server->overflowed = 0;
}

static void finish_write(struct server *server) {
  const struct afar_request *request = &server->request;
  int error = server->error;
  server->have = 0;
  if (!error && server->done == sizeof server->word && server->args[0] % 8 == 0)
    error = memory_store(&server->memory, server->args[0], server->word);
  if (!server->unkept)
    request_finish(server, request, server->args, error ? error : (int64_t)server->done, 0, &server->live);
}

/* The payload's length must be known before anything else is, or all that follows is not understood. */
static void begin_write(struct server *server) {
  struct afar_request *request = &server->request;
  if ((request->kinds >> 2 & 3) != AFAR_LITERAL || request->args[1] > INT32_MAX)
    sys_exit(1);
  server->left = (uint32_t)request->args[1];
  server->done = 0;
  server->unkept = server->arriving != NO_SLOT;
  if (server->unkept) {
    server->error = -EINVAL;
    hold_append(server, request, -EINVAL);
  } else if (server->overflowed) {
    server->error = -ENOBUFS;
  } else if (server->behind_hold) {
    server->error = -EINVAL;
  } else {
    server->error = request_prepare(server, request, &server->live, server->args);
    if (!server->error && request->flags & AFAR_FLUSH)
      server_flush_all(server);
  }
  if (server->left == 0)
    finish_write(server);
}

static size_t take_payload(struct server *server, const uint8_t *bytes, size_t length) {
  size_t part = length < server->left ? length : server->left;
  uint64_t to = server->args[0] + server->done;
  if (!server->error) {
    if (server->request.args[1] == sizeof server->word && server->args[0] % 8 == 0)
      memcpy((uint8_t *)&server->word + server->done, bytes, part);
    else
      server->error = memory_write(&server->memory, to, bytes, part);
  }
  server->done += part;
  server->left -= (uint32_t)part;
  if (server->left == 0)
    finish_write(server);
  return part;
}

static void arrived(struct server *server) {
  const struct afar_request *request = &server->request;
  if (request->op == AFAR_OP_ACK) {
    server->have = 0;
    if (server->persist)
      persist_ack(server, request->args[0]);
    return;
  }
  if (!(request->flags & AFAR_CHAIN))
    begin_chain(server);
  if (request->op == AFAR_OP_WRITE)
    return begin_write(server);
  server->have = 0;
  if (server->arriving != NO_SLOT)
    hold_append(server, request, 0);
  else
    request_perform(server, request, server->overflowed ? -ENOBUFS : 0, &server->live);
}

/* All of one at once, as it mostly is: words are quicker than a copy of any length. */
static void take_whole(struct afar_request *request, const uint8_t *bytes) {
  for (size_t at = 0; at < sizeof *request; at += 8)
    __builtin_memcpy((uint8_t *)request + at, bytes + at, 8);
}

static size_t take_request(struct server *server, const uint8_t *bytes, size_t length) {
  size_t part = sizeof server->request - server->have;
  if (part > length)
    part = length;
  if (part == sizeof server->request)
    take_whole(&server->request, bytes);
  else
    memcpy((uint8_t *)&server->request + server->have, bytes, part);
  server->have += (uint32_t)part;
  if (server->have == sizeof server->request)
    arrived(server);
  return part;
}

void server_feed(struct server *server, const uint8_t *bytes, size_t length) {
  while (length > 0) {
    size_t part = server->left > 0 ? take_payload(server, bytes, length) : take_request(server, bytes, length);
    bytes += part;
    length -= part;
    if (server->ready)
      hold_run(server);
    if (server->switched)
      length = 0;
    server->switched = 0;
  }
}
