/* A chain that can't go as one is sent in parts, each once the one before was answered: because it refers to what is
 * far back, has a payload behind a HOLD, or more behind a HOLD than the stub keeps. What a part refers to in an earlier
 * one is known by then, and becomes a literal; what is far back in the same part is relayed by VALUE requests. */
#ifndef AFAR_SPLIT_H
#define AFAR_SPLIT_H

#include "chain.h"

/* The next part, or NULL: all is answered or decided. limit: slots that it may ask for. canceled: only what gives back
 * what was taken is still performed. */
struct chain *split_next(struct chain *chain, uint32_t limit, int canceled);
/* Takes what came of that part, once it is done; does nothing if there is none. */
void split_take(struct chain *chain);
void split_free(struct split *split);

#endif
