/* Chance that can be repeated: the same seed gives the same numbers on every machine. */
#ifndef CHANCE_H
#define CHANCE_H

#include <stdint.h>
#include <stdlib.h>

struct chance {
  uint64_t state;
};

/* splitmix64 */
static inline uint64_t chance_next(struct chance *c) {
  uint64_t z = c->state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* 0 to limit - 1 */
static inline uint32_t below(struct chance *c, uint32_t limit) {
  return (uint32_t)((chance_next(c) >> 32) * limit >> 32);
}

static inline int one_in(struct chance *c, uint32_t n) {
  return below(c, n) == 0;
}

/* Mostly small, sometimes near a limit of the protocol. */
static inline uint32_t some_length(struct chance *c, uint32_t most) {
  uint32_t length = one_in(c, 8) ? below(c, most + 1) : below(c, 48);
  return length < most ? length : most;
}

/* A value as a broken peer might send it. */
static inline uint64_t odd_value(struct chance *c) {
  static const uint64_t odd[] = {0,          1,          15,         16,         17,           64,
                                 0xffff,     0x10000,    0x10001,    0xffffff,   0x7fffffff,   0x80000000,
                                 0xfffffffe, 0xffffffff, 1ull << 32, 1ull << 63, (uint64_t)-1, (uint64_t)-4095};
  return one_in(c, 3) ? chance_next(c) : odd[below(c, sizeof odd / sizeof *odd)];
}

#endif
