#include "memory.h"

#define STEP 4096 /* what an empty pipe takes at least, without waiting */

void memory_init(struct memory *memory) {
  memory->pid = (int)sys_getpid();
  memory->piped = 0;
}

/* Writes from one address to a pipe and reads from that to the other: whichever is bad is EFAULT. */
static int through_pipe(uint64_t to, uint64_t from, size_t length) {
  int fds[2];
  int64_t count = sys_pipe2(fds, O_CLOEXEC);
  if (count < 0)
    return (int)count;
  while (length > 0 && count >= 0) {
    int64_t there = SYS(NR_WRITE, fds[1], from, length < STEP ? length : STEP);
    for (count = there; there > 0 && count > 0; there -= count) {
      count = SYS(NR_READ, fds[0], to, there);
      if (count > 0)
        from += (uint64_t)count, to += (uint64_t)count, length -= (uint64_t)count;
    }
    if (count == 0)
      count = -EFAULT;
  }
  sys_close(fds[0]);
  sys_close(fds[1]);
  return count < 0 ? (int)count : 0;
}

/* What process_vm_*(2) refuses goes through a pipe: memory of devices is EFAULT to it, though accessible. */
static int transfer(struct memory *memory, int nr, uint64_t own, uint64_t other, size_t length) {
  while (length > 0 && !memory->piped) {
    struct iovec here = {own, length}, there = {other, length};
    int64_t count = SYS(nr, memory->pid, &here, 1, &there, 1, 0);
    if (count == -EFAULT)
      break;
    if (count <= 0) {
      memory->piped = 1;
      break;
    }
    own += (uint64_t)count, other += (uint64_t)count, length -= (uint64_t)count;
  }
  if (length == 0)
    return 0;
  return nr == NR_PROCESS_VM_READV ? through_pipe(own, other, length) : through_pipe(other, own, length);
}

int memory_read(struct memory *memory, void *to, uint64_t from, size_t length) {
  return transfer(memory, NR_PROCESS_VM_READV, (uint64_t)to, from, length);
}

int memory_write(struct memory *memory, uint64_t to, const void *from, size_t length) {
  return transfer(memory, NR_PROCESS_VM_WRITEV, (uint64_t)from, to, length);
}

/* A futex operation that changes nothing tells whether the address can be written: the store itself would be the end.
 * (Who unmaps it between the two has asked for that.) Its first word is ours; nobody waits there. */
int memory_store(struct memory *memory, uint64_t to, uint64_t value) {
  uint32_t word = 0;
  int64_t error = SYS(NR_FUTEX, &word, FUTEX_WAKE_OP_PRIVATE, 0, 0, to, FUTEX_OP_OR_NOTHING);
  if (to % 8 != 0 || (error < 0 && error != -EFAULT))
    return memory_write(memory, to, &value, sizeof value);
  if (error < 0)
    return (int)error;
  __atomic_store_n((uint64_t *)to, value, __ATOMIC_SEQ_CST);
  return 0;
}
