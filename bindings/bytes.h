/* A queue of bytes: appended at the tail, taken from the head. */
#ifndef AFAR_BYTES_H
#define AFAR_BYTES_H

#include <stddef.h>

struct bytes {
  char *data;
  size_t head, tail, capacity;
};

static inline size_t bytes_length(const struct bytes *b) {
  return b->tail - b->head;
}
static inline char *bytes_head(const struct bytes *b) {
  return b->data + b->head;
}

/* Makes room for `length` more bytes and returns where they go; bytes_grow() then takes them in. Aborts when memory is
 * out. */
char *bytes_more(struct bytes *b, size_t length);
static inline char *bytes_room(struct bytes *b, size_t length) {
  return b->tail + length <= b->capacity ? b->data + b->tail : bytes_more(b, length);
}
static inline void bytes_grow(struct bytes *b, size_t length) {
  b->tail += length;
}
void bytes_append(struct bytes *b, const void *data, size_t length);
/* Appends all of `from`, which is empty then. */
void bytes_move(struct bytes *b, struct bytes *from);
/* Drops `length` bytes from the head. An empty queue that had grown large gives its memory back. */
void bytes_drop(struct bytes *b, size_t length);
void bytes_free(struct bytes *b);

#endif
