/* Stands between host and far side, for specs: relays, delays, and counts.
 *
 *   relay [-d MILLISECONDS] [-c COUNTFILE] -- COMMAND ARGS   between its own stdin/stdout and the command's
 *   relay [-d MILLISECONDS] [-c COUNTFILE] -t HOST:PORT      ... and a TCP connection (an ssh ProxyCommand)
 *
 * -d delays each direction by so much, in order, whatever the throughput.
 *
 * COUNTFILE has four lines, `to N bytes B`, `from N bytes B`, `turns N`, `pid P`, in numbers of fixed width. It is
 * rewritten before what was counted is passed on: who has an answer in hand finds its question counted.
 *   to, from  bursts to the far side, and from it: a burst ends where the other direction has data
 *   turns     round trips: bursts to the far side of which the host may have known the far side's last answer, that is,
 *             which came after data from there had been delivered to the host; the very first one counts too
 * It is never timed, so the counts are the same whatever -d says. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TO, FROM };
enum { CHUNK = 65536, QUEUE_MAX = 64 << 20 };

struct chunk {
  struct chunk *next;
  int64_t due; /* milliseconds */
  size_t length, sent;
  char bytes[];
};

struct direction {
  int in, out; /* -1: closed */
  struct chunk *first, **last;
  size_t queued;
  int64_t eof_due; /* when the end is passed on; -1: not ended yet */
  uint64_t bursts, bytes;
};

static struct direction way[2];
static int64_t delay;
static int count_fd = -1;
static int last_way = -1;
static int answered = 1; /* the host has been given data since its last burst */
static uint64_t turns;
static pid_t command_pid;

static void die(const char *what) {
  fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void write_counts(void) {
  char text[256];
  int n;

  if (count_fd < 0)
    return;
  n = snprintf(text, sizeof text, "to %010llu bytes %015llu\nfrom %010llu bytes %015llu\nturns %010llu\npid %010d\n",
               (unsigned long long)way[TO].bursts, (unsigned long long)way[TO].bytes,
               (unsigned long long)way[FROM].bursts, (unsigned long long)way[FROM].bytes, (unsigned long long)turns,
               (int)getpid());
  if (pwrite(count_fd, text, (size_t)n, 0) != n)
    die("count file");
}

static void count(int which, size_t bytes) {
  way[which].bytes += bytes;
  if (last_way != which)
    way[which].bursts++;
  last_way = which;
  if (which == TO && answered) {
    turns++;
    answered = 0;
  }
  write_counts();
}

static void enqueue(struct direction *d, const char *bytes, size_t length) {
  struct chunk *c = malloc(sizeof *c + length);

  if (!c)
    die("memory");
  *c = (struct chunk){.due = now() + delay, .length = length};
  memcpy(c->bytes, bytes, length);
  *d->last = c;
  d->last = &c->next;
  d->queued += length;
}

static void take(int which) {
  struct direction *d = &way[which];
  char bytes[CHUNK];
  ssize_t n = read(d->in, bytes, sizeof bytes);

  if (n > 0) {
    count(which, (size_t)n);
    if (d->out >= 0)
      enqueue(d, bytes, (size_t)n);
  } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
    if (d->in != way[!which].out)
      close(d->in);
    d->in = -1;
    d->eof_due = now() + delay;
  }
}

static void close_out(int which) {
  int fd = way[which].out;

  way[which].out = -1;
  if (fd < 0)
    return;
  shutdown(fd, SHUT_WR);
  if (fd != way[!which].in)
    close(fd);
}

/* The receiver is gone: what is for it is dropped. */
static void drop(struct direction *d) {
  while (d->first) {
    struct chunk *c = d->first;
    d->first = c->next;
    free(c);
  }
  d->last = &d->first;
  d->queued = 0;
}

static void give(int which) {
  struct direction *d = &way[which];
  struct chunk *c = d->first;
  ssize_t n = write(d->out, c->bytes + c->sent, c->length - c->sent);

  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR)
      return;
    drop(d);
    close_out(which);
    return;
  }
  if (which == FROM)
    answered = 1;
  c->sent += (size_t)n;
  d->queued -= (size_t)n;
  if (c->sent < c->length)
    return;
  d->first = c->next;
  if (!d->first)
    d->last = &d->first;
  free(c);
}

/* When something becomes due in this direction, or -1. */
static int64_t next_due(const struct direction *d) {
  if (d->out < 0)
    return -1;
  return d->first ? d->first->due : d->eof_due;
}

static void prepare(int which, struct pollfd *p, int64_t at, int64_t *wake) {
  struct direction *d = &way[which];
  int64_t due = next_due(d);

  p[0] = (struct pollfd){.fd = d->queued < QUEUE_MAX ? d->in : -1, .events = POLLIN};
  p[1] = (struct pollfd){.fd = d->first && due <= at ? d->out : -1, .events = POLLOUT};
  if (due > at && (*wake < 0 || due < *wake))
    *wake = due;
}

static void finish_if_due(int which) {
  struct direction *d = &way[which];

  if (!d->first && d->eof_due >= 0 && d->eof_due <= now())
    close_out(which);
}

static void turn(void) {
  struct pollfd p[4];
  int64_t at = now(), wake = -1;

  prepare(TO, p, at, &wake);
  prepare(FROM, p + 2, at, &wake);
  if (poll(p, 4, wake < 0 ? -1 : (int)(wake - at)) < 0 && errno != EINTR)
    die("poll");
  for (int which = TO; which <= FROM; which++) {
    if (p[2 * which].revents)
      take(which);
    if (p[2 * which + 1].revents)
      give(which);
    finish_if_due(which);
  }
}

static void use(int which, int in, int out) {
  way[which] = (struct direction){.in = in, .out = out, .eof_due = -1};
  way[which].last = &way[which].first;
  fcntl(in, F_SETFL, fcntl(in, F_GETFL) | O_NONBLOCK);
  fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);
}

static void start_command(char **argv) {
  int to[2], from[2];

  if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
    die("pipe");
  command_pid = fork();
  if (command_pid < 0)
    die("fork");
  if (command_pid == 0) {
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGHUP);
    dup2(to[0], 0);
    dup2(from[1], 1);
    execvp(argv[0], argv);
    die(argv[0]);
  }
  close(to[0]);
  close(from[1]);
  use(TO, 0, to[1]);
  use(FROM, from[0], 1);
}

static void start_connection(char *target) {
  char *port = strrchr(target, ':');
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  int fd, one = 1;

  if (!port) {
    errno = EINVAL;
    die(target);
  }
  *port++ = 0;
  if (getaddrinfo(target, port, &hints, &found) != 0) {
    errno = EADDRNOTAVAIL;
    die(target);
  }
  fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0)
    die(target);
  freeaddrinfo(found);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  use(TO, 0, fd);
  use(FROM, fd, 1);
}

static int usage(void) {
  fprintf(stderr, "usage: relay [-d MILLISECONDS] [-c COUNTFILE] -t HOST:PORT | -- COMMAND ARGS\n");
  return 2;
}

/* The command's own status, as a shell gives it. */
static int status_of(pid_t pid) {
  int status;

  if (pid == 0)
    return 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR)
      return 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
  char *target = NULL;
  int c;

  while ((c = getopt(argc, argv, "+d:c:t:")) != -1) {
    if (c == 'd')
      delay = atol(optarg);
    else if (c == 'c')
      count_fd = open(optarg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    else if (c == 't')
      target = optarg;
    else
      return usage();
    if (c == 'c' && count_fd < 0)
      die(optarg);
  }
  if ((target != NULL) == (optind < argc))
    return usage();
  signal(SIGPIPE, SIG_IGN);
  if (target)
    start_connection(target);
  else
    start_command(argv + optind);
  write_counts();
  while (way[FROM].out >= 0)
    turn();
  if (way[TO].out >= 0)
    close_out(TO);
  return status_of(command_pid);
}
