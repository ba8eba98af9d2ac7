/* Where system calls that are newer, or that containers forbid, answer ENOSYS. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

static void forbid(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_process_vm_readv, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_process_vm_writev, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_futex, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_prlimit64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
    _exit(3);
}

static void without_newer_system_calls(void) {
  if (runner)
    skip("it would forbid them to the runner");
  struct far *far = begin_with(&(struct options){.before = forbid});
  static char bytes[50000], back[16384];
  memset(bytes, 'z', sizeof bytes);
  CHECK_EQ(far->hello.no_new_privs, 1);
  int before = count_fds(far->pid);
  CHECK_EQ(poke(far, 0, arena(far, 1), bytes, sizeof bytes), sizeof bytes);
  CHECK_EQ(peek(far, 0, arena(far, 40000), back, 16384), 16384);
  CHECK(memcmp(back, bytes, 10000) == 0 && back[10001] == 0);
  CHECK_EQ(poke(far, 0, arena(far, 8), bytes, 8), 8);
  CHECK_EQ(poke(far, 0, NOBODY, bytes, 8), -EFAULT);
  CHECK_EQ(poke(far, 0, NOBODY, bytes, sizeof bytes), -EFAULT);
  CHECK_EQ(peek(far, 0, NOBODY, back, 100), -EFAULT);
  CHECK_EQ(peek(far, 0, 1ull << 63, back, 100), -EFAULT);
  clone_child(far, 1, CLONE_VM_, 0, far->pid);
  CHECK_EQ(poke(far, 1, arena(far, 8), bytes, 8), 8);
  send_frame(far, 1, AFAR_CLOSE, 0);
  UNTIL(far, far->channel[1].closed);
  CHECK_EQ(count_fds(far->pid), before);
  end(far);
}
