/* What a root says of itself, as a Lua table; and what a clone needs in the child's block. stub/protocol.h has the
 * layout. */
#include <lauxlib.h>
#include <stddef.h>
#include <string.h>

#include "bindings.h"
#include "protocol.h"

/* ---- hello ---- */

static void number(lua_State *L, const char *name, lua_Number value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static void bytes(lua_State *L, const char *name, const void *data, size_t length) {
  lua_pushlstring(L, data, length);
  lua_setfield(L, -2, name);
}

static void text(lua_State *L, const char *name, const char *data, size_t size) {
  bytes(L, name, data, strnlen(data, size));
}

static void ids(lua_State *L, const struct afar_hello *h) {
  number(L, "machine", h->machine), number(L, "page_size", h->page_size);
  number(L, "pid", h->pid), number(L, "ppid", h->ppid);
  number(L, "uid", h->uid), number(L, "euid", h->euid), number(L, "suid", h->suid);
  number(L, "gid", h->gid), number(L, "egid", h->egid), number(L, "sgid", h->sgid);
  number(L, "cap_effective", (lua_Number)h->cap_effective);
  number(L, "cap_permitted", (lua_Number)h->cap_permitted);
  number(L, "cap_inheritable", (lua_Number)h->cap_inheritable);
  number(L, "no_new_privs", h->no_new_privs), number(L, "features", (lua_Number)h->features);
  text(L, "release", h->release, sizeof h->release);
  text(L, "machine_name", h->machine_name, sizeof h->machine_name);
  text(L, "boot_id", h->boot_id, sizeof h->boot_id);
  bytes(L, "sigmask", &h->sigmask, sizeof h->sigmask);
  bytes(L, "nofile", &h->nofile_soft, 2 * sizeof h->nofile_soft);
}

static void limits(lua_State *L, const struct afar_hello *h) {
  number(L, "entry", (lua_Number)h->entry);
  number(L, "arena", (lua_Number)h->arena), number(L, "arena_size", (lua_Number)h->arena_size);
  number(L, "block_size", h->block_size), number(L, "hold_slots", h->hold_slots);
  number(L, "read_max", h->read_max);
  number(L, "in_fd", h->in_fd), number(L, "out_fd", h->out_fd), number(L, "epoll_fd", h->epoll_fd);
  number(L, "timer_fd", h->timer_fd);
}

static void namespaces(lua_State *L, const struct afar_hello *h) {
  static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
  lua_newtable(L);
  for (int i = 0; i < AFAR_NS_COUNT; i++)
    if (h->ns[i])
      number(L, names[i], (lua_Number)h->ns[i]);
  lua_setfield(L, -2, "ns");
}

/* The NUL-terminated strings in data, as an array. */
static void strings(lua_State *L, const char *name, const char *data, size_t length) {
  lua_newtable(L);
  for (int i = 1; length > 0; i++) {
    size_t part = strnlen(data, length);
    lua_pushlstring(L, data, part);
    lua_rawseti(L, -2, i);
    part += part < length;
    data += part;
    length -= part;
  }
  lua_setfield(L, -2, name);
}

static void groups(lua_State *L, const char *data, uint32_t count) {
  lua_newtable(L);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t group;
    memcpy(&group, data + 4 * i, 4);
    lua_pushnumber(L, group);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "groups");
}

/* hello(bytes) -> table. `bytes` is what stream:hello() gives: the stream has checked the sizes; they are checked here
 * again. */
static int l_hello(lua_State *L) {
  size_t length;
  const char *data = luaL_checklstring(L, 1, &length);
  struct afar_hello h;
  luaL_argcheck(L, length >= sizeof h, 1, "too short");
  memcpy(&h, data, sizeof h);
  uint64_t want = (uint64_t)h.size + 4ull * h.groups + h.argv_length + h.environ_length;
  luaL_argcheck(L, h.size >= sizeof h && want == length, 1, "its sizes don't agree");
  lua_newtable(L);
  ids(L, &h);
  limits(L, &h);
  namespaces(L, &h);
  data += h.size;
  groups(L, data, h.groups);
  data += 4 * (size_t)h.groups;
  strings(L, "argv", data, h.argv_length);
  strings(L, "environ", data + h.argv_length, h.environ_length);
  return 1;
}

/* ---- clone ---- */

enum { CMSG_LENGTH = 20, SOL_SOCKET_ = 1, SCM_RIGHTS_ = 1 };

/* start(flags, ppid[, carrier[, script]]) -> what stands at the start of a child's block; flags: START_..., added;
 * carrier: its socket, if that is there already; script: its address */
static int l_start(lua_State *L) {
  struct afar_start start = {.flags = (uint32_t)luaL_checkint(L, 1),
                             .ppid = luaL_checkint(L, 2),
                             .cmsg_length = CMSG_LENGTH,
                             .cmsg_level = SOL_SOCKET_,
                             .cmsg_type = SCM_RIGHTS_,
                             .fd = {-1, luaL_optint(L, 3, -1)},
                             .carrier = -1,
                             .script = (uint64_t)luaL_optnumber(L, 4, 0)};
  lua_pushlstring(L, (const char *)&start, sizeof start);
  return 1;
}

/* script(requests, length, room) -> a script of the bytes at that address, with room for so many of replies */
static int l_script(lua_State *L) {
  struct afar_script script = {.requests = (uint64_t)luaL_checknumber(L, 1),
                               .length = (uint32_t)luaL_checkint(L, 2),
                               .room = (uint32_t)luaL_checkint(L, 3)};
  lua_pushlstring(L, (const char *)&script, sizeof script);
  return 1;
}

/* stack(entry, block) -> the 16 bytes that its stack begins with */
static int l_stack(lua_State *L) {
  uint64_t words[2] = {(uint64_t)luaL_checknumber(L, 1), (uint64_t)luaL_checknumber(L, 2)};
  lua_pushlstring(L, (const char *)words, sizeof words);
  return 1;
}

struct message { /* struct msghdr and what it points to, as every 64-bit kernel has it */
  uint64_t name, name_length, iov, iov_count, control, control_length, flags;
  uint64_t base, length;
  struct afar_reply reply;
};

/* message(address, control, id) -> bytes for `address`, there an msghdr by which a process hands the root the fd of the
 * control message at `control`; id: task:expect_fd() */
static int l_message(lua_State *L) {
  uint64_t address = (uint64_t)luaL_checknumber(L, 1);
  struct message m = {.iov = address + offsetof(struct message, base),
                      .iov_count = 1,
                      .control = (uint64_t)luaL_checknumber(L, 2),
                      .control_length = CMSG_LENGTH,
                      .base = address + offsetof(struct message, reply),
                      .length = sizeof m.reply,
                      .reply = {.tag = AFAR_TAG_FD, .result = (int64_t)luaL_checknumber(L, 3)}};
  lua_pushlstring(L, (const char *)&m, sizeof m);
  return 1;
}

/* rights(fd) -> the control message that carries it, as SCM_RIGHTS */
static int l_rights(lua_State *L) {
  struct afar_start start = {.cmsg_length = CMSG_LENGTH, .cmsg_level = SOL_SOCKET_, .cmsg_type = SCM_RIGHTS_};
  start.fd[0] = luaL_checkint(L, 1);
  lua_pushlstring(L, (const char *)&start.cmsg_length, CMSG_LENGTH);
  return 1;
}

static const luaL_Reg functions[] = {
    {"hello", l_hello},   {"start", l_start},   {"stack", l_stack}, {"message", l_message},
    {"rights", l_rights}, {"script", l_script}, {NULL, NULL},
};

static void constant(lua_State *L, const char *name, size_t value) {
  number(L, name, (lua_Number)value);
}

int luaopen_afar_hello(lua_State *L) {
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  constant(L, "CMSG", offsetof(struct afar_start, cmsg_length));
  constant(L, "FD", offsetof(struct afar_start, fd));
  constant(L, "CARRIER", offsetof(struct afar_start, carrier));
  constant(L, "MESSAGE_SIZE", sizeof(struct message));
  constant(L, "STACK_SIZE", 16);
  constant(L, "ZONE", AFAR_FD_ZONE);
  constant(L, "START_CLOSE", AFAR_START_CLOSE);
  constant(L, "START_SCRIPT", AFAR_START_SCRIPT);
  constant(L, "F_START_CLOSE", AFAR_F_START_CLOSE);
  constant(L, "F_SCRIPT", AFAR_F_SCRIPT);
  constant(L, "SCRIPT_SIZE", sizeof(struct afar_script));
  constant(L, "SCRIPT_ANSWERED", offsetof(struct afar_script, answered));
  constant(L, "REPLY_SIZE", sizeof(struct afar_reply));
  constant(L, "RING_SIZE", sizeof(struct afar_ring));
  constant(L, "WINDOW", 256 * 1024);
  constant(L, "ATTACH_READ", AFAR_ATTACH_READ);
  constant(L, "ATTACH_WRITE", AFAR_ATTACH_WRITE);
  constant(L, "ATTACH_SOCKET", AFAR_ATTACH_SOCKET);
  return 1;
}
