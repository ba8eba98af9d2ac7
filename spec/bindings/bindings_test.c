/* bindings_test: what of the bindings needs no Lua. Says `ok NAME` or `FAILED NAME: why`, and last
 * `N passed, N failed, N skipped`. */
#include <stdio.h>

#include "bytes.h"
#include "chance.h"
#include "heap.c" /* its core is its own */

static const char *fault;
static int fault_line;

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fault = #condition;                                                                                              \
      fault_line = __LINE__;                                                                                           \
      return;                                                                                                          \
    }                                                                                                                  \
  } while (0)

/* ---- the heap, against a model: who owns each 16 bytes ---- */

enum { AREAS = 3, AREA = 64 * PAGE, UNITS = AREAS * AREA / SMALLEST, BLOCKS = 400 };

static const uint64_t bases[AREAS] = {0x10000, 0x10000 + AREA, 0x7f0000000000};

struct model {
  struct heap heap;
  int owner[UNITS]; /* 0: nobody, else 1 + the block */
  struct extent blocks[BLOCKS];
};

static long unit_of(uint64_t address) {
  for (int i = 0; i < AREAS; i++)
    if (address >= bases[i] && address < bases[i] + AREA)
      return (long)((address - bases[i]) / SMALLEST) + i * (AREA / SMALLEST);
  return -1;
}

/* Gives the block's bytes to `owner`; 0 when some are outside, or not `before`'s. */
static int hand_over(struct model *m, struct extent block, int before, int owner) {
  for (uint64_t at = block.address; at < block.address + block.size; at += SMALLEST) {
    long unit = unit_of(at);
    if (unit < 0 || m->owner[unit] != before)
      return 0;
    m->owner[unit] = owner;
  }
  return 1;
}

static uint64_t some_size(struct chance *c) {
  static const uint64_t edges[] = {1, 15, 16, 17, 2047, 2048, 2049, 4095, 4096, 4097, 65536};
  return one_in(c, 3) ? edges[below(c, sizeof edges / sizeof *edges)] : 1 + below(c, one_in(c, 8) ? 20000 : 300);
}

static void take_block(struct model *m, struct chance *c, int i) {
  uint64_t size = some_size(c), address = heap_alloc(&m->heap, size);
  if (!address)
    return;
  m->blocks[i] = (struct extent){address, size};
  CHECK(address % SMALLEST == 0 && (size < PAGE || address % PAGE == 0));
  CHECK(hand_over(m, m->blocks[i], 0, i + 1));
}

static void give_block(struct model *m, int i) {
  CHECK(hand_over(m, m->blocks[i], i + 1, 0));
  heap_free(&m->heap, m->blocks[i].address, m->blocks[i].size);
  m->blocks[i] = (struct extent){0, 0};
}

static void model_open(struct model *m) {
  *m = (struct model){0};
  for (int i = 0; i < AREAS; i++)
    pages_give(&m->heap, bases[i], AREA);
}

static void model_close(struct model *m) {
  for (int i = 0; i < CLASSES; i++)
    free(m->heap.classes[i].items);
  free(m->heap.free);
}

static struct model model;

static void no_two_blocks_share_a_byte(void) {
  struct chance c = {7};
  for (int step = 0; step < 300000 && !fault; step++) {
    int i = (int)below(&c, step / 50000 % 2 ? BLOCKS / 8 : BLOCKS);
    if (model.blocks[i].address)
      give_block(&model, i);
    else
      take_block(&model, &c, i);
  }
}

static void all_that_was_given_back_is_free(void) {
  for (int i = 0; i < BLOCKS && !fault; i++)
    if (model.blocks[i].address)
      give_block(&model, i);
  CHECK(!fault && model.heap.used == 0);
  for (int i = 0; i < UNITS; i++)
    CHECK(model.owner[i] == 0);
}

static void neighbours_are_joined(void) {
  struct heap heap = {0};
  pages_give(&heap, 0x10000, 8 * PAGE);
  uint64_t a = heap_alloc(&heap, 2 * PAGE), b = heap_alloc(&heap, 3 * PAGE), c = heap_alloc(&heap, 3 * PAGE);
  CHECK(a == 0x10000 && b == a + 2 * PAGE && c == b + 3 * PAGE && heap_alloc(&heap, PAGE) == 0);
  heap_free(&heap, a, 2 * PAGE);
  heap_free(&heap, c, 3 * PAGE);
  CHECK(heap.count == 2);
  heap_free(&heap, b, 3 * PAGE);
  CHECK(heap.count == 1 && heap.free[0].address == 0x10000 && heap.free[0].size == 8 * PAGE);
  CHECK(heap_alloc(&heap, 8 * PAGE) == a);
  free(heap.free);
}

static void what_does_not_fit_is_refused(void) {
  struct heap heap = {0};
  CHECK(heap_alloc(&heap, 1) == 0 && heap_alloc(&heap, 5000) == 0 && heap.used == 0);
  pages_give(&heap, 0x10000, 2 * PAGE);
  CHECK(heap_alloc(&heap, 3 * PAGE) == 0 && heap_alloc(&heap, 2 * PAGE) == 0x10000 && heap.used == 2 * PAGE);
  free(heap.free);
}

/* ---- the queue of bytes, against positions counted ---- */

static void a_queue_gives_what_it_took(void) {
  struct bytes queue = {0};
  struct chance c = {11};
  uint64_t put = 0, taken = 0;
  for (int step = 0; step < 100000; step++) {
    size_t length = below(&c, one_in(&c, 50) ? 300000 : 200);
    if (one_in(&c, 2)) {
      char *room = bytes_room(&queue, length);
      for (size_t i = 0; i < length; i++)
        room[i] = (char)((put + i) * 31);
      bytes_grow(&queue, length);
      put += length;
    } else {
      length = length < bytes_length(&queue) ? length : bytes_length(&queue);
      for (size_t i = 0; i < length; i++)
        CHECK(bytes_head(&queue)[i] == (char)((taken + i) * 31));
      bytes_drop(&queue, length);
      taken += length;
    }
    CHECK(bytes_length(&queue) == put - taken);
  }
  bytes_free(&queue);
}

static void an_empty_queue_keeps_little(void) {
  struct bytes queue = {0};
  bytes_append(&queue, "", 0);
  CHECK(queue.data == NULL);
  memset(bytes_room(&queue, 1 << 20), 0, 1 << 20);
  bytes_grow(&queue, 1 << 20);
  bytes_drop(&queue, 1 << 20);
  CHECK(queue.capacity == 0 && queue.data == NULL && bytes_length(&queue) == 0);
}

#define TESTS(X)                                                                                                       \
  X(no_two_blocks_share_a_byte)                                                                                        \
  X(all_that_was_given_back_is_free)                                                                                   \
  X(neighbours_are_joined) X(what_does_not_fit_is_refused) X(a_queue_gives_what_it_took) X(an_empty_queue_keeps_little)

static const struct {
  const char *name;
  void (*run)(void);
} tests[] = {
#define X(name) {#name, name},
    TESTS(X)
#undef X
};

int main(void) {
  int count = sizeof tests / sizeof *tests, failed = 0;
  model_open(&model);
  for (int i = 0; i < count; i++) {
    fault = NULL;
    tests[i].run();
    failed += fault != NULL;
    if (fault)
      printf("FAILED %s: line %d: %s\n", tests[i].name, fault_line, fault);
    else
      printf("ok %s\n", tests[i].name);
  }
  model_close(&model);
  printf("%d passed, %d failed, 0 skipped\n", count - failed, failed);
  return failed > 0;
}
