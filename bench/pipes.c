/* pipes COUNT ROUNDS: COUNT pipes; each, ROUNDS times: sleeps a millisecond, writes a byte, waits until it can be read,
 * reads it. All on one loop of libev, in one process. Prints the microseconds of one such turn. */
#include <ev.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct one {
  ev_timer timer;
  ev_io reader;
  int fds[2], left;
};

static struct ev_loop *loop;
static int living;

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void on_time(struct ev_loop *l, ev_timer *timer, int events) {
  (void)l, (void)events;
  struct one *one = timer->data;
  if (write(one->fds[1], "x", 1) != 1)
    exit(1);
  ev_io_start(loop, &one->reader);
}

static void on_readable(struct ev_loop *l, ev_io *reader, int events) {
  (void)l, (void)events;
  struct one *one = reader->data;
  char byte;
  if (read(one->fds[0], &byte, 1) != 1)
    exit(1);
  ev_io_stop(loop, reader);
  if (--one->left == 0) {
    if (--living == 0)
      ev_break(loop, EVBREAK_ALL);
    return;
  }
  ev_timer_set(&one->timer, 0.001, 0);
  ev_timer_start(loop, &one->timer);
}

int main(int argc, char **argv) {
  int count = argc > 2 ? atoi(argv[1]) : 0, rounds = argc > 2 ? atoi(argv[2]) : 0;
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  struct one *all = calloc((size_t)count + 1, sizeof *all);
  loop = ev_loop_new(0);
  if (count <= 0 || rounds <= 0 || !all || !loop)
    return 2;
  for (int i = 0; i < count; i++) {
    struct one *one = &all[i];
    if (pipe2(one->fds, O_CLOEXEC | O_NONBLOCK) < 0)
      return 1;
    one->left = rounds;
    ev_timer_init(&one->timer, on_time, 0.001, 0);
    ev_io_init(&one->reader, on_readable, one->fds[0], EV_READ);
    one->timer.data = one->reader.data = one;
  }
  double start = now();
  ev_now_update(loop);
  for (int i = 0; i < count; i++)
    ev_timer_start(loop, &all[i].timer);
  living = count;
  ev_run(loop, 0);
  printf("%.4f\n", (now() - start) / count / rounds * 1e6);
  return 0;
}
