#include "root.h"
#include "child.h"

#define MORE_MAX (1024 * 1024)
#define HIDDEN   "AFAR_UNLINK="

struct utsname {
  char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};

/* ---- what the kernel says of us ---- */

static void ask_ids(struct afar_hello *hello) {
  hello->pid = (int32_t)sys_getpid();
  hello->ppid = (int32_t)sys_getppid();
  SYS(NR_GETRESUID, &hello->uid, &hello->euid, &hello->suid);
  SYS(NR_GETRESGID, &hello->gid, &hello->egid, &hello->sgid);
}

static void ask_capabilities(struct afar_hello *hello) {
  struct {
    uint32_t version;
    int32_t pid;
  } header = {0x20080522, 0};
  struct {
    uint32_t effective, permitted, inheritable;
  } low_high[2] = {{0, 0, 0}, {0, 0, 0}};
  SYS(NR_CAPGET, &header, low_high);
  hello->cap_effective = low_high[0].effective | (uint64_t)low_high[1].effective << 32;
  hello->cap_permitted = low_high[0].permitted | (uint64_t)low_high[1].permitted << 32;
  hello->cap_inheritable = low_high[0].inheritable | (uint64_t)low_high[1].inheritable << 32;
  hello->no_new_privs = SYS(NR_PRCTL, PR_GET_NO_NEW_PRIVS) == 1;
}

static void ask_namespaces(struct afar_hello *hello) {
  static const char paths[AFAR_NS_COUNT][21] = {
      "/proc/self/ns/cgroup", "/proc/self/ns/ipc",  "/proc/self/ns/mnt",  "/proc/self/ns/net",
      "/proc/self/ns/pid",    "/proc/self/ns/time", "/proc/self/ns/user", "/proc/self/ns/uts",
  };
  for (int i = 0; i < AFAR_NS_COUNT; i++) {
    uint64_t stat[32]; /* st_ino comes second on either architecture */
    if (SYS(NR_NEWFSTATAT, AT_FDCWD, paths[i], stat, 0) == 0)
      hello->ns[i] = stat[1];
  }
}

static void ask_machine(struct afar_hello *hello) {
  struct utsname names;
  if (SYS(NR_UNAME, &names) == 0) {
    memcpy(hello->release, names.release, sizeof hello->release);
    memcpy(hello->machine_name, names.nodename, sizeof hello->machine_name);
  }
  int64_t fd = sys_open("/proc/sys/kernel/random/boot_id", O_CLOEXEC);
  if (fd < 0)
    return;
  if (sys_read((int)fd, hello->boot_id, 36) < 36)
    hello->boot_id[0] = 0;
  sys_close((int)fd);
}

/* ---- what varies in length ---- */

static size_t length_of(const char *string) {
  size_t length = 0;
  while (string[length] != 0)
    length++;
  return length + 1;
}

static int is_hidden(const char *string) {
  for (size_t i = 0; i < sizeof HIDDEN - 1; i++)
    if (string[i] != HIDDEN[i])
      return 0;
  return 1;
}

/* Takes whole strings as long as they fit; returns where it stopped. */
static char **measure(char **strings, uint32_t room, uint32_t *length) {
  for (*length = 0; *strings; strings++) {
    size_t more = is_hidden(*strings) ? 0 : length_of(*strings);
    if (more > room - *length)
      break;
    *length += (uint32_t)more;
  }
  return strings;
}

static void put_strings(char **strings, char **end) {
  for (; strings < end; strings++)
    if (!is_hidden(*strings))
      mux_put(*strings, length_of(*strings));
}

void hello_put(const struct inherited *inherited) {
  struct afar_hello hello;
  memset(&hello, 0, sizeof hello);
  uint32_t *groups = (uint32_t *)root.in_bytes; /* nothing was read yet */
  int64_t count = SYS(NR_GETGROUPS, MUX_SIZE / 4, groups);
  hello.magic = AFAR_MAGIC;
  hello.major = AFAR_MAJOR;
  hello.minor = AFAR_MINOR;
  hello.size = sizeof hello;
  hello.features = AFAR_FEATURES;
  hello.machine = AFAR_MACHINE;
  hello.page_size = inherited->page_size;
  hello.sigmask = inherited->sigmask;
  hello.nofile_soft = inherited->nofile.soft;
  hello.nofile_hard = inherited->nofile.hard;
  hello.entry = (uint64_t)afar_child_entry;
  int64_t arena = sys_map(ARENA_SIZE, 0);
  hello.arena = arena < 0 && arena >= -4095 ? 0 : (uint64_t)arena;
  hello.arena_size = hello.arena ? ARENA_SIZE : 0;
  hello.block_size = CHILD_BLOCK_SIZE;
  hello.hold_slots = HOLD_SLOTS;
  hello.read_max = READ_MAX;
  hello.in_fd = root.in;
  hello.out_fd = root.out;
  hello.epoll_fd = root.epoll;
  hello.timer_fd = root.timer;
  hello.groups = count < 0 ? 0 : (uint32_t)count;
  ask_ids(&hello);
  ask_capabilities(&hello);
  ask_namespaces(&hello);
  ask_machine(&hello);
  uint32_t room = MORE_MAX - hello.groups * 4;
  char **argv_end = measure(inherited->argv, room, &hello.argv_length);
  char **environ_end = measure(inherited->environ, room - hello.argv_length, &hello.environ_length);
  hello.more = hello.groups * 4 + hello.argv_length + hello.environ_length;
  mux_put(&hello, sizeof hello);
  mux_put(groups, hello.groups * 4);
  put_strings(inherited->argv, argv_end);
  put_strings(inherited->environ, environ_end);
}
