/* stub_test STUB [RUNNER]: drives a stub as a host would; RUNNER executes stubs of another architecture (qemu-user).
 * Says `ok NAME`, `FAILED NAME: why` or `skipped NAME: why`, and last `N passed, N failed, N skipped`. */
#include "far_requests.h"

#include "test_calls.h"
#include "test_start.h"
#include "test_hold.h"
#include "test_child.h"
#include "test_channel.h"
#include "test_seccomp.h"

#define TESTS(X)                                                                                                       \
  X(usage)                                                                                                             \
  X(hello_says_what_is)                                                                                                \
  X(the_own_file_is_unlinked)                                                                                          \
  X(a_huge_environment_is_cut)                                                                                         \
  X(standard_fds_are_replaced)                                                                                         \
  X(it_dies_with_a_parent_on_this_machine)                                                                             \
  X(signals_of_a_terminal_are_blocked)                                                                                 \
  X(the_fourth_argument_is_closed)                                                                                     \
  X(nofile_is_raised)                                                                                                  \
  X(what_is_not_understood_ends_it)                                                                                    \
  X(pings_are_answered)                                                                                                \
  X(silence_ends_it)                                                                                                   \
  X(a_stopped_root_hears_what_came_meanwhile)                                                                          \
  X(fds_come_over_the_stream)                                                                                          \
  X(calls) X(all_six_arguments_arrive) X(memory_goes_both_ways) X(reads_are_clamped) X(bad_addresses_are_efault)       \
      X(eight_aligned_bytes) X(conditions) X(expectations) X(the_quiet_say_only_failures) X(arguments)                 \
          X(pipe_and_write_are_one_chain) X(long_chains) X(batches_in_any_pieces) X(flush_sends_before_it_blocks)      \
              X(a_full_output_is_waited_for) X(others_overtake) X(what_is_there_is_not_waited_for) X(cancelled)        \
                  X(held_twice_in_one_chain) X(a_chain_that_arrives_when_it_went_on)                                   \
                      X(the_rest_may_arrive_after_the_event) X(slots_run_out) X(a_closed_fd_and_a_hangup)              \
                          X(who_waits_is_not_woken) X(a_child_serves) X(all_tests_of_requests_in_a_child)              \
                              X(a_child_ends_with_its_carrier) X(exec_is_the_end_of_a_carrier) X(a_grandchild)         \
                                  X(all_die_with_the_root) X(a_child_whose_parent_has_gone_ends) X(many_children)      \
                                      X(a_silent_child_is_as_small_as_it_says) X(attach_refuses)                       \
                                          X(read_credit_is_kept) X(write_credit_is_given) X(what_does_not_go_waits)    \
                                              X(end_of_file_both_ways) X(writes_that_fail) X(a_reset_socket)           \
                                                  X(regular_files) X(a_full_disk) X(a_slow_reader_holds_up_nobody)     \
                                                      X(nothing_is_left) X(without_newer_system_calls)

static const struct {
  const char *name;
  void (*run)(void);
} tests[] = {
#define X(name) {#name, name},
    TESTS(X)
#undef X
};

static int own_fds(void) {
  int count = 0;
  for (int fd = 0; fd < 256; fd++)
    count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

/* Ends what a failed test has left, and takes the children of stubs that have ended. */
static void sweep(void) {
  char path[64], text[200];
  for (;;) {
    pid_t ended = waitpid(-1, NULL, WNOHANG);
    if (ended < 0)
      return;
    if (ended > 0)
      continue;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "r");
    if (!f || !fgets(text, sizeof text, f))
      text[0] = 0;
    if (f)
      fclose(f);
    kill(atoi(text), SIGKILL);
    nap(0.01);
  }
}

static int attempt(size_t i) {
  int result = setjmp(out_of_test);
  if (result == 0)
    tests[i].run();
  return result;
}

/* 0: passed, 1: failed, 2: skipped */
static int run(size_t i) {
  int fds = own_fds(), result = attempt(i);
  sweep();
  if (result == 0 && own_fds() != fds) {
    snprintf(reason, sizeof reason, "%d fds were open before, %d after", fds, own_fds());
    result = 1;
  }
  for (int fd = 3; result && fd < 256; fd++)
    close(fd);
  printf(result == 0 ? "ok %s\n" : result == 1 ? "FAILED %s: %s\n" : "skipped %s: %s\n", tests[i].name, reason);
  fflush(stdout);
  return result;
}

int main(int argc, char **argv) {
  int count[3] = {0, 0, 0};
  if (argc < 2)
    return fprintf(stderr, "usage: stub_test STUB [RUNNER [NAME]]\n"), 2;
  stub_path = realpath(argv[1], NULL);
  char found[200] = "";
  if (argc > 2 && argv[2][0]) {
    snprintf(found, sizeof found, "%s%s", argv[2][0] == '/' ? "" : "/usr/bin/", argv[2]);
    runner = found;
  }
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  for (int fd = 3; fd < 256; fd++)
    close(fd);
  for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
    if (argc < 4 || strcmp(argv[3], tests[i].name) == 0)
      count[run(i)]++;
  printf("%d passed, %d failed, %d skipped\n", count[0], count[1], count[2]);
  return count[1] > 0;
}
