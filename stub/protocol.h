/* The wire protocol between host and stub. doc/protocol.md explains it; spec/protocol_spec.lua holds the two against
 * each other. Everything is little-endian and of fixed width; nothing here depends on libc. */
#ifndef AFAR_PROTOCOL_H
#define AFAR_PROTOCOL_H

#include <stdint.h>

#define AFAR_MAGIC 0x52414641u /* "AFAR" */
#define AFAR_MAJOR 1
#define AFAR_MINOR 1

/* ---- requests and replies: what flows on channel 0, and on the carrier of every other process ---- */

enum afar_op {
  AFAR_OP_CALL = 0,    /* perform system call nr(args...); result is what the kernel returned */
  AFAR_OP_WRITE = 1,   /* args: address, length; length bytes of payload follow the request */
  AFAR_OP_READ = 2,    /* args: address, length, clamped to 0..hello.read_max; the reply carries the bytes as payload */
  AFAR_OP_HOLD = 3,    /* args: fd, poll events, at once; keeps the chain aside until poll(2) reports one; result is
                          revents. at once: not 0: it is not kept aside, but fails with -EAGAIN */
  AFAR_OP_CANCEL = 4,  /* args: tag; the HOLD of that tag ends with -ECANCELED. Result 0, or -ENOENT if none is held */
  AFAR_OP_VALUE = 5,   /* args: value; result is that value */
  AFAR_OP_ATTACH = 6,  /* root only; args: channel, fd, AFAR_ATTACH_*, credit to the host, credit from the host; result
                          is the fd's new number */
  AFAR_OP_PING = 7,    /* root only; args: seconds; exit if the host was silent for so long. 0: never */
  AFAR_OP_RING = 8,    /* args: address of a struct afar_ring, the carrier from then on: see doc/protocol.md, "Ring" */
  AFAR_OP_PERSIST = 9, /* args: listening socket, lease in seconds (0: none), the session's two words, address of the
                          kept table; its carrier ends after this one's reply, and then comes over connections to that
                          socket. A root's stream goes on: a process that it clones serves that */
  AFAR_OP_ACK = 10,    /* args: bytes of replies received in this session; belongs to no chain and has no reply */
  AFAR_OP_TALLY = 11,  /* result: how many system calls of CALLs this process has begun */
  AFAR_OP_COUNT
};

enum afar_flag {
  AFAR_CHAIN = 1 << 0,      /* belongs to the chain of the request before it */
  AFAR_QUIET = 1 << 1,      /* no reply if it succeeds; a later request of the chain must not be quiet */
  AFAR_FLUSH = 1 << 2,      /* send all replies before performing it: it may block, or never return */
  AFAR_EXPECT = 1 << 3,     /* any result but `expect` counts as a failure */
  AFAR_EXPECT_ARG = 1 << 4, /* any result but the value of argument number `expect` counts as a failure */
  AFAR_LATER = 1 << 5,      /* its reply may wait until another is sent */
};

/* What an argument is: two bits for each in `kinds`, the first argument's lowest. */
enum afar_kind {
  AFAR_LITERAL = 0, /* the value itself */
  AFAR_RESULT = 1, /* bits 56..63: back distance d in requests, 1..255; bits 0..55: a signed constant, which is added to
                      the result */
  AFAR_LOAD32 = 2, /* the u32 found at this address, zero-extended */
  AFAR_LOAD64 = 3, /* the u64 found at this address */
};

struct afar_request {
  uint32_t tag;      /* chosen by the host, echoed in the reply; unique among the requests in flight */
  uint8_t op;        /* enum afar_op */
  uint8_t flags;     /* enum afar_flag */
  uint16_t nr;       /* the system call's number on the stub's architecture */
  uint16_t kinds;    /* enum afar_kind of each argument */
  uint8_t if_ok;     /* back distance of a request of this chain that must have succeeded; 0: none */
  uint8_t if_failed; /* back distance of a request of this chain that must have failed; 0: none */
  uint32_t expect;   /* with AFAR_EXPECT, sign-extended */
  uint64_t args[6];
};

struct afar_reply {
  uint32_t tag;
  uint32_t length; /* bytes of payload that follow (READ only) */
  int64_t result;  /* -4095..-1: a negative errno */
};

/* ---- a ring: what two sides on one machine use instead of a stream ---- */

/* In memory that both have mapped. Positions count bytes, modulo 2^32; each is written by one side only. What a side
 * writes lies in a cache line of its own. */
struct afar_ring {
  uint32_t to_stub_tail; /* the host's: so many bytes of requests were written */
  uint32_t to_host_head; /* so many bytes of replies were taken */
  uint32_t host_asleep;  /* it must be woken by a message on the socket */
  uint32_t spin;         /* so often may the stub look before it sleeps */
  uint32_t stream;       /* to a root: so many bytes were written to the stream before the last of these requests */
  uint32_t host_pad[11];
  uint32_t to_host_tail; /* the stub's */
  uint32_t to_stub_head;
  uint32_t stub_asleep;
  uint32_t stub_pad[13];
  uint8_t to_stub[4096];
  uint8_t to_host[8192];
};

#define AFAR_TAG_BELL 0xfffffffeu /* tag of the 16 bytes by which a stub wakes the host; any byte wakes a stub */

#define AFAR_BACK_MAX 255         /* farthest earlier request of a chain that can be referred to */
#define AFAR_TAG_FD   0xffffffffu /* tag of the 16 bytes that accompany an fd handed to the root over a carrier */

/* ---- frames: what flows on the one stream of a root ---- */

enum afar_frame_type {
  AFAR_DATA = 0,   /* value: bytes of payload that follow, 1..AFAR_FRAME_MAX */
  AFAR_CREDIT = 1, /* value: the receiver may send so many more bytes on this channel */
  AFAR_EOF = 2,    /* no more data in this direction; value: 0 or a positive errno */
  AFAR_CLOSE = 3,  /* host: close the channel's fd; root's answer: it is closed, the number may be used again */
  AFAR_PING = 4,   /* channel 0; value is echoed */
  AFAR_PONG = 5,
  AFAR_FD = 6,   /* root only: an fd arrived on this channel by SCM_RIGHTS; value: its number in the root's table */
  AFAR_BELL = 7, /* beside a ring, channel 0. Host: value: the low bits of to_stub_tail; requests up to there go before
                    what follows. Root: wakes the host */
};

struct afar_frame {
  uint32_t channel; /* 0 is the root's own requests and replies; no credit there */
  uint32_t word;    /* type in bits 24..31, value in bits 0..23 */
};

#define AFAR_FRAME_MAX    65536
#define AFAR_CHANNELS_MAX 65536 /* channel numbers are below this; the host hands out the lowest */

enum afar_attach {
  AFAR_ATTACH_READ = 1 << 0,   /* what is read from the fd goes to the host */
  AFAR_ATTACH_WRITE = 1 << 1,  /* what comes from the host is written to the fd */
  AFAR_ATTACH_SOCKET = 1 << 2, /* use recvmsg/sendmsg: never blocks, and takes fds by SCM_RIGHTS */
};

/* ---- hello: what a root sends first, right behind the marker ---- */

enum afar_ns {
  AFAR_NS_CGROUP,
  AFAR_NS_IPC,
  AFAR_NS_MNT,
  AFAR_NS_NET,
  AFAR_NS_PID,
  AFAR_NS_TIME,
  AFAR_NS_USER,
  AFAR_NS_UTS,
  AFAR_NS_COUNT
};

enum afar_feature {
  AFAR_F_HOLD = 1 << 0,
  AFAR_F_CHANNELS = 1 << 1,
  AFAR_F_RING = 1 << 2,
  AFAR_F_PERSIST = 1 << 3,
  AFAR_F_ROOT_RING = 1 << 4,    /* a root can have a ring too */
  AFAR_F_PERSIST_ROOT = 1 << 5, /* a root may become persistent too */
  AFAR_F_AT_ONCE = 1 << 6,      /* a HOLD that is not to be kept aside */
  AFAR_F_START_CLOSE = 1 << 7,  /* a child heeds AFAR_START_CLOSE */
  AFAR_F_SCRIPT = 1 << 8,       /* a child heeds AFAR_START_SCRIPT; a reply may be LATER */
};

#define AFAR_FEATURES                                                                                                  \
  (AFAR_F_HOLD | AFAR_F_CHANNELS | AFAR_F_RING | AFAR_F_PERSIST | AFAR_F_ROOT_RING | AFAR_F_PERSIST_ROOT |             \
   AFAR_F_AT_ONCE | AFAR_F_START_CLOSE | AFAR_F_SCRIPT)

struct afar_hello {
  uint32_t magic;
  uint16_t major, minor;
  uint32_t size;      /* of this struct: a newer one is longer, what is unknown is skipped */
  uint32_t more;      /* bytes of variable data that follow it: groups, argv, environ, in this order */
  uint64_t features;  /* enum afar_feature */
  uint32_t machine;   /* ELF e_machine: 62 x86_64, 183 aarch64 */
  uint32_t page_size; /* bytes */
  int32_t pid, ppid;
  uint32_t uid, euid, suid, gid, egid, sgid;
  uint64_t cap_effective, cap_permitted, cap_inheritable;
  uint64_t sigmask; /* as inherited, before the stub blocked what a terminal sends */
  uint64_t nofile_soft, nofile_hard;
  uint64_t ns[AFAR_NS_COUNT]; /* inode of each namespace; 0: not known (no /proc, or not built in) */
  uint64_t entry;             /* address that a cloned child returns to */
  uint64_t arena, arena_size; /* memory that the host may use at once */
  uint32_t block_size;        /* bytes that the host sets aside for each cloned child */
  uint32_t hold_slots;        /* sum over held chains of 1 + the requests behind the HOLD */
  uint32_t read_max;          /* largest length of a READ */
  uint32_t no_new_privs;
  int32_t in_fd, out_fd, epoll_fd; /* the root's own fds */
  uint32_t groups;                 /* count of uint32_t that follow */
  uint32_t argv_length;            /* bytes, NUL-terminated strings one after the other; argv[0] first */
  uint32_t environ_length;         /* bytes, as argv */
  int32_t timer_fd;                /* the root's own too */
  uint32_t reserved[2];
  char release[65];      /* uname -r, NUL-padded */
  char machine_name[65]; /* uname -n */
  char boot_id[38];      /* NUL-padded; empty without /proc */
};

/* ---- a cloned child ---- */

/* The host writes this at the start of the child's block, and in front of it what the new stack must hold:
 * see doc/protocol.md, "Clone". cmsg_* and fd form the control message by which the parent hands fd[0] to the root. */
struct afar_start {
  uint32_t flags; /* enum afar_start_flag */
  int32_t ppid;   /* what getppid must answer once the death signal is armed; 0: don't check */
  uint64_t cmsg_length;
  int32_t cmsg_level, cmsg_type;
  int32_t fd[2];   /* socketpair: [0] the root's end, [1] the child's */
  int32_t carrier; /* where the child has moved its end to; not in fd[1], which the parent closes */
  int32_t reserved;
  uint64_t script; /* address of a struct afar_script, with AFAR_START_SCRIPT */
};

enum afar_start_flag {
  AFAR_START_ORPHAN = 1 << 0, /* do not arm the parent-death signal */
  AFAR_START_CLOSE = 1 << 1,  /* its table is a copy of a root's: close all from AFAR_FD_ZONE on but the carrier */
  AFAR_START_SCRIPT = 1 << 2, /* it has no carrier: it performs its script, and exits */
};

/* What such a child performs. Behind it come `room` bytes for replies. */
struct afar_script {
  uint64_t requests; /* their address: several may perform the same */
  uint32_t length;   /* in bytes */
  uint32_t room;
  uint32_t answered; /* bytes of replies that are there: the child's */
  uint32_t reserved;
};

/* ---- a persistent process: its carrier is a connection to its listening socket ---- */

#define AFAR_PERSIST_WINDOW (256 * 1024) /* bytes of replies that are kept until they are acknowledged */
#define AFAR_PERSIST_SIGNAL 64           /* interrupts a call that blocks, and does nothing else */

enum afar_greeting_flag {
  AFAR_GREETING_RESUME = 1 << 0, /* only if the session still is the one named: else nothing changes */
};

/* What a host sends first on a connection. One fd may come with its first byte: a socket to hand fds through. */
struct afar_greeting {
  uint32_t magic;
  uint16_t major, minor;
  uint32_t size; /* of this struct */
  uint32_t flags;
  uint64_t session[2]; /* chosen at random */
  uint64_t received;   /* bytes of this session's replies that the host has */
  char name[64];       /* who it is, for whoever is told who took over; NUL-terminated */
};

enum afar_verdict {
  AFAR_RESUMED = 0, /* the session goes on */
  AFAR_BEGUN = 1,   /* a new session; the one before is over */
  AFAR_GONE = 2,    /* refused: the session is over; `name` is whose it is now */
  AFAR_FOREIGN = 3, /* refused: not this protocol's magic or major */
};

/* What a persistent process answers; requests and replies follow, as on any child's carrier. */
struct afar_welcome {
  uint32_t magic;
  uint16_t major, minor;
  uint32_t size;
  uint32_t verdict;  /* enum afar_verdict */
  uint64_t requests; /* bytes of this session's requests that have arrived */
  uint64_t features;
  uint64_t block, entry;
  uint64_t anchor; /* address of its struct afar_anchor */
  uint32_t block_size, hold_slots, read_max, window;
  uint32_t machine;
  int32_t pid;    /* as it sees itself */
  int32_t fds[5]; /* its own: carrier, listening socket, what came with the greeting, spare ones; -1: none */
  uint32_t reserved;
  char name[64]; /* of the host whose session it is */
};

/* In its memory, and the host's to use: found again by every host. A WRITE of one word is atomic. */
struct afar_anchor {
  uint64_t kept; /* address of the kept table; 0: none */
  uint64_t reserved[7];
};

/* In the place of a persistent process's stub another one is executed, as `afar STATE`: what it needs is in that file.
 * The descriptors follow, as int32_t, then the bytes of the kept table's block. */
struct afar_state {
  uint32_t magic;
  uint16_t major, minor;
  uint32_t size; /* of this struct */
  int32_t listener;
  uint64_t lease; /* seconds; 0: none */
  uint64_t session[2];
  uint64_t kept;  /* bytes */
  uint32_t fds;   /* so many were kept open across the execution, and are made close-on-exec again */
  uint32_t front; /* pid of the process that serves the stream of what was a root; 0: none */
};

/* In the image of every stub. The host fills in the rest in a copy that it puts where a program is expected: see
 * doc/protocol.md, "Callbacks". */
struct afar_callback {
  char sign[16];   /* AFAR_CALLBACK_SIGN, by which the host finds it */
  char marker[32]; /* what the root writes before its hello */
  char path[108];  /* of the unix socket on which the host answers, NUL-terminated; empty: not a callback */
};

#define AFAR_CALLBACK_SIGN "afar-callback:1"
#define AFAR_CALLBACK_GONE 127 /* exit status when nobody answers, or no longer */

#define AFAR_SCRIPT_DONE 127 /* exit status of a child whose script has ended, without an exec or exit in it */

#define AFAR_FD_ZONE  64 /* a root keeps its own fds, and those of channels, at or above this number */
#define AFAR_FD_CHILD 10 /* a child keeps its carrier at or above this number */

_Static_assert(sizeof(struct afar_request) == 64, "request");
_Static_assert(sizeof(struct afar_reply) == 16, "reply");
_Static_assert(sizeof(struct afar_frame) == 8, "frame");
_Static_assert(sizeof(struct afar_start) == 48, "start");
_Static_assert(sizeof(struct afar_script) == 24, "script");
_Static_assert(sizeof(struct afar_callback) == 156, "callback");
_Static_assert(sizeof(struct afar_ring) == 128 + 4096 + 8192, "ring");
_Static_assert(sizeof(struct afar_greeting) == 104, "greeting");
_Static_assert(sizeof(struct afar_welcome) == 168, "welcome");
_Static_assert(sizeof(struct afar_state) == 56, "state");
_Static_assert(sizeof(struct afar_hello) % 8 == 0, "hello");

#endif
