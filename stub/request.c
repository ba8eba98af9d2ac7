#include "server.h"

static int is_errno(int64_t result) {
  return result < 0 && result >= -4095;
}

/* The place of the request that is `back` requests before the next one of `history`, or -1. */
static int look_back(const struct history *history, uint32_t back) {
  if (back == 0 || back > history->count || back > AFAR_BACK_MAX)
    return -1;
  return (int)((history->count - back) & 255);
}

static uint32_t kind_of(const struct afar_request *request, int i) {
  return request->kinds >> 2 * i & 3;
}

static uint32_t distance_of(uint64_t arg) {
  return (uint32_t)(arg >> 56);
}

static uint64_t with_constant(int64_t result, uint64_t arg) {
  return (uint64_t)result + (uint64_t)((int64_t)(arg << 8) >> 8);
}

/* Whether a condition on the request `back` before holds: 0, -ECANCELED or -EINVAL. */
static int check(const struct history *history, uint32_t back, int ok) {
  int at = look_back(history, back);
  if (at < 0)
    return -EINVAL;
  return history->ok[at] == ok ? 0 : -ECANCELED;
}

static int check_all(const struct afar_request *request, const struct history *history) {
  int error = 0;
  if (request->flags & AFAR_EXPECT_ARG && request->expect > 5)
    return -EINVAL;
  if (request->if_ok)
    error = check(history, request->if_ok, 1);
  if (!error && request->if_failed)
    error = check(history, request->if_failed, 0);
  for (int i = 0; request->kinds && i < 6 && !error; i++)
    if (kind_of(request, i) == AFAR_RESULT)
      error = check(history, distance_of(request->args[i]), 1);
  return error;
}

static int load(struct server *server, const struct afar_request *request, const struct history *history,
                uint64_t args[6]) {
  int error = 0;
  for (int i = 0; i < 6 && !error; i++) {
    uint64_t arg = request->args[i];
    switch (kind_of(request, i)) {
    case AFAR_LITERAL:
      args[i] = arg;
      break;
    case AFAR_RESULT:
      args[i] = with_constant(history->result[look_back(history, distance_of(arg))], arg);
      break;
    case AFAR_LOAD32:
    case AFAR_LOAD64:
      args[i] = 0;
      error = memory_read(&server->memory, &args[i], arg, kind_of(request, i) == AFAR_LOAD32 ? 4 : 8);
    }
  }
  return error;
}

int request_prepare(struct server *server, const struct afar_request *request, const struct history *history,
                    uint64_t args[6]) {
  int error = check_all(request, history);
  return error ? error : load(server, request, history, args);
}

static int as_expected(const struct afar_request *request, const uint64_t args[6], int64_t result) {
  if (request->flags & AFAR_EXPECT && result != (int32_t)request->expect)
    return 0;
  return !(request->flags & AFAR_EXPECT_ARG) || result == (int64_t)args[request->expect];
}

static uint8_t *room(struct server *server, size_t length) {
  if (server->out_used + length > OUT_SIZE)
    server_send_all(server);
  return server->out + server->out_used;
}

void request_finish(struct server *server, const struct afar_request *request, const uint64_t args[6], int64_t result,
                    uint32_t payload, struct history *history) {
  int ok = !is_errno(result) && as_expected(request, args, result);
  history->result[history->count & 255] = result;
  history->ok[history->count & 255] = (uint8_t)ok;
  history->count++;
  if (ok && request->flags & AFAR_QUIET)
    return;
  struct afar_reply reply = {request->tag, payload, result};
  __builtin_memcpy(room(server, sizeof reply), &reply, sizeof reply);
  server->out_used += (uint32_t)sizeof reply + payload;
  server->urgent |= !(request->flags & AFAR_LATER);
}

/* What came of a request besides its result. */
struct outcome {
  uint32_t payload; /* bytes that are in their place behind the reply already */
  int held;         /* there is no result yet: it was put aside */
};

static int64_t perform_read(struct server *server, const uint64_t args[6], struct outcome *outcome) {
  int64_t length = (int64_t)args[1];
  if (length < 0)
    length = 0;
  if (length > READ_MAX)
    length = READ_MAX;
  uint8_t *to = room(server, sizeof(struct afar_reply) + (size_t)length) + sizeof(struct afar_reply);
  int error = memory_read(&server->memory, to, args[0], (size_t)length);
  if (error)
    return error;
  outcome->payload = (uint32_t)length;
  return length;
}

static int64_t perform_hold(struct server *server, const struct afar_request *request, const uint64_t args[6],
                            struct history *history, struct outcome *outcome) {
  if (history == &server->live)
    server->behind_hold = 1;
  int64_t result = hold_try(args);
  if (result != 0)
    return result;
  if (args[2])
    return -EAGAIN;
  result = hold_put(server, request, args, history);
  outcome->held = result == 0;
  return result;
}

static int64_t perform(struct server *server, const struct afar_request *request, const uint64_t args[6],
                       struct history *history, struct outcome *outcome) {
  if (request->flags & AFAR_FLUSH)
    server_flush_all(server);
  switch (request->op) {
  case AFAR_OP_CALL:
    server->calls++;
    return syscall6(request->nr, args[0], args[1], args[2], args[3], args[4], args[5]);
  case AFAR_OP_READ:
    return perform_read(server, args, outcome);
  case AFAR_OP_HOLD:
    return perform_hold(server, request, args, history, outcome);
  case AFAR_OP_CANCEL:
    return hold_cancel(server, (uint32_t)args[0]);
  case AFAR_OP_VALUE:
    return (int64_t)args[0];
  case AFAR_OP_TALLY:
    return (int64_t)server->calls;
  default:
    return server->kind->perform(server, request->op, args);
  }
}

int request_perform(struct server *server, const struct afar_request *request, int verdict, struct history *history) {
  uint64_t loaded[6];
  const uint64_t *args = request->kinds ? loaded : request->args;
  struct outcome outcome = {0, 0};
  int64_t result = verdict ? verdict : check_all(request, history);
  if (result == 0 && args == loaded)
    result = load(server, request, history, loaded);
  if (result == 0)
    result = perform(server, request, args, history, &outcome);
  if (!outcome.held)
    request_finish(server, request, args, result, outcome.payload, history);
  return outcome.held;
}

int request_settle(struct afar_request *request, uint32_t behind, const struct history *history) {
  int error = 0;
  if (request->if_ok > behind) {
    error = check(history, request->if_ok - behind, 1);
    request->if_ok = 0;
  }
  if (!error && request->if_failed > behind) {
    error = check(history, request->if_failed - behind, 0);
    request->if_failed = 0;
  }
  for (int i = 0; i < 6 && !error; i++) {
    uint32_t back = distance_of(request->args[i]);
    if (kind_of(request, i) != AFAR_RESULT || back <= behind)
      continue;
    error = check(history, back - behind, 1);
    if (!error)
      request->args[i] = with_constant(history->result[look_back(history, back - behind)], request->args[i]);
    request->kinds &= (uint16_t) ~(3 << 2 * i);
  }
  return error;
}
