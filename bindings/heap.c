/* The allocator of an address space: which parts of the memory that the host set aside there are in use. All it knows
 * is numbers; the memory itself is never touched. Small sizes come from classes, carved from pages; pages are kept as a
 * sorted list of free extents, joined when neighbours are free. */
#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bindings.h"

#define TYPE "afar.heap"

enum { PAGE = 4096, SMALLEST = 16, LARGEST = 2048, CLASSES = 8 /* 16, 32 ... 2048 */ };

struct extent {
  uint64_t address, size;
};

struct addresses {
  uint64_t *items;
  size_t count, capacity;
};

struct heap {
  struct extent *free; /* sorted by address */
  size_t count, capacity;
  struct addresses classes[CLASSES];
  uint64_t used; /* bytes handed out, rounded as they were */
};

/* ---- the core, without Lua ---- */

static int class_of(uint64_t size) {
  int class = 0;
  for (uint64_t fits = SMALLEST; fits < size; fits *= 2)
    class ++;
  return class;
}

static uint64_t pages(uint64_t size) {
  return (size + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

static void insert(struct heap *heap, size_t at, struct extent extent) {
  if (heap->count == heap->capacity) {
    heap->capacity = heap->capacity ? heap->capacity * 2 : 16;
    heap->free = realloc(heap->free, heap->capacity * sizeof *heap->free);
    if (!heap->free)
      abort();
  }
  memmove(&heap->free[at + 1], &heap->free[at], (heap->count - at) * sizeof *heap->free);
  heap->free[at] = extent;
  heap->count++;
}

static void erase(struct heap *heap, size_t at) {
  heap->count--;
  memmove(&heap->free[at], &heap->free[at + 1], (heap->count - at) * sizeof *heap->free);
}

static void pages_give(struct heap *heap, uint64_t address, uint64_t size) {
  size_t low = 0, high = heap->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (heap->free[middle].address < address)
      low = middle + 1;
    else
      high = middle;
  }
  insert(heap, low, (struct extent){address, size});
  struct extent *here = &heap->free[low];
  if (low + 1 < heap->count && here->address + here->size == here[1].address) {
    here->size += here[1].size;
    erase(heap, low + 1);
  }
  if (low > 0 && here[-1].address + here[-1].size == here->address) {
    here[-1].size += here->size;
    erase(heap, low);
  }
}

static uint64_t pages_take(struct heap *heap, uint64_t size) {
  for (size_t i = 0; i < heap->count; i++) {
    struct extent *extent = &heap->free[i];
    if (extent->size < size)
      continue;
    uint64_t address = extent->address;
    extent->address += size;
    extent->size -= size;
    if (extent->size == 0)
      erase(heap, i);
    return address;
  }
  return 0;
}

static void class_give(struct addresses *class, uint64_t address) {
  if (class->count == class->capacity) {
    class->capacity = class->capacity ? class->capacity * 2 : 64;
    class->items = realloc(class->items, class->capacity * sizeof *class->items);
    if (!class->items)
      abort();
  }
  class->items[class->count++] = address;
}

/* 0: no room; the caller maps more and adds it. Aligned to 16, from 4096 bytes on to 4096. */
static uint64_t heap_alloc(struct heap *heap, uint64_t size) {
  if (size > LARGEST) {
    uint64_t address = pages_take(heap, pages(size));
    heap->used += address ? pages(size) : 0;
    return address;
  }
  int index = class_of(size);
  struct addresses *class = &heap->classes[index];
  uint64_t each = (uint64_t)SMALLEST << index;
  if (class->count == 0) {
    uint64_t page = pages_take(heap, PAGE);
    for (uint64_t at = PAGE; page && at > 0; at -= each)
      class_give(class, page + at - each);
    if (!page)
      return 0;
  }
  heap->used += each;
  return class->items[--class->count];
}

static void heap_free(struct heap *heap, uint64_t address, uint64_t size) {
  if (size > LARGEST) {
    heap->used -= pages(size);
    return pages_give(heap, address, pages(size));
  }
  int index = class_of(size);
  heap->used -= (uint64_t)SMALLEST << index;
  class_give(&heap->classes[index], address);
}

/* ---- for LuaJIT's FFI; `heap` is Lua's object ---- */

/* 0: no room */
double afar_heap_alloc(struct heap *heap, double size) {
  return (double)heap_alloc(heap, (uint64_t)size);
}

/* With the size that was asked for. */
void afar_heap_free(struct heap *heap, double address, double size) {
  heap_free(heap, (uint64_t)address, (uint64_t)size);
}

/* ---- methods ---- */

static struct heap *check(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE);
}

static int l_new(lua_State *L) {
  struct heap *heap = lua_newuserdata(L, sizeof *heap);
  memset(heap, 0, sizeof *heap);
  luaL_getmetatable(L, TYPE);
  lua_setmetatable(L, -2);
  return 1;
}

/* add(address, size): memory that may be handed out; whole pages */
static int l_add(lua_State *L) {
  pages_give(check(L), (uint64_t)luaL_checknumber(L, 2), (uint64_t)luaL_checknumber(L, 3));
  return 0;
}

/* used() -> bytes handed out */
static int l_used(lua_State *L) {
  lua_pushnumber(L, (lua_Number)check(L)->used);
  return 1;
}

static int l_gc(lua_State *L) {
  struct heap *heap = check(L);
  for (int i = 0; i < CLASSES; i++)
    free(heap->classes[i].items);
  free(heap->free);
  return 0;
}

static const luaL_Reg methods[] = {
    {"add", l_add},
    {"used", l_used},
    {"__gc", l_gc},
    {NULL, NULL},
};

int luaopen_afar_heap(lua_State *L) {
  luaL_newmetatable(L, TYPE);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_newtable(L);
  lua_pushcfunction(L, l_new);
  lua_setfield(L, -2, "new");
  return 1;
}
