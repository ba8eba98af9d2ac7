/* A chain: requests that go out together, encoded, and what came of each. */
#ifndef AFAR_CHAIN_H
#define AFAR_CHAIN_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "loop.h"
#include "protocol.h"

/* What came of one request of a chain. */
struct outcome {
  int64_t result;
  uint32_t length; /* bytes of data */
  uint32_t most;   /* that its reply may bring: only a READ's has any, and a successful one's all that it asked for */
  uint32_t tag;
  uint64_t upto; /* where it ends in all that its task ever queued */
  uint64_t end;  /* where it ends in its session; 0: in none */
  char *data;    /* what READ brought; NULL: none */
  enum {
    OUTCOME_NONE,
    OUTCOME_SENT,
    OUTCOME_DONE,
    OUTCOME_BACK, /* the stub had no slot for it behind a HOLD: it is to be sent again */
  } state;
  unsigned quiet : 1; /* it answers only if it fails */
  unsigned open : 1;  /* it is a READ of which only the other side knows how many bytes it asks for */
};

/* What a request refers to and its header can't say. */
struct reference {
  uint32_t request, place, source; /* place: an argument, or one of enum far_place */
};

enum far_place { FAR_IF_OK = 6, FAR_IF_FAILED = 7 };

/* Requests that go out together. Referred to by Lua's object and, while in flight, by the task. */
struct chain {
  unsigned refs;
  uint64_t id;           /* completes when every reply is there; 0: nobody waits */
  struct bytes requests; /* encoded, with the payload behind each; given back once sent */
  struct bytes kept;     /* all of them, for being sent again: see afar_chain_keep */
  struct bytes far;      /* struct reference, sorted by request: then it must be split before it can be sent */
  struct split *split;   /* how it goes in parts; NULL: it doesn't, or wasn't begun */
  struct outcome *outcomes;
  uint32_t count, capacity, answered;
  uint64_t at;           /* where it begins in all that its task ever queued */
  uint64_t end;          /* of the last one before another carrier: where it ends there */
  uint32_t held;         /* slots that it may take in the stub: the first HOLD and all behind it */
  unsigned done : 1;     /* all is answered, or its task has ended */
  enum fate fate;        /* once done */
  unsigned call : 1;     /* one call: the completion brings its result */
  unsigned is_part : 1;  /* of another: what the stub has no slots for is sent again */
  unsigned in_parts : 1; /* a payload behind a HOLD: it can only go in parts */
  struct chain *next;
};

/* Doubles an array; aborts when memory is out. */
void *array_grow(void *array, uint32_t *capacity, size_t size);

int is_errno(int64_t result);
void chain_unref(struct chain *chain);
/* An empty one for one call, and what that waits for, which are not encoded in it; the caller's. */
struct chain *chain_of_call(void);
/* The result of the call; or of what it waited for, if that has failed. */
int64_t chain_call_result(const struct chain *chain);
/* Appends a request; the payload of a WRITE is to be appended to chain->requests behind it. */
void chain_add(struct chain *chain, struct afar_request request);

/* Called from Lua by its FFI. */
void afar_chain_add(struct chain **box, double head, double conditions, double expect, double a, double b, double c,
                    double d, double e, double f);
double afar_chain_result(struct chain **box, uint32_t index);
uint32_t afar_chain_failure(struct chain **box, uint32_t index, int canceled);
double afar_chain_length(struct chain **box);
void afar_chain_keep(struct chain **box);
void afar_chain_put(struct chain **box, double at, uint32_t argument, double value);

/* Lua's function that makes an empty chain, and what registers its class. */
int chain_create(lua_State *L);
void chain_class(lua_State *L);
struct chain *chain_check(lua_State *L, int index);
/* A 64-bit argument: a number, or an int64_t/uint64_t cdata. */
uint64_t chain_check_u64(lua_State *L, int index);
/* Whether a double is a whole number of 64 bits, signed or not; then `value` is that. */
int chain_fits(double number, uint64_t *value);

#endif
