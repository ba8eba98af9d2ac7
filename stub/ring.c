#include "ring.h"

#define LOAD(place)         __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)
#define FENCE()             __atomic_thread_fence(__ATOMIC_SEQ_CST)

#define PART 1024 /* bytes of requests, behind which their replies are sent */

static uint32_t arrived(const struct afar_ring *ring) {
  return LOAD(ring->to_stub_tail) - ring->to_stub_head;
}

static uint32_t room(const struct afar_ring *ring) {
  return (uint32_t)sizeof ring->to_host - (ring->to_host_tail - LOAD(ring->to_host_head));
}

/* What it looks for before it sleeps. */
typedef uint32_t (*wanted)(const struct afar_ring *ring);

static int look(const struct afar_ring *ring, wanted wanted, uint32_t times) {
  for (; times > 0; times--) {
    if (wanted(ring))
      return 1;
    AFAR_PAUSE();
  }
  return wanted(ring) != 0;
}

/* Any byte on the socket wakes; its end is the end. */
static void take_bell(struct server *server) {
  int64_t count = sys_read(server->carrier, server->in_little, IN_LITTLE);
  if (count == 0 || (count < 0 && count != -EINTR && count != -EAGAIN))
    sys_exit(count < 0);
}

static void sleep_once(struct server *server, wanted wanted, int holds) {
  struct afar_ring *ring = server->ring;
  __atomic_store_n(&ring->stub_asleep, 1, __ATOMIC_RELAXED);
  FENCE();
  if (!wanted(ring)) {
    if (!holds || hold_wait(server, server->carrier, -1))
      take_bell(server);
  }
  __atomic_store_n(&ring->stub_asleep, 0, __ATOMIC_RELAXED);
}

void ring_wake_host(struct server *server) {
  struct afar_ring *ring = server->ring;
  FENCE();
  if (LOAD(ring->host_asleep) && __atomic_exchange_n(&ring->host_asleep, 0, __ATOMIC_ACQ_REL))
    server->kind->bell(server);
}

/* Whether the ring may have been full since the host was last told something: then it may wait for room. Not looked at
 * before the replies are there, for which it waits mostly. */
static int was_full(struct server *server) {
  struct afar_ring *ring = server->ring;
  if (!server->took)
    return 0;
  server->took = 0;
  FENCE();
  return LOAD(ring->to_stub_tail) - server->took_at >= sizeof ring->to_stub;
}

void ring_tell(struct server *server) {
  if (was_full(server) || server->news)
    ring_wake_host(server);
  server->news = 0;
}

int ring_room(const struct server *server) {
  return look(server->ring, room, LOAD(server->ring->spin));
}

void ring_rest(struct server *server) {
  if (!ring_room(server))
    sleep_once(server, room, 0);
}

void ring_send(struct server *server, const uint8_t *bytes, size_t length) {
  struct afar_ring *ring = server->ring;
  while (length > 0) {
    uint32_t at = ring->to_host_tail % sizeof ring->to_host, part = (uint32_t)sizeof ring->to_host - at;
    uint32_t space = room(ring);
    if (space == 0) {
      ring_wake_host(server);
      server->kind->rest(server);
      continue;
    }
    part = part < space ? part : space;
    part = part < length ? part : (uint32_t)length;
    memcpy(ring->to_host + at, bytes, part);
    STORE(ring->to_host_tail, ring->to_host_tail + part);
    bytes += part;
    length -= part;
    server->news = 1;
  }
}

int ring_look(const struct server *server, uint32_t times) {
  return look(server->ring, arrived, times);
}

uint32_t ring_take(struct server *server, uint32_t most) {
  struct afar_ring *ring = server->ring;
  uint32_t length = arrived(ring), at = ring->to_stub_head % sizeof ring->to_stub;
  uint32_t part = (uint32_t)sizeof ring->to_stub - at;
  part = part < length ? part : length;
  part = part < most ? part : most;
  if (part == 0)
    return 0;
  if (!server->took)
    server->took_at = ring->to_stub_head;
  server->took = 1;
  server_feed(server, ring->to_stub + at, part);
  STORE(ring->to_stub_head, ring->to_stub_head + part);
  return part;
}

/* While requests keep coming nobody sleeps, and so nobody looks at what is held: now and then is enough. */
static void look_at_holds(struct server *server) {
  if (server->held == 0 || ++server->turns % RING_TURNS != 0)
    return;
  hold_wait(server, server->carrier, 0);
  hold_run(server);
}

/* The host, if it is awake, takes what is answered and sends more while the next requests are performed; if it sleeps
 * it is woken once for all that has arrived. */
void ring_turn(struct server *server) {
  server_send(server);
  if (!arrived(server->ring))
    ring_tell(server);
  if (!ring_look(server, LOAD(server->ring->spin))) {
    ring_tell(server);
    sleep_once(server, arrived, server->held > 0);
    hold_run(server);
  }
  look_at_holds(server);
  ring_take(server, PART);
}

static int touch(struct server *server, uint64_t at, int write) {
  uint8_t byte;
  int error = memory_read(&server->memory, &byte, at, 1);
  return error || !write ? error : memory_write(&server->memory, at, &byte, 1);
}

/* Whether all of it can be read, and what the stub writes be written; what follows takes that for granted. The host may
 * be writing requests already: a byte of its own is never written back, as it would be what it was before. */
static int64_t probe(struct server *server, uint64_t address) {
  enum { STEP = 2048 };
  if (address > ~0ull - sizeof(struct afar_ring))
    return -EFAULT;
  int error = touch(server, address + offsetof(struct afar_ring, host_pad), 1);
  if (!error)
    error = touch(server, address + offsetof(struct afar_ring, stub_pad), 1);
  for (size_t at = offsetof(struct afar_ring, to_stub); !error && at < sizeof(struct afar_ring); at += STEP)
    error = touch(server, address + at, at >= offsetof(struct afar_ring, to_host));
  return error ? error : touch(server, address + sizeof(struct afar_ring) - 1, 1);
}

static int64_t prepare(struct server *server, uint64_t address) {
  if (address % 64 != 0 || server->ring)
    return -EINVAL;
  int64_t error = probe(server, address);
  server->switched = error == 0;
  return error;
}

int64_t ring_begin(struct server *server, const uint64_t args[6]) {
  int64_t error = server->held > 0 ? -EINVAL : prepare(server, args[0]);
  if (error)
    return error;
  server_send_all(server);
  server->ring = (struct afar_ring *)args[0];
  return 0;
}

int64_t ring_begin_later(struct server *server, const uint64_t args[6]) {
  int64_t error = server->next_ring ? -EINVAL : prepare(server, args[0]);
  if (error == 0)
    server->next_ring = (struct afar_ring *)args[0];
  return error;
}

void ring_start(struct server *server) {
  server_send_all(server);
  server->ring = server->next_ring;
  server->next_ring = NULL;
  server->switched = 0;
}
