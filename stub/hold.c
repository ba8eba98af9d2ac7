#include "server.h"

static uint16_t take_slot(struct server *server) {
  uint16_t slot = server->free;
  if (slot != NO_SLOT)
    server->free = server->slots[slot].next;
  else if (server->fresh < HOLD_SLOTS)
    slot = server->fresh++;
  return slot;
}

static uint16_t keep(struct server *server, const struct afar_request *request, int verdict) {
  uint16_t slot = take_slot(server);
  if (slot == NO_SLOT)
    return slot;
  server->slots[slot].request = *request;
  server->slots[slot].verdict = verdict;
  server->slots[slot].next = NO_SLOT;
  return slot;
}

/* Gives the slot back; returns the next one of the chain. */
static uint16_t drop(struct server *server, uint16_t slot) {
  uint16_t next = server->slots[slot].next;
  server->slots[slot].next = server->free;
  server->free = slot;
  return next;
}

static int16_t revents_of(struct pollfd *poll) {
  return poll->revents & POLLNVAL ? -EBADF : poll->revents;
}

int64_t hold_try(const uint64_t args[6]) {
  struct pollfd poll = {(int32_t)args[0], (int16_t)args[1], 0};
  if (poll.fd < 0)
    return -EBADF;
  int64_t count = sys_poll(&poll, 1, 0);
  return count < 0 ? count : revents_of(&poll);
}

int hold_put(struct server *server, const struct afar_request *request, const uint64_t args[6],
             struct history *history) {
  uint16_t slot = keep(server, request, 0);
  if (slot == NO_SLOT)
    return -ENOBUFS;
  memcpy(server->slots[slot].request.args, args, sizeof server->slots[slot].request.args);
  server->heads[server->held++] = slot;
  if (history == &server->live) {
    server->arriving = server->last = slot;
    server->behind = 0;
  }
  return 0;
}

void hold_append(struct server *server, const struct afar_request *request, int verdict) {
  struct afar_request settled = *request;
  int error = request_settle(&settled, ++server->behind, &server->live);
  uint16_t slot = NO_SLOT;
  if (!server->overflowed && server->behind < CHAIN_SLOTS)
    slot = keep(server, &settled, verdict ? verdict : error);
  if (slot != NO_SLOT) {
    server->slots[server->last].next = slot;
    server->last = slot;
    return;
  }
  /* No later one of the chain is performed either. Its outcome goes where none of them looks. */
  server->overflowed = 1;
  request_finish(server, request, request->args, -ENOBUFS, 0, &server->resumed);
}

int64_t hold_cancel(struct server *server, uint32_t tag) {
  for (uint32_t i = 0; i < server->held; i++) {
    struct slot *slot = &server->slots[server->heads[i]];
    if (slot->request.tag != tag || slot->verdict != 0)
      continue;
    slot->verdict = -ECANCELED;
    server->ready = 1;
    return 0;
  }
  return -ENOENT;
}

int hold_poll(struct server *server, uint32_t own, int64_t timeout) {
  struct pollfd *polls = server->polls + own;
  for (uint32_t i = 0; i < server->held; i++) {
    const struct afar_request *hold = &server->slots[server->heads[i]].request;
    polls[i] = (struct pollfd){(int32_t)hold->args[0], (int16_t)hold->args[1], 0};
  }
  if (sys_poll(server->polls, own + server->held, timeout) <= 0)
    return 0;
  for (uint32_t i = 0; i < server->held; i++) {
    if (polls[i].revents == 0)
      continue;
    server->slots[server->heads[i]].verdict = revents_of(&polls[i]);
    server->ready = 1;
  }
  return 1;
}

int hold_wait(struct server *server, int fd, int64_t timeout) {
  server->polls[0] = (struct pollfd){fd, POLLIN, 0};
  return hold_poll(server, 1, timeout) ? server->polls[0].revents : 0;
}

/* The rest of a chain that is put aside again, now behind the HOLD in slot `head`. */
static void put_behind(struct server *server, uint16_t head, uint16_t rest, struct history *history) {
  uint32_t behind = 0;
  uint16_t last = head;
  server->slots[head].next = rest;
  for (uint16_t at = rest; at != NO_SLOT; at = server->slots[at].next) {
    struct slot *slot = &server->slots[at];
    int error = request_settle(&slot->request, ++behind, history);
    if (!slot->verdict)
      slot->verdict = error;
    last = at;
  }
  if (history == &server->live) {
    server->last = last;
    server->behind = behind;
  }
}

/* Answers the HOLD of a chain and performs the rest. All that came before the HOLD is settled, so the history may begin
 * with it, but for the arriving chain: what still arrives may refer to all of it. */
static void resume(struct server *server, uint32_t at) {
  uint16_t head = server->heads[at];
  struct slot slot = server->slots[head];
  struct history *history = &server->resumed;
  if (head == server->arriving) {
    history = &server->live;
    server->arriving = NO_SLOT;
  } else {
    history->count = 0;
  }
  memmove(&server->heads[at], &server->heads[at + 1], (--server->held - at) * sizeof server->heads[0]);
  uint16_t next = drop(server, head);
  request_finish(server, &slot.request, slot.request.args, slot.verdict, 0, history);
  while (next != NO_SLOT) {
    slot = server->slots[next];
    next = drop(server, next);
    if (request_perform(server, &slot.request, slot.verdict, history)) {
      put_behind(server, server->heads[server->held - 1], next, history);
      return;
    }
  }
}

/* What the chain before has read is not there any more, though the same poll has reported it to this one. */
static int is_ready(struct slot *hold, int resumed) {
  if (hold->verdict > 0 && resumed)
    hold->verdict = (int)hold_try(hold->request.args);
  return hold->verdict != 0;
}

void hold_run(struct server *server) {
  int resumed = 0;
  server->ready = 0;
  for (uint32_t at = 0; at < server->held;) {
    if (!is_ready(&server->slots[server->heads[at]], resumed)) {
      at++;
      continue;
    }
    resume(server, at);
    resumed = 1;
    at = 0;
  }
  server->ready = 0;
}
