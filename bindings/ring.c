#include "ring.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define LOAD(place)         __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)
#define FENCE()             __atomic_thread_fence(__ATOMIC_SEQ_CST)

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() __asm__ volatile("yield")
#endif

enum { SPIN_NS = 50000 };

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* How often one looks in SPIN_NS: found out once. 0: there is one CPU only, and the other side needs it. */
static uint32_t looks(void) {
  static uint32_t count;
  static int known;
  cpu_set_t cpus;
  if (known)
    return count;
  known = 1;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) < 2)
    return 0;
  double began = now();
  for (int i = 0; i < 500; i++)
    PAUSE();
  double each = (now() - began) / 500;
  count = each > 0 ? (uint32_t)(SPIN_NS * 1e-9 / each) : 1000;
  return count;
}

int ring_useful(void) {
  return looks() > 0;
}

/* ---- requests ---- */

/* Wakes the stub if it sleeps, and learns from that whether its looking around is worth the time. */
static void wake_stub(struct ring *ring) {
  FENCE();
  if (!LOAD(ring->at->stub_asleep)) {
    if (ring->spin < looks())
      STORE(ring->at->spin, ring->spin = looks());
    return;
  }
  double at = now();
  ring->spin = at - ring->asleep_at < 20 * SPIN_NS * 1e-9 ? looks() : ring->spin / 2;
  ring->asleep_at = at;
  STORE(ring->at->spin, ring->spin);
  ring->bell(ring);
}

void ring_wake(struct ring *ring) {
  if (!ring->at || !LOAD(ring->at->stub_asleep))
    return;
  STORE(ring->at->spin, ring->spin = looks());
  ring->bell(ring);
}

void ring_rest(struct ring *ring) {
  if (ring->at)
    STORE(ring->at->spin, ring->spin = 0);
}

uint32_t ring_space(const struct ring *ring) {
  uint32_t used = ring->tail - LOAD(ring->at->to_stub_head), size = sizeof ring->at->to_stub;
  return used > size ? 0 : size - used; /* nonsense: it will not be answered either */
}

uint32_t ring_write(struct ring *ring, const char *data, size_t length) {
  uint32_t size = sizeof ring->at->to_stub, space = ring_space(ring), done = 0;
  while (done < length && space > 0) {
    uint32_t at = ring->tail % size, part = size - at;
    part = part < space ? part : space;
    part = part < length - done ? part : (uint32_t)(length - done);
    memcpy(ring->at->to_stub + at, data + done, part);
    ring->tail += part;
    done += part;
    space -= part;
  }
  STORE(ring->at->to_stub_tail, ring->tail);
  wake_stub(ring);
  return done;
}

/* ---- replies ---- */

/* All that are there. */
static int take_replies(struct ring *ring) {
  struct afar_ring *at = ring->at;
  uint32_t before = ring->head, length = LOAD(at->to_host_tail) - before, size = sizeof at->to_host;
  if (length == 0)
    return 0;
  if (length > size) {
    ring->sink->fault = "positions of its ring that can't be";
    return -EPROTO;
  }
  while (length > 0 && ring->sink) {
    uint32_t from = ring->head % size, part = size - from;
    part = part < length ? part : length;
    ring->head += part;
    length -= part;
    int error = ring->sink->data(ring->sink, (const char *)at->to_host + from, part);
    if (error)
      return error;
  }
  STORE(at->to_host_head, ring->head);
  FENCE();
  int was_full = LOAD(at->to_host_tail) - before >= size;
  if (ring->at && was_full && LOAD(at->stub_asleep)) /* it may wait for room */
    ring->bell(ring);
  return 1;
}

int ring_look(struct ring *ring) {
  if (!ring->at || !ring->sink)
    return 0;
  int came = take_replies(ring);
  if (came < 0)
    ring->broken(ring);
  else if (came > 0 && ring->sink)
    ring->sink->credit(ring->sink);
  return came != 0;
}

int ring_spin(struct ring *ring) {
  for (uint32_t left = ring->patience; left > 0 && ring->at && ring->sink; left--) {
    if (LOAD(ring->at->to_host_tail) != ring->head) {
      ring->patience = looks();
      return ring_look(ring);
    }
    PAUSE();
  }
  ring->patience = ring->patience > 64 ? ring->patience / 2 : looks() ? 32 : 0;
  return 0;
}

static int run_poll(struct poll *poll, int sleeping) {
  struct ring *ring = (struct ring *)((char *)poll - offsetof(struct ring, poll));
  if (sleeping < 0) {
    STORE(ring->at->host_asleep, 0);
    return 0;
  }
  if (sleeping > 0) {
    __atomic_store_n(&ring->at->host_asleep, 1, __ATOMIC_RELAXED);
    FENCE();
  }
  if (LOAD(ring->at->to_host_tail) != ring->head)
    return ring_look(ring);
  ring->sink->credit(ring->sink);
  return 0;
}

void ring_await(struct ring *ring, int awaited) {
  if (!ring->at)
    return;
  if (awaited)
    loop_poll(ring->loop, &ring->poll);
  else
    loop_poll_stop(&ring->poll);
}

/* ---- its life ---- */

void ring_prepare(struct afar_ring *at) {
  memset(at, 0, offsetof(struct afar_ring, to_stub));
  STORE(at->spin, looks());
}

void ring_open(struct ring *ring, struct loop *loop, struct afar_ring *at, struct sink *sink) {
  ring->loop = loop;
  ring->at = at;
  ring->sink = sink;
  ring->poll = (struct poll){.run = run_poll};
  ring->spin = ring->patience = looks();
}

void ring_close(struct ring *ring) {
  if (!ring->at)
    return;
  loop_poll_stop(&ring->poll);
  ring->at = NULL;
  ring->sink = NULL;
}
