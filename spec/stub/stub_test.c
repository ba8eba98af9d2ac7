/* stub_test STUB [RUNNER]: drives a stub as a host would; RUNNER executes stubs of another architecture (qemu-user).
 * Says `ok NAME`, `FAILED NAME: why` or `skipped NAME: why`, and last `N passed, N failed, N skipped`. */
#include "far_requests.h"

#include "test_calls.h"
#include "test_start.h"
#include "test_callback.h"
#include "test_hold.h"
#include "test_child.h"
#include "test_channel.h"
#include "test_persist.h"
#include "test_seccomp.h"

#define TEST(name)                                                                                                     \
  { #name, name }

static const struct {
  const char *name;
  void (*run)(void);
} tests[] = {
    TEST(usage),
    TEST(hello_says_what_is),
    TEST(a_called_program_says_how_it_was_called),
    TEST(the_own_file_is_unlinked),
    TEST(a_huge_environment_is_cut),
    TEST(standard_fds_are_replaced),
    TEST(it_dies_with_a_parent_on_this_machine),
    TEST(signals_of_a_terminal_are_blocked),
    TEST(the_fourth_argument_is_closed),
    TEST(nofile_is_raised),
    TEST(what_is_not_understood_ends_it),
    TEST(pings_are_answered),
    TEST(silence_ends_it),
    TEST(a_stopped_root_hears_what_came_meanwhile),
    TEST(fds_come_over_the_stream),
    TEST(calls),
    TEST(calls_are_counted),
    TEST(all_six_arguments_arrive),
    TEST(memory_goes_both_ways),
    TEST(reads_are_clamped),
    TEST(bad_addresses_are_efault),
    TEST(eight_aligned_bytes),
    TEST(conditions),
    TEST(expectations),
    TEST(the_quiet_say_only_failures),
    TEST(what_may_come_later_comes_with_the_next),
    TEST(arguments),
    TEST(pipe_and_write_are_one_chain),
    TEST(long_chains),
    TEST(batches_in_any_pieces),
    TEST(flush_sends_before_it_blocks),
    TEST(a_full_output_is_waited_for),
    TEST(others_overtake),
    TEST(what_is_there_is_not_waited_for),
    TEST(at_once_or_not_at_all),
    TEST(cancelled),
    TEST(held_twice_in_one_chain),
    TEST(a_chain_that_arrives_when_it_went_on),
    TEST(the_rest_may_arrive_after_the_event),
    TEST(slots_run_out),
    TEST(a_closed_fd_and_a_hangup),
    TEST(who_waits_is_not_woken),
    TEST(a_child_serves),
    TEST(a_child_closes_what_is_the_roots),
    TEST(a_child_performs_its_script),
    TEST(all_tests_of_requests_in_a_child),
    TEST(a_child_ends_with_its_carrier),
    TEST(exec_is_the_end_of_a_carrier),
    TEST(a_grandchild),
    TEST(all_die_with_the_root),
    TEST(a_child_whose_parent_has_gone_ends),
    TEST(many_children),
    TEST(a_silent_child_is_as_small_as_it_says),
    TEST(persist_refuses),
    TEST(a_session_goes_on),
    TEST(a_request_in_two_connections),
    TEST(who_comes_takes_over),
    TEST(a_window_is_not_overrun),
    TEST(a_lease_ends),
    TEST(a_root_hands_its_stream_over),
    TEST(attach_refuses),
    TEST(read_credit_is_kept),
    TEST(write_credit_is_given),
    TEST(what_does_not_go_waits),
    TEST(end_of_file_both_ways),
    TEST(writes_that_fail),
    TEST(a_reset_socket),
    TEST(regular_files),
    TEST(a_full_disk),
    TEST(a_slow_reader_holds_up_nobody),
    TEST(nothing_is_left),
    TEST(without_newer_system_calls),
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
