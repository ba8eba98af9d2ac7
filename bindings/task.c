#include "task.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"

#define RING_AFTER  8    /* writes, within */
#define RING_WITHIN 0.02 /* seconds: then a ring is worth its setting up, and the pages that it takes */

/* The process does not keep to the protocol. */
static int wrong(struct task *task, const char *what) {
  task->sink.fault = what;
  task->broken = 1;
  return -EPROTO;
}

/* ---- requests in flight ---- */

uint32_t task_take_tag(struct task *task, struct chain *chain, uint32_t index) {
  if (task->pending_free == TASK_NO_TAG) {
    uint32_t old = task->pending_size;
    task->pending = array_grow(task->pending, &task->pending_size, sizeof *task->pending);
    for (uint32_t i = task->pending_size; i-- > old; task->pending_free = i)
      task->pending[i] = (struct pending){.index = task->pending_free};
  }
  uint32_t tag = task->pending_free;
  task->pending_free = task->pending[tag].index;
  task->pending[tag] = (struct pending){chain, index};
  if (task->in_flight++ == 0 && task->ring)
    ring_await(task->ring, 1);
  return tag;
}

static void pending_give(struct task *task, uint32_t tag) {
  task->pending[tag] = (struct pending){.index = task->pending_free};
  task->pending_free = tag;
  if (--task->in_flight == 0 && task->ring)
    ring_await(task->ring, 0);
}

void task_flush_later(struct task *task) {
  loop_flush_later(task->loop, &task->flush);
}

/* Puts a chain into the queue that leaves at the end of this turn. */
void task_queue(struct task *task, struct chain *chain) {
  char *at = bytes_head(&chain->requests), *end = at + bytes_length(&chain->requests);
  for (uint32_t i = 0; at < end; i++) {
    uint64_t payload = 0;
    if ((uint8_t)at[offsetof(struct afar_request, op)] == AFAR_OP_WRITE)
      memcpy(&payload, at + offsetof(struct afar_request, args[1]), sizeof payload);
    uint32_t tag = chain->outcomes[i].tag = task_take_tag(task, chain, i);
    chain->outcomes[i].state = OUTCOME_SENT;
    memcpy(at + offsetof(struct afar_request, tag), &tag, sizeof tag);
    at += sizeof(struct afar_request) + payload;
    chain->outcomes[i].upto = task->queued + (uint64_t)(at - bytes_head(&chain->requests));
  }
  chain->at = task->queued;
  task->queued += bytes_length(&chain->requests);
  bytes_move(&task->out, &chain->requests);
  task->held += chain->held;
  task_flush_later(task);
}

void task_submit(struct task *task, struct chain *chain) {
  chain->refs++;
  if (chain->held && task->held > 0 && task->held + chain->held > task->hold_slots) {
    chain->next = NULL;
    *task->waiting_last = chain;
    task->waiting_last = &chain->next;
    return;
  }
  task_queue(task, chain);
}

static void submit_waiting(struct task *task) {
  while (task->waiting && (task->held == 0 || task->held + task->waiting->held <= task->hold_slots)) {
    struct chain *chain = task->waiting;
    task->waiting = chain->next;
    if (!task->waiting)
      task->waiting_last = &task->waiting;
    task_queue(task, chain);
  }
}

/* Tells who waits; gives up the task's reference. */
void task_complete(struct task *task, struct chain *chain, int64_t result, enum fate fate) {
  loop_complete(task->loop, chain->id, result, fate);
  chain->id = 0;
  chain->done = 1;
  chain->fate = fate;
  chain_unref(chain);
}

/* It reads from the ring from now on, unless it says no. */
static void ring_answered(struct task *task, int64_t result) {
  if (result == 0) {
    link_use_ring(&task->link, task->prospect.at);
    task->ring = &task->link.ring;
    ring_await(task->ring, task->in_flight > 0);
  }
  task->prospect = (struct prospect){0};
  task_flush_later(task);
}

static void chain_done(struct task *task, struct chain *chain, enum fate fate) {
  task->held -= chain->held;
  if (chain == task->prospect.asked)
    ring_answered(task, chain->outcomes[0].result);
  task_complete(task, chain, chain->call ? chain_call_result(chain) : 0, fate);
  submit_waiting(task);
}

/* Bytes that its reply may have. */
uint32_t task_cost(const struct task *task, const struct outcome *outcome) {
  uint32_t most = outcome->most < task->read_max ? outcome->most : task->read_max;
  return (uint32_t)sizeof(struct afar_reply) + most;
}

static void settle(struct task *task, struct outcome *outcome) {
  outcome->state = OUTCOME_DONE;
  pending_give(task, outcome->tag);
  if (task->session.on)
    session_answered(&task->session, outcome->end, task_cost(task, outcome));
}

/* Quiet requests before this one that were not answered have succeeded; others can't be without an answer. */
static int settle_quiet(struct task *task, struct chain *chain, uint32_t upto) {
  for (uint32_t i = upto; i-- > 0 && chain->outcomes[i].state == OUTCOME_SENT;) {
    if (!chain->outcomes[i].quiet)
      return wrong(task, "a reply before that of an earlier request");
    chain->outcomes[i].result = 0;
    chain->answered++;
    settle(task, &chain->outcomes[i]);
  }
  return 0;
}

/* The stub had no slot for it: else it would not be answered before what it waits for. */
static int is_overflow(const struct chain *chain, uint32_t index, int64_t result) {
  if (!chain->is_part || result != -ENOBUFS || index == 0)
    return 0;
  return chain->outcomes[index - 1].state == OUTCOME_SENT || chain->outcomes[index - 1].state == OUTCOME_BACK;
}

/* One reply is whole. */
static int answered(struct task *task, uint32_t tag, int64_t result) {
  struct chain *chain = task->pending[tag].chain;
  uint32_t index = task->pending[tag].index;
  int overflow = is_overflow(chain, index, result);
  int error = overflow ? 0 : settle_quiet(task, chain, index);
  if (error)
    return error;
  chain->outcomes[index].result = result;
  settle(task, &chain->outcomes[index]);
  if (overflow)
    chain->outcomes[index].state = OUTCOME_BACK;
  if (++chain->answered == chain->count)
    chain_done(task, chain, FATE_DONE);
  return 0;
}

/* ---- fds that it hands to the root ---- */

int task_forget_fd(struct task *task, uint64_t id) {
  char *at = bytes_head(&task->fd_ids), *end = at + bytes_length(&task->fd_ids);
  for (; at < end; at += sizeof id) {
    if (memcmp(at, &id, sizeof id) != 0)
      continue;
    memmove(at, at + sizeof id, (size_t)(end - at) - sizeof id);
    task->fd_ids.tail -= sizeof id;
    return 1;
  }
  return 0;
}

/* The message has come that says for whom an fd is; the fd came right before it. One that nobody waits for is closed;
 * if it is the root's, it stays open there until that ends. */
static int on_fd(struct task *task, const struct afar_reply *reply) {
  int fd = task->linked ? link_take_fd(&task->link) : task->channel ? channel_take_fd(task->channel) : -1;
  int came = fd != LINK_FD_NONE && reply->length == 0;
  if (came && task_forget_fd(task, (uint64_t)reply->result))
    loop_complete(task->loop, (uint64_t)reply->result, fd == LINK_FD_LOST ? -EMFILE : fd, FATE_DONE);
  else if (task->linked && fd >= 0)
    close(fd);
  return came ? 0 : wrong(task, "a message that an fd came, without one");
}

static void end_fds(struct task *task, enum fate fate) {
  while (bytes_length(&task->fd_ids) > 0) {
    uint64_t id;
    memcpy(&id, bytes_head(&task->fd_ids), sizeof id);
    bytes_drop(&task->fd_ids, sizeof id);
    loop_complete(task->loop, id, -EPIPE, fate);
  }
}

/* ---- receiving ---- */

/* Lua relies on a READ that succeeded having brought all that it asked for. */
static const char *payload_fault(const struct task *task, const struct outcome *outcome,
                                 const struct afar_reply *reply) {
  uint32_t most = outcome->most < task->read_max ? outcome->most : task->read_max;
  if (reply->length > most)
    return "a reply with more bytes than were asked for";
  if (outcome->most == 0 && !outcome->open)
    return NULL;
  int64_t wanted = is_errno(reply->result) ? 0 : reply->result;
  if (wanted != (int64_t)reply->length)
    return "a reply with other bytes than its result says";
  return outcome->open || is_errno(reply->result) || reply->length == most
             ? NULL
             : "a reply with fewer bytes than were asked for";
}

/* A reply's header is there: makes room for its payload. */
static int reply_begin(struct task *task) {
  struct afar_reply *reply = &task->reply;
  if (reply->tag == AFAR_TAG_FD)
    return on_fd(task, reply);
  if (reply->tag >= task->pending_size || !task->pending[reply->tag].chain)
    return wrong(task, "a reply to no request");
  struct pending *pending = &task->pending[reply->tag];
  struct outcome *outcome = &pending->chain->outcomes[pending->index];
  if (outcome->upto > task->sent)
    return wrong(task, "a reply to a request before that was sent");
  const char *fault = payload_fault(task, outcome, reply);
  if (fault)
    return wrong(task, fault);
  if (reply->length == 0)
    return answered(task, reply->tag, reply->result);
  outcome->data = malloc(reply->length);
  if (!outcome->data)
    abort();
  outcome->length = reply->length;
  task->data_left = reply->length;
  return 0;
}

/* Takes a piece of a reply's payload; returns how many bytes that was, or a negative errno. */
static long take_payload(struct task *task, const char *data, size_t length) {
  struct pending *pending = &task->pending[task->reply.tag];
  struct outcome *outcome = &pending->chain->outcomes[pending->index];
  size_t part = length < task->data_left ? length : task->data_left;
  memcpy(outcome->data + outcome->length - task->data_left, data, part);
  task->data_left -= (uint32_t)part;
  int error = task->data_left == 0 ? answered(task, task->reply.tag, task->reply.result) : 0;
  return error ? error : (long)part;
}

/* The same for its header. */
static long take_header(struct task *task, const char *data, size_t length) {
  size_t part = sizeof task->reply - task->reply_have;
  part = length < part ? length : part;
  memcpy((char *)&task->reply + task->reply_have, data, part);
  task->reply_have += part;
  if (task->reply_have < sizeof task->reply)
    return (long)part;
  task->reply_have = 0;
  int error = reply_begin(task);
  return error ? error : (long)part;
}

static int on_data(struct sink *sink, const char *data, size_t length) {
  struct task *task = (struct task *)((char *)sink - offsetof(struct task, sink));
  int beside_ring = task->ring != NULL;
  while (length > 0 && !task->ended) {
    if (task->ring && !beside_ring)
      return link_take_messages(&task->link, data, length);
    long part = task->data_left > 0 ? take_payload(task, data, length) : take_header(task, data, length);
    if (part < 0)
      return (int)part;
    data += part;
    length -= (size_t)part;
    task->session.received += (uint64_t)part;
  }
  if (task->session.on && !task->ended)
    task_flush_later(task); /* there may be room for more now */
  return 0;
}

static int on_message(struct sink *sink, const struct afar_reply *message) {
  return on_fd((struct task *)((char *)sink - offsetof(struct task, sink)), message);
}

/* ---- sending ---- */

/* How much of what is queued may be sent now. */
static size_t sendable(const struct task *task) {
  uint64_t length = bytes_length(&task->out);
  const struct chain *last = task->prospect.asked ? task->prospect.asked : task->last;
  if (!last)
    return length;
  uint64_t left = last->end - task->sent;
  return left < length ? left : length;
}

struct chain *task_ask_ring(struct task *task, struct afar_ring *ring, uint64_t address) {
  struct chain *chain = calloc(1, sizeof *chain);
  if (!chain)
    abort();
  chain->refs = 1;
  ring_prepare(ring);
  chain_add(chain, (struct afar_request){.op = AFAR_OP_RING, .args = {address}});
  task_queue(task, chain);
  chain->end = task->queued;
  return chain;
}

/* Asks for its ring along with what is sent now, if that is one of many writes within a short time. */
static void consider_ring(struct task *task) {
  struct prospect *prospect = &task->prospect;
  if (!prospect->at || prospect->asked || task->last || bytes_length(&task->out) == 0)
    return;
  double now = ev_now(task->loop->ev);
  if (prospect->writes == 0 || now - prospect->since > RING_WITHIN) {
    prospect->writes = 0;
    prospect->since = now;
  }
  if (++prospect->writes > RING_AFTER)
    prospect->asked = task_ask_ring(task, prospect->at, prospect->address);
}

/* Lets requests into the session, one after the other, as far as there is room for their replies. */
static void admit(struct task *task) {
  while (bytes_length(&task->out) > 0) {
    struct afar_request request;
    memcpy(&request, bytes_head(&task->out), sizeof request);
    size_t length = sizeof request + (request.op == AFAR_OP_WRITE ? request.args[1] : 0);
    struct pending *pending = &task->pending[request.tag];
    struct outcome *outcome = &pending->chain->outcomes[pending->index];
    outcome->end = session_admit(&task->session, bytes_head(&task->out), length, task_cost(task, outcome));
    if (outcome->end == 0)
      return;
    bytes_drop(&task->out, length);
    task->sent += length;
  }
}

static void session_flush(struct task *task) {
  size_t length;
  admit(task);
  const char *data = session_next(&task->session, &length);
  long count = task->channel && length > 0 ? channel_write(task->channel, data, length) : 0;
  if (count > 0)
    task->session.written += (uint64_t)count;
}

void task_flush(struct task *task) {
  if (task->ended)
    return;
  if (task->session.on)
    return session_flush(task);
  consider_ring(task);
  size_t length = sendable(task);
  int carried = task->stream || task->linked || task->channel;
  if (length == 0 || !carried)
    return;
  if (task->stream) {
    stream_requests(task->stream, bytes_head(&task->out), length);
    task->sent += length;
    return bytes_drop(&task->out, length);
  }
  long count = task->linked ? link_write(&task->link, bytes_head(&task->out), length)
                            : channel_write(task->channel, bytes_head(&task->out), length);
  if (count <= 0)
    return;
  task->sent += (uint64_t)count;
  bytes_drop(&task->out, (size_t)count);
}

static void run_flush(struct flush *flush) {
  task_flush((struct task *)((char *)flush - offsetof(struct task, flush)));
}

static void on_credit(struct sink *sink) {
  task_flush((struct task *)((char *)sink - offsetof(struct task, sink)));
}

/* ---- the end ---- */

void task_release(struct task *task) {
  if (--task->refs > 0)
    return;
  loop_flush_forget(task->loop, &task->flush);
  bytes_free(&task->out);
  bytes_free(&task->fd_ids);
  session_free(&task->session);
  free(task->pending);
  free(task);
}

void task_drop_channel(struct task *task) {
  if (!task->channel)
    return;
  task->channel->sink = NULL;
  channel_close(task->channel);
  channel_unref(task->channel);
  task->channel = NULL;
}

void task_drop_link(struct task *task) {
  if (!task->linked)
    return;
  link_close(&task->link);
  task->linked = 0;
  task->ring = NULL;
  task->prospect = (struct prospect){0};
}

void task_leave_stream(struct task *task) {
  if (task->ring)
    ring_close(task->ring);
  task->ring = NULL;
  if (task->stream)
    task->stream->root = NULL;
  task->stream = NULL;
}

static void tell_break(struct task *task, enum fate fate) {
  loop_complete(task->loop, task->break_id, 0, fate);
  task->break_id = 0;
}

void task_cut(struct task *task, enum fate fate) {
  task_drop_channel(task);
  task_drop_link(task);
  task_leave_stream(task);
  tell_break(task, fate);
}

/* It has to do without a carrier until another comes: whether that is so. */
static int outlives_carrier(struct task *task, enum fate fate) {
  int is_last = task->last && task->last->done && task->last->outcomes[task->last->count - 1].result == 0;
  if (!task->session.on && !is_last)
    return 0;
  task_cut(task, fate);
  return 1;
}

void task_end(struct task *task, enum fate fate) {
  if (task->ended)
    return;
  task->ended = 1 + (int)fate;
  tell_break(task, fate);
  if (task->last)
    chain_unref(task->last);
  task->last = NULL;
  loop_complete(task->loop, task->end_id, 0, fate);
  task->end_id = 0;
  end_fds(task, fate);
  for (uint32_t tag = 0; tag < task->pending_size; tag++) {
    struct chain *chain = task->pending[tag].chain;
    if (!chain)
      continue;
    enum fate how = chain->at >= task->sent ? FATE_UNSENT : fate;
    for (uint32_t i = 0; i < chain->count; i++)
      if (chain->outcomes[i].state == OUTCOME_SENT)
        task->pending[chain->outcomes[i].tag].chain = NULL;
    task_complete(task, chain, 0, how);
  }
  while (task->waiting) {
    struct chain *chain = task->waiting;
    task->waiting = chain->next;
    task_complete(task, chain, 0, FATE_UNSENT);
  }
  task_leave_stream(task);
  task_drop_channel(task);
  task_drop_link(task);
  bytes_free(&task->out);
}

static void on_end(struct sink *sink, enum fate fate, int error) {
  struct task *task = (struct task *)((char *)sink - offsetof(struct task, sink));
  if (!task->broken && outlives_carrier(task, fate))
    return;
  /* A carrier that ends inside a reply, or by an error, broke. But a process that ends with requests unread says that.
   */
  int broke = (error && error != ECONNRESET) || task->reply_have || task->data_left;
  task_end(task, fate == FATE_EOF && broke ? FATE_LOST : fate);
}

struct task *task_new(struct loop *loop, uint32_t hold_slots, uint32_t read_max) {
  struct task *task = calloc(1, sizeof *task);
  if (!task)
    abort();
  task->loop = loop;
  task->refs = 1;
  task->hold_slots = hold_slots;
  task->read_max = read_max;
  task->pending_free = TASK_NO_TAG;
  task->waiting_last = &task->waiting;
  task->sink = (struct sink){on_data, on_end, on_credit, on_message, NULL};
  task->flush.run = run_flush;
  return task;
}
