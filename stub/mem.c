/* What the compiler takes for granted even without a libc. */
#include "sys.h"

#ifndef AFAR_STUB_TEST

void *memcpy(void *to, const void *from, size_t length) {
#if defined __x86_64__
  void *at = to;
  __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(length) : : "memory");
#else
  uint8_t *t = to;
  const uint8_t *f = from;
  for (; length >= 8; length -= 8, t += 8, f += 8)
    __builtin_memcpy(t, f, 8);
  while (length-- > 0) {
    *t++ = *f++;
    __asm__ volatile("" : : : "memory"); /* or the compiler makes it a call of memcpy */
  }
#endif
  return to;
}

void *memmove(void *to, const void *from, size_t length) {
  uint8_t *t = to;
  const uint8_t *f = from;
  if ((uintptr_t)to - (uintptr_t)from >= length)
    return memcpy(to, from, length);
  while (length-- > 0) {
    t[length] = f[length];
    __asm__ volatile("" : : : "memory");
  }
  return to;
}

void *memset(void *to, int byte, size_t length) {
  uint8_t *t = to;
  while (length-- > 0) {
    *t++ = (uint8_t)byte;
    __asm__ volatile("" : : : "memory");
  }
  return to;
}

#endif
