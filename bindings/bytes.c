#include "bytes.h"

#include <stdlib.h>
#include <string.h>

enum { KEEP = 256 * 1024 };

char *bytes_more(struct bytes *b, size_t length) {
  size_t used = bytes_length(b);
  if (b->head > 0) {
    memmove(b->data, b->data + b->head, used);
    b->head = 0;
    b->tail = used;
  }
  if (used + length > b->capacity) {
    size_t capacity = b->capacity ? b->capacity : 512;
    while (capacity < used + length)
      capacity *= 2;
    char *data = realloc(b->data, capacity);
    if (!data)
      abort();
    b->data = data;
    b->capacity = capacity;
  }
  return b->data + b->tail;
}

void bytes_append(struct bytes *b, const void *data, size_t length) {
  if (length == 0)
    return;
  memcpy(bytes_room(b, length), data, length);
  b->tail += length;
}

void bytes_move(struct bytes *b, struct bytes *from) {
  if (bytes_length(b) == 0) {
    struct bytes old = *b;
    *b = *from;
    *from = old;
  } else {
    bytes_append(b, bytes_head(from), bytes_length(from));
  }
  bytes_drop(from, bytes_length(from));
}

void bytes_drop(struct bytes *b, size_t length) {
  b->head += length;
  if (b->head < b->tail)
    return;
  if (b->capacity > KEEP)
    bytes_free(b);
  b->head = b->tail = 0;
}

void bytes_free(struct bytes *b) {
  free(b->data);
  *b = (struct bytes){0};
}
