#include "split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
  NOT_SENT = UINT32_MAX, /* of a request: it is not in this part; of a part's: it is a relay */
  LIVE_MAX = 128,        /* results that are relayed side by side: with more, the part ends */
};

enum { ARGS = 6 };

/* What is known of a chain's request. */
struct known {
  uint32_t at;       /* where it begins in the chain's bytes */
  uint32_t last_use; /* the last request that refers to it; itself: none */
  uint32_t home;     /* where its result is found in the part under way */
  unsigned live : 1; /* something that is to come refers to it */
  unsigned ok : 1;   /* it has succeeded; once it was decided */
};

struct split {
  struct chain *part; /* under way */
  uint32_t *map;      /* which request of the chain each of the part's is */
  uint32_t map_size;
  uint32_t first, next; /* the part's, and the first behind it */
  uint32_t live;        /* results of the part that are still needed */
  uint32_t *queue;      /* these, and some that are not any more, by where they are found */
  uint32_t queue_head, queue_tail, queue_size;
  struct known *known;
};

void split_free(struct split *split) {
  if (!split)
    return;
  if (split->part)
    chain_unref(split->part);
  free(split->map);
  free(split->queue);
  free(split->known);
  free(split);
}

/* ---- what refers to what ---- */

static struct afar_request request_at(const struct chain *chain, uint32_t index) {
  struct afar_request request;
  memcpy(&request, bytes_head(&chain->requests) + chain->split->known[index].at, sizeof request);
  return request;
}

/* The request to which `place` of request `index` refers: NOT_SENT if to none. */
static uint32_t source_of(const struct chain *chain, const struct afar_request *request, uint32_t index,
                          uint32_t place) {
  uint32_t back = 0;
  if (place < ARGS && (request->kinds >> 2 * place & 3) == AFAR_RESULT)
    back = (uint32_t)(request->args[place] >> 56);
  else if (place < ARGS)
    return NOT_SENT;
  else
    back = place == FAR_IF_OK ? request->if_ok : request->if_failed;
  if (back > 0)
    return index - back;
  const struct reference *far = (const struct reference *)bytes_head(&chain->far);
  size_t low = 0, high = bytes_length(&chain->far) / sizeof *far;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (far[middle].request < index)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < bytes_length(&chain->far) / sizeof *far && far[low].request == index; low++)
    if (far[low].place == place)
      return far[low].source;
  return NOT_SENT;
}

static void learn(struct chain *chain) {
  struct split *split = chain->split = calloc(1, sizeof *split);
  struct known *known = split ? split->known = calloc(chain->count, sizeof *known) : NULL;
  if (!known)
    abort();
  for (uint32_t i = 0, at = 0; i < chain->count; i++) {
    known[i] = (struct known){.at = at, .last_use = i, .home = NOT_SENT};
    struct afar_request request = request_at(chain, i);
    at += (uint32_t)(sizeof request + (request.op == AFAR_OP_WRITE ? request.args[1] : 0));
    for (uint32_t place = 0; place <= FAR_IF_FAILED; place++) {
      uint32_t source = source_of(chain, &request, i, place);
      if (source != NOT_SENT)
        known[source].last_use = i;
    }
  }
}

/* ---- building a part ---- */

static uint64_t constant_of(uint64_t arg) {
  return (uint64_t)((int64_t)(arg << 8) >> 8);
}

static void push(uint32_t **array, uint32_t *count, uint32_t *size, uint32_t value) {
  if (*count == *size)
    *array = array_grow(*array, size, sizeof **array);
  (*array)[(*count)++] = value;
}

static void emit(struct split *split, struct afar_request request, uint32_t index) {
  request.flags &= (uint8_t) ~(AFAR_CHAIN | AFAR_QUIET);
  uint32_t count = split->part->count;
  push(&split->map, &count, &split->map_size, index);
  chain_add(split->part, request);
}

/* The result of request `index` is found where the next request of the part will be. */
static void settle_down(struct split *split, uint32_t index) {
  split->known[index].home = split->part->count;
  push(&split->queue, &split->queue_tail, &split->queue_size, index);
}

static uint32_t back_to(const struct split *split, uint32_t source) {
  return split->part->count - split->known[source].home;
}

/* Repeats results before they are too far back for request `index` or the next relay to be referred to. */
static void relay(struct split *split, uint32_t index) {
  while (split->queue_head < split->queue_tail) {
    uint32_t source = split->queue[split->queue_head];
    int dead = split->known[source].last_use < index;
    if (!dead && back_to(split, source) < AFAR_BACK_MAX)
      return;
    split->queue_head++;
    if (dead)
      continue;
    struct afar_request request = {
        .op = AFAR_OP_VALUE, .kinds = AFAR_RESULT, .args = {(uint64_t)back_to(split, source) << 56}};
    settle_down(split, source);
    emit(split, request, NOT_SENT);
  }
}

/* Whether an argument or condition of a request holds: 1, also if that is found out there; 0: it is not performed. */
static int refer(struct chain *chain, struct afar_request *request, uint32_t source, uint32_t place) {
  struct split *split = chain->split;
  int here = source >= split->first && split->known[source].home != NOT_SENT;
  uint32_t back = here ? back_to(split, source) : 0;
  if (place == FAR_IF_FAILED) {
    request->if_failed = (uint8_t)back;
    return here || !split->known[source].ok;
  }
  if (place == FAR_IF_OK) {
    request->if_ok = (uint8_t)back;
    return here || split->known[source].ok;
  }
  uint64_t constant = constant_of(request->args[place]);
  request->args[place] = (uint64_t)back << 56 | (constant & 0xffffffffffffff);
  if (here)
    return 1;
  request->kinds &= (uint16_t) ~(3 << 2 * place);
  request->args[place] = (uint64_t)chain->outcomes[source].result + constant;
  return split->known[source].ok;
}

/* Gives back what was taken: its condition is that of its own argument, or it has none. */
static int is_cleanup(const struct chain *chain, const struct afar_request *request, uint32_t index) {
  uint32_t condition = source_of(chain, request, index, FAR_IF_OK);
  for (uint32_t place = 0; place < ARGS; place++)
    if (condition != NOT_SENT && source_of(chain, request, index, place) == condition)
      return 1;
  return condition == NOT_SENT;
}

/* Makes a request one of the part; 0: it is not performed. */
static int adapt(struct chain *chain, struct afar_request *request, uint32_t index, int canceled) {
  const struct afar_request old = *request;
  if (canceled && !is_cleanup(chain, request, index))
    return 0;
  for (uint32_t place = 0; place <= FAR_IF_FAILED; place++) {
    uint32_t source = source_of(chain, &old, index, place);
    if (source != NOT_SENT && !refer(chain, request, source, place))
      return 0;
  }
  return 1;
}

/* What it refers to and nothing later does needs no relays any more. */
static void let_die(struct chain *chain, uint32_t index) {
  struct split *split = chain->split;
  struct afar_request request = request_at(chain, index);
  for (uint32_t place = 0; place <= FAR_IF_FAILED; place++) {
    uint32_t source = source_of(chain, &request, index, place);
    if (source == NOT_SENT || split->known[source].last_use != index)
      continue;
    split->live -= split->known[source].live;
    split->known[source].live = 0;
  }
}

static void take_request(struct chain *chain, uint32_t index, int canceled) {
  struct split *split = chain->split;
  struct known *known = &split->known[index];
  struct afar_request request = request_at(chain, index);
  relay(split, index);
  known->home = NOT_SENT;
  int performed = adapt(chain, &request, index, canceled);
  let_die(chain, index);
  if (!performed) {
    chain->outcomes[index].state = OUTCOME_DONE;
    chain->outcomes[index].result = -ECANCELED;
    known->ok = 0;
    return;
  }
  if (known->last_use != index) {
    settle_down(split, index);
    known->live = 1;
    split->live++;
  } else {
    known->home = split->part->count;
  }
  emit(split, request, index);
  if (request.op == AFAR_OP_WRITE)
    bytes_append(&split->part->requests, bytes_head(&chain->requests) + known->at + sizeof request, request.args[1]);
}

struct chain *split_next(struct chain *chain, uint32_t limit, int canceled) {
  if (!chain->split)
    learn(chain);
  struct split *split = chain->split;
  struct chain *part = split->part = calloc(1, sizeof *part);
  if (!part)
    abort();
  part->refs = 1;
  part->is_part = 1;
  for (uint32_t i = split->first; i < split->next; i++)
    split->known[i].live = 0;
  split->first = split->next;
  split->live = split->queue_head = split->queue_tail = 0;
  for (; split->next < chain->count; split->next++) {
    int payload = request_at(chain, split->next).op == AFAR_OP_WRITE;
    if ((payload && part->held) || split->live > LIVE_MAX)
      break;
    take_request(chain, split->next, canceled);
  }
  if (part->held > limit)
    part->held = limit;
  if (part->count > 0)
    return part;
  chain_unref(part);
  split->part = NULL;
  return NULL;
}

/* ---- what came of it ---- */

static int is_as_expected(const struct chain *chain, uint32_t index, int64_t result) {
  struct afar_request request = request_at(chain, index);
  if (request.flags & AFAR_EXPECT)
    return result == (int32_t)request.expect;
  if (!(request.flags & AFAR_EXPECT_ARG))
    return 1;
  uint64_t wanted = request.args[request.expect];
  uint32_t source = source_of(chain, &request, index, request.expect);
  if (source != NOT_SENT)
    wanted = (uint64_t)chain->outcomes[source].result + constant_of(wanted);
  return result == (int64_t)wanted;
}

void split_take(struct chain *chain) {
  struct split *split = chain->split;
  struct chain *part = split ? split->part : NULL;
  if (!part)
    return;
  for (uint32_t i = 0; i < part->count; i++) {
    uint32_t index = split->map[i];
    struct outcome *from = &part->outcomes[i];
    if (from->state == OUTCOME_BACK && index == NOT_SENT)
      continue;
    if (from->state == OUTCOME_BACK) {
      split->next = index; /* it and all behind it are still to be performed */
      break;
    }
    if (index == NOT_SENT || from->state != OUTCOME_DONE)
      continue;
    struct outcome *to = &chain->outcomes[index];
    to->state = OUTCOME_DONE;
    to->result = from->result;
    to->length = from->length;
    to->data = from->data;
    from->data = NULL;
    split->known[index].ok = !is_errno(to->result) && is_as_expected(chain, index, to->result);
  }
  chain_unref(part);
  split->part = NULL;
}
