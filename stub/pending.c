#include "root.h"

_Static_assert(sizeof(struct block) == BLOCK_SIZE, "block");

static struct block *block_take(void) {
  struct block *block = root.blocks;
  if (block) {
    root.blocks = block->next;
    root.blocks_kept--;
  } else {
    int64_t at = sys_map(BLOCK_SIZE, 0);
    if (at < 0 && at >= -4095)
      return NULL;
    block = (struct block *)at;
  }
  block->next = NULL;
  block->start = block->end = 0;
  return block;
}

static void block_give(struct block *block) {
  if (root.blocks_kept == BLOCKS_KEPT) {
    sys_unmap(block, BLOCK_SIZE);
    return;
  }
  block->next = root.blocks;
  root.blocks = block;
  root.blocks_kept++;
}

static struct block *with_room(struct channel *channel) {
  struct block *last = channel->last;
  if (last && last->end < sizeof last->bytes)
    return last;
  struct block *block = block_take();
  if (!block)
    return NULL;
  if (last)
    last->next = block;
  else
    channel->first = block;
  return channel->last = block;
}

int pending_add(struct channel *channel, const uint8_t *bytes, size_t length) {
  while (length > 0) {
    struct block *block = with_room(channel);
    if (!block)
      return -ENOMEM;
    size_t part = sizeof block->bytes - block->end;
    if (part > length)
      part = length;
    memcpy(block->bytes + block->end, bytes, part);
    block->end += (uint32_t)part;
    bytes += part;
    length -= part;
  }
  return 0;
}

void pending_drop(struct channel *channel, size_t length) {
  struct block *block = channel->first;
  block->start += (uint32_t)length;
  if (block->start < block->end)
    return;
  channel->first = block->next;
  if (!channel->first)
    channel->last = NULL;
  block_give(block);
}

size_t pending_clear(struct channel *channel) {
  size_t length = 0;
  while (channel->first) {
    size_t part = channel->first->end - channel->first->start;
    length += part;
    pending_drop(channel, part);
  }
  return length;
}
