/* A session with a persistent process: what is needed to perform each request exactly once, whatever becomes of the
 * connections that carry it. Positions count bytes from the session's beginning. */
#ifndef AFAR_SESSION_H
#define AFAR_SESSION_H

#include "bytes.h"
#include "protocol.h"

struct session {
  int on;
  uint32_t window;   /* bytes of replies that the process keeps */
  struct bytes kept; /* requests that may have to be sent again: from position `from` on */
  uint64_t from;
  uint64_t written;  /* position up to which the carrier has taken them */
  uint64_t received; /* bytes of replies */
  uint64_t acked;    /* of which the process is told */
  uint64_t promised; /* bytes that the replies awaited may have */
};

void session_begin(struct session *session, uint32_t window);
/* Takes a request with its payload, whose reply has `cost` bytes at most: the position of its end; 0: not before other
 * replies have come. */
uint64_t session_admit(struct session *session, const char *request, size_t length, uint32_t cost);
/* The request that ends at `end` (0: before the session) was answered: nothing up to there is sent again. */
void session_answered(struct session *session, uint64_t end, uint32_t cost);
/* What is to be written now, and how much of that. */
const char *session_next(const struct session *session, size_t *length);
/* A new carrier, and the other side has `requests` bytes. -EPROTO: that can't be. */
int session_resume(struct session *session, uint64_t requests);
void session_free(struct session *session);

#endif
