/* What the far side may do in a conversation. */
#ifndef FUZZ_FAR_H
#define FUZZ_FAR_H

#include "fuzz_world.h"

/* ---- acts of the far side ---- */

static struct far *some_far(uint32_t *number) {
  *number = one_in(&f.chance, 3) ? 0 : below(&f.chance, one_in(&f.chance, 8) ? LINES : 4);
  return &some_side()->far;
}

static void far_answers(void) {
  uint32_t number;
  struct far *far = some_far(&number);
  if (far->lines[number].kind == LINE_TASK)
    answer(far, number, 1 + below(&f.chance, REQUESTS));
}

static void far_sends(void) {
  uint32_t number;
  struct far *far = some_far(&number);
  struct line *line = &far->lines[number];
  if (number == 0 || line->kind != LINE_RAW || line->ended)
    return;
  uint32_t length = 1 + some_length(&f.chance, 3000);
  memset(bytes_room(&line->out, length), 'x', length);
  bytes_grow(&line->out, length);
}

static void far_gives_credit(void) {
  uint32_t number, bytes = some_length(&f.chance, 100000);
  struct far *far = some_far(&number);
  if (number == 0 || far->lines[number].kind == LINE_FREE)
    return;
  say(far, number, AFAR_CREDIT, bytes);
  far->lines[number].host_credit += bytes;
}

static void far_ends(void) {
  uint32_t number;
  struct far *far = some_far(&number);
  struct line *line = &far->lines[number];
  if (number == 0 || line->kind == LINE_FREE || line->ended || !one_in(&f.chance, 3))
    return;
  say(far, number, AFAR_EOF, one_in(&f.chance, 3) ? below(&f.chance, 200) : 0);
  line->ended = 1;
  if (line->kind == LINE_SESSION)
    session_forgets(number);
}

static void far_closes(void) {
  uint32_t number;
  struct far *far = some_far(&number);
  if (number == 0 || !far->lines[number].host_closed)
    return;
  if (far->lines[number].kind == LINE_SESSION)
    session_forgets(number);
  far_close(far, number);
}

/* An fd, and for a task the message that says for whom it is. */
static void far_hands_fd(void) {
  uint32_t number;
  struct far *far = some_far(&number);
  struct line *line = &far->lines[number];
  if (number == 0 || line->kind == LINE_FREE || line->kind == LINE_SESSION || line->ended || line->host_closed)
    return;
  say(far, number, AFAR_FD, 64 + below(&f.chance, 100));
  if (line->kind != LINE_TASK || !line->task)
    return;
  struct bytes *ids = &line->task->fd_ids;
  struct afar_reply message = {AFAR_TAG_FD, 0, (int64_t)below(&f.chance, 10)};
  if (bytes_length(ids) > 0 && !one_in(&f.chance, 4))
    memcpy(&message.result, bytes_head(ids), sizeof message.result);
  bytes_append(&line->out, &message, sizeof message);
}

static void far_pings(void) {
  say(&some_side()->far, 0, AFAR_PING + below(&f.chance, 2), below(&f.chance, 100));
}

static void far_does_wrong(void) {
  uint32_t number;
  struct far *far = some_far(&number);
  if (f.right)
    return;
  switch (below(&f.chance, 4)) {
  case 0:
    return damage(&f.chance, &far->lines[number].out);
  case 1:
    return far->lines[number].kind == LINE_TASK ? odd_reply(far, number) : (void)0;
  case 2:
    return odd_frame(far);
  default:
    return damage(&f.chance, &far->out);
  }
}

#endif
