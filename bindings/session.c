#include "session.h"

#include <errno.h>
#include <string.h>

void session_begin(struct session *session, uint32_t window) {
  session->on = 1;
  session->window = window;
}

static uint64_t append(struct session *session, const void *data, size_t length) {
  bytes_append(&session->kept, data, length);
  return session->from + bytes_length(&session->kept);
}

static void acknowledge(struct session *session) {
  struct afar_request request = {
      .tag = AFAR_TAG_FD, .op = AFAR_OP_ACK, .flags = AFAR_QUIET, .args = {session->received}};
  append(session, &request, sizeof request);
  session->acked = session->received;
}

/* The process keeps replies until it is told that they are here, and has no room for more than it said. */
uint64_t session_admit(struct session *session, const char *request, size_t length, uint32_t cost) {
  uint64_t taken = session->received - session->acked;
  if (session->promised + cost > session->window)
    return 0;
  if (taken + session->promised + cost > session->window)
    acknowledge(session);
  session->promised += cost;
  return append(session, request, length);
}

void session_answered(struct session *session, uint64_t end, uint32_t cost) {
  session->promised -= cost < session->promised ? cost : session->promised;
  if (end <= session->from || end > session->written)
    return;
  bytes_drop(&session->kept, end - session->from);
  session->from = end;
}

const char *session_next(const struct session *session, size_t *length) {
  size_t offset = session->written - session->from;
  *length = bytes_length(&session->kept) - offset;
  return bytes_head(&session->kept) + offset;
}

int session_resume(struct session *session, uint64_t requests) {
  if (requests < session->from || requests > session->written)
    return -EPROTO;
  session->written = requests;
  return 0;
}

void session_free(struct session *session) {
  bytes_free(&session->kept);
}
