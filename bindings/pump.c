#include "pump.h"

#include <stdlib.h>

#include "channel.h"

void pump_start(struct channel *from, struct channel *to, uint64_t most, uint64_t id) {
  struct pump *pump = calloc(1, sizeof *pump);
  if (!pump)
    abort();
  *pump = (struct pump){.from = from, .to = to, .id = id, .left = most};
  from->refs++;
  to->refs++;
  from->pump = to->pump = pump;
  pump_run(pump);
}

void pump_stop(struct pump *pump) {
  struct channel *from = pump->from, *to = pump->to;
  loop_complete(from->loop, pump->id, (int64_t)pump->moved, FATE_DONE);
  from->pump = to->pump = NULL;
  free(pump);
  channel_unref(from);
  channel_unref(to);
}

void pump_run(struct pump *pump) {
  struct channel *from = pump->from;
  while (pump->left > 0 && bytes_length(&from->in) > 0) {
    size_t length = bytes_length(&from->in);
    long count = channel_write(pump->to, bytes_head(&from->in), length < pump->left ? length : pump->left);
    if (count < 0)
      return pump_stop(pump);
    if (count == 0)
      return;
    bytes_drop(&from->in, (size_t)count);
    channel_took(from, (size_t)count);
    pump->left -= (uint64_t)count;
    pump->moved += (uint64_t)count;
  }
  int over = from->ended || from->closing || !from->stream || channel_write_over(pump->to);
  if (pump->left == 0 || over)
    pump_stop(pump);
}
