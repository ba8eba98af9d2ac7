/* Memory that others name: the kernel does every access, so that a bad address is an errno and not the end. */
#ifndef AFAR_MEMORY_H
#define AFAR_MEMORY_H

#include "sys.h"

struct memory {
  int pid;
  int piped; /* process_vm_readv(2) and process_vm_writev(2) don't work here (seccomp, qemu): a pipe does it */
};

void memory_init(struct memory *memory);

/* Each: 0 or a negative errno; then a part may have been transferred. */
int memory_read(struct memory *memory, void *to, uint64_t from, size_t length);
int memory_write(struct memory *memory, uint64_t to, const void *from, size_t length);

/* One atomic store, where the address is a multiple of 8 and the kernel can say beforehand that it is writable. */
int memory_store(struct memory *memory, uint64_t to, uint64_t value);

#endif
