/* The far side of one stream, as the fuzzer plays it. It understands all that the host sends, and ends the run when
 * that is not what the protocol allows; and it makes the frames and replies, right or wrong ones, that the host gets.
 */
#ifndef FAR_SIDE_H
#define FAR_SIDE_H

#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "chance.h"
#include "protocol.h"
#include "task.h"

enum { LINES = 12, ASKED = 128, READ_MOST = 4096, SLOTS = 8 };

_Noreturn static void wrong(int line, const char *what);
#define MUST(condition) ((condition) ? (void)0 : wrong(__LINE__, #condition))

struct asked {
  uint32_t tag, chain;
  uint64_t most; /* of a READ */
  uint8_t op, flags;
};

struct far;

/* One channel. */
struct line {
  enum { LINE_FREE, LINE_RAW, LINE_TASK, LINE_STREAM, LINE_SESSION } kind;
  struct task *task;
  struct far *nested;
  struct bytes in, out; /* what the host sent and was not yet understood; what waits for credit */
  struct asked asked[ASKED];
  uint32_t asked_count, chains;
  uint64_t credit, host_credit;
  uint64_t at; /* of the last request */
  int host_ended, host_closed, ended;
  int is_last; /* a PERSIST has come: until it has failed, nothing may come behind it */
};

struct far {
  struct chance *chance;
  int right;            /* it does nothing wrong */
  int inner;            /* it is reached over a channel */
  struct bytes in, out; /* of the whole stream */
  uint32_t received;    /* bytes, as the host counts those that it has sent */
  struct line lines[LINES];
};

/* A request has come: where its chain begins in all that its task has queued. */
static uint64_t was_asked(struct task *task, uint32_t tag);
/* What is beside the stream: the root was told of a ring, or of how far its requests are to be taken first. */
static int begins_ring(struct far *far, struct line *line, const struct afar_request *request);
static void take_bell(struct far *far, uint32_t value);
/* A session's requests come on this channel, or that is no more; so many bytes of its replies are acknowledged. */
static void session_takes(struct far *far, uint32_t number, const char *data, size_t length);
static void session_forgets(uint32_t number);
static void was_acknowledged(uint64_t received);
/* What the host has to get for a request that was answered. */
static void will_get(struct task *task, uint32_t tag, int64_t result, uint32_t length, char first);

static void line_clear(struct line *line) {
  bytes_free(&line->in);
  bytes_free(&line->out);
  memset(line, 0, offsetof(struct line, asked));
  memset(&line->asked_count, 0, sizeof *line - offsetof(struct line, asked_count));
}

static void far_free(struct far *far) {
  for (int i = 0; i < LINES; i++)
    line_clear(&far->lines[i]);
  bytes_free(&far->in);
  bytes_free(&far->out);
  far->received = 0;
}

/* ---- what comes from the host ---- */

static void far_take(struct far *far, const char *data, size_t length);

static void remember(const struct far *far, struct line *line, const struct afar_request *request) {
  for (uint32_t i = 0; i < line->asked_count; i++)
    MUST(line->asked[i].tag != request->tag || !far->right);
  uint64_t at = was_asked(line->task, request->tag);
  MUST(at >= line->at || !far->right); /* none overtakes another */
  line->at = at;
  if (line->asked_count < ASKED)
    line->asked[line->asked_count++] =
        (struct asked){request->tag, line->chains, request->args[1], request->op, request->flags};
}

/* Who has answered a CLOSE before it came takes what is still under way for bytes of the next channel of that number:
 * they make no sense. */
static int forget_all(struct bytes *in) {
  bytes_drop(in, bytes_length(in));
  return 0;
}

/* Takes one request, if all of it is there. */
static int take_request(struct far *far, struct line *line) {
  struct afar_request request;
  size_t have = bytes_length(&line->in);
  if (have < sizeof request)
    return 0;
  memcpy(&request, bytes_head(&line->in), sizeof request);
  size_t whole = sizeof request + (request.op == AFAR_OP_WRITE ? request.args[1] : 0);
  int sound = request.op < AFAR_OP_COUNT && whole <= 1 << 20;
  MUST(sound || (!far->right && (far->inner || line != far->lines)));
  if (!sound)
    return forget_all(&line->in);
  if (have < whole)
    return 0;
  bytes_drop(&line->in, whole);
  if (request.op == AFAR_OP_ACK) {
    was_acknowledged(request.args[0]);
    return 1;
  }
  MUST(!line->is_last || !far->right);
  line->is_last = request.op == AFAR_OP_PERSIST;
  line->chains += !(request.flags & AFAR_CHAIN);
  if (!begins_ring(far, line, &request))
    remember(far, line, &request);
  return 1;
}

static void take_payload(struct far *far, uint32_t number, const char *data, size_t length) {
  struct line *line = &far->lines[number];
  if (line->kind == LINE_STREAM)
    return far_take(line->nested, data, length);
  if (line->kind == LINE_SESSION)
    return session_takes(far, number, data, length);
  if (line->kind != LINE_TASK)
    return;
  bytes_append(&line->in, data, length);
  while (take_request(far, line))
    ;
}

/* Takes one frame, if all of it is there. */
static int take_frame(struct far *far) {
  struct afar_frame frame;
  size_t have = bytes_length(&far->in);
  if (have < sizeof frame)
    return 0;
  memcpy(&frame, bytes_head(&far->in), sizeof frame);
  uint32_t type = frame.word >> 24, value = frame.word & 0xffffff;
  int sound = frame.channel < LINES && (type <= AFAR_PONG || type == AFAR_BELL) &&
              (type != AFAR_DATA || (value > 0 && value <= AFAR_FRAME_MAX));
  MUST(sound || (!far->right && far->inner));
  if (!sound)
    return forget_all(&far->in);
  struct line *line = &far->lines[frame.channel];
  if (type == AFAR_DATA) {
    if (have < sizeof frame + value)
      return 0;
    MUST(frame.channel == 0 || (!line->host_ended && !line->host_closed) || !far->right);
    MUST(frame.channel == 0 || line->host_credit >= value || !far->right);
    line->host_credit -= frame.channel ? value : 0;
    take_payload(far, frame.channel, bytes_head(&far->in) + sizeof frame, value);
    bytes_drop(&far->in, value);
  } else if (type == AFAR_CREDIT) {
    line->credit += value;
  } else if (type == AFAR_EOF) {
    MUST(!line->host_ended || !far->right);
    line->host_ended = 1;
  } else if (type == AFAR_CLOSE) {
    MUST((frame.channel > 0 && line->kind != LINE_FREE && !line->host_closed) || !far->right);
    line->host_closed = 1;
  } else if (type == AFAR_BELL) {
    take_bell(far, value);
  }
  bytes_drop(&far->in, sizeof frame);
  return 1;
}

static void far_take(struct far *far, const char *data, size_t length) {
  bytes_append(&far->in, data, length);
  far->received += (uint32_t)length;
  while (take_frame(far))
    ;
}

/* ---- what goes to the host ---- */

static void say(struct far *far, uint32_t channel, uint32_t type, uint32_t value) {
  struct afar_frame frame = {channel, type << 24 | (value & 0xffffff)};
  bytes_append(&far->out, &frame, sizeof frame);
}

/* Frames of what waits on a line, as far as its credit goes. */
static void line_flush(struct far *far, uint32_t number) {
  struct line *line = &far->lines[number];
  while (bytes_length(&line->out) > 0 && !line->ended) {
    size_t part = bytes_length(&line->out);
    part = part > AFAR_FRAME_MAX ? AFAR_FRAME_MAX : part;
    part = one_in(far->chance, 4) ? 1 + below(far->chance, (uint32_t)part) : part;
    if (number > 0 && part > line->credit)
      part = line->credit;
    if (part == 0)
      return;
    say(far, number, AFAR_DATA, (uint32_t)part);
    bytes_append(&far->out, bytes_head(&line->out), part);
    bytes_drop(&line->out, part);
    line->credit -= number ? part : 0;
  }
}

static void reply(struct line *line, const struct asked *asked, int64_t result, uint32_t length, char first) {
  struct afar_reply reply = {asked->tag, length, result};
  will_get(line->task, asked->tag, result, length, first);
  bytes_append(&line->out, &reply, sizeof reply);
  char *data = bytes_room(&line->out, length);
  for (uint32_t i = 0; i < length; i++)
    data[i] = (char)(first + i);
  bytes_grow(&line->out, length);
}

static void answer_one(struct chance *chance, struct line *line, const struct asked *asked) {
  int fails = one_in(chance, 4) || asked->op == AFAR_OP_PERSIST;
  if (asked->op == AFAR_OP_PERSIST)
    line->is_last = 0;
  if (fails)
    return reply(line, asked, -1 - (int64_t)below(chance, 4095), 0, 0);
  if (asked->flags & AFAR_QUIET)
    return will_get(line->task, asked->tag, 0, 0, 0);
  if (asked->op != AFAR_OP_READ)
    return reply(line, asked, (int64_t)(chance_next(chance) >> below(chance, 60) >> 2), 0, 0);
  uint32_t length = asked->most < READ_MOST ? (uint32_t)asked->most : READ_MOST;
  reply(line, asked, length, length, (char)chance_next(chance));
}

/* Answers up to `count` requests of some chain, in their order. */
static void answer_line(struct far *far, struct line *line, uint32_t count) {
  if (line->asked_count == 0 || line->ended)
    return;
  uint32_t chain = line->asked[below(far->chance, line->asked_count)].chain, kept = 0;
  for (uint32_t i = 0; i < line->asked_count; i++)
    if (line->asked[i].chain == chain && count > 0) {
      answer_one(far->chance, line, &line->asked[i]);
      count--;
    } else {
      line->asked[kept++] = line->asked[i];
    }
  line->asked_count = kept;
}

static void answer(struct far *far, uint32_t number, uint32_t count) {
  answer_line(far, &far->lines[number], count);
}

static void far_close(struct far *far, uint32_t number) {
  line_clear(&far->lines[number]);
  say(far, number, AFAR_CLOSE, 0);
}

/* ---- what a broken or hostile far side does ---- */

static void damage(struct chance *c, struct bytes *out) {
  size_t length = bytes_length(out);
  if (length == 0)
    return;
  size_t at = below(c, (uint32_t)length), part = 1 + below(c, 24);
  part = part > length - at ? length - at : part;
  char *data = bytes_head(out);
  char copy[24];
  switch (below(c, 5)) {
  case 0:
    data[at] ^= (char)(1 << below(c, 8));
    return;
  case 1:
    data[at] = (char)odd_value(c);
    return;
  case 2: /* a piece is missing */
    memmove(data + at, data + at + part, length - at - part);
    out->tail -= part;
    return;
  case 3: /* twice there */
    memcpy(copy, data + at, part);
    return bytes_append(out, copy, part);
  default:
    for (size_t i = 0; i < part; i++)
      data[at + i] = (char)chance_next(c);
  }
}

static void odd_reply(struct far *far, uint32_t number) {
  struct chance *c = far->chance;
  struct line *line = &far->lines[number];
  struct afar_reply reply = {below(c, 8), one_in(c, 2) ? below(c, 64) : (uint32_t)odd_value(c), (int64_t)odd_value(c)};
  if (one_in(c, 4))
    reply.tag = (uint32_t)odd_value(c);
  else if (line->asked_count > 0)
    reply.tag = line->asked[below(c, line->asked_count)].tag;
  if (one_in(c, 2))
    reply.result = reply.length;
  bytes_append(&line->out, &reply, sizeof reply);
}

static void odd_frame(struct far *far) {
  struct chance *c = far->chance;
  uint32_t channel = one_in(c, 8) ? (uint32_t)odd_value(c) : below(c, LINES);
  say(far, channel, below(c, one_in(c, 8) ? 256 : 8), (uint32_t)odd_value(c));
}

#endif
