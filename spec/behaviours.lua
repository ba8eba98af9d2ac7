--- What the model of this library, rsyscall, does, as its tests and its sources show it, in our words; and which spec asks for it here.
---
---   ID | what is asked for | spec file: part of the name of an `it`; several are separated by ";"
---
--- spec/behaviours_spec.lua looks whether each of them is there. Left out is what belongs to Nix, to its
--- demonstration programs, and to its prompt over sockets; and what has no counterpart here, because the host does it by itself: stacks of new
--- processes (CLONE-F05), native functions by a table of symbols (CLONE-F11), taking raw numbers for handles (FD-F03), and routines that
--- are resumed by hand (CONC-F01), which are Lua's coroutines.

-- luacheck: no max string line length
return [[
MEM-01 | memory that was freed can be had again at once; what is too much is refused | afar/original: is free at once when it was freed
MEM-02 | a pointer that was freed is an error when it is used, and none when it is shown | afar/pointer: can't be used when it was freed, but shown
MEM-03 | the same for every other pointer to that memory | afar/original: is freed for all who point to it
MEM-04 | a mapping is advised about and unmapped | afar/original: is mapped, advised about, and unmapped
MEM-F01 | memory by size or by type; what makes no sense is refused | afar/pointer: has a type
MEM-F02 | memory from a value: bytes, text, structures | afar/pointer: is written and read
MEM-F03 | a pointer is split in two, and neighbours are joined; others are refused | afar/pointer: is split and merged
MEM-F04 | what a call filled is one part, the rest another | afar/pointer: is what a call fills, in part
MEM-F05 | a pointer that nobody has any more is freed; a value that is too long is refused | afar/pointer: gives its memory back when it is collected; afar/pointer: says what is beyond its end
MEM-F06 | a pointer is valid in its address space and in no other | afar/pointer: belongs to its address space
MEM-F13 | a bad address is an error of the call, and not the end of the process | afar/pointer: to a bad address is an error, not the end
FD-02 | a fork gives up the fds that are not meant for it: reading them is an error, writing without a reader EPIPE and no signal | afar/original: leave it with errors, not with signals
FD-03 | bytes go through a pipe, read into what was written | afar/fd: passes bytes through a pipe, both in values and in memory
FD-04 | the same with readv and writev | afar/transfer: go through a pipe from several places to several, in order
FD-05 | recv on a pipe is an error | afar/transfer: don't come out of a pipe as out of a socket
FD-F01 | each handle of a number is closed by itself; closed is closed | afar/fd: that is closed is closed; afar/fd: has copies, each closed by itself
FD-F02 | a child has handles for what it has inherited, also from its parent's parents; others are refused | afar/clone: has a copy of its parent's fds, which each closes by itself; afar/clone: refuses the fds of others
FD-F04 | what nobody holds any more is closed, by whoever of the table still lives | afar/fd: that nobody holds any more is closed; afar/clone: has the same fds, both ways
FD-F05 | a process leaves a shared table with copies of its own | afar/namespace: is left by unshare, with the fds of both right
FD-F06 | the table's handles stay right while several leave it | afar/shared: is left by both children, one after the other, with copies of their own
FD-F07 | dup2 puts a file in another's place | afar/fd: takes another's place
FD-F08 | all fds are close-on-exec; those meant to stay are marked by one call, or passed as an argument | afar/fd: is close-on-exec, and above the standard ones; afar/own_fds: are kept across exec by one call; afar/passing: gets an fd as an argument
CLONE-01 | a child that shares the table exits, and the exit returns | afar/clone: can nest, and ends without a trace
CLONE-02 | so does its child | afar/clone: can nest, and ends without a trace
CLONE-03 | forks of a child work, time after time | afar/clone: works, and so do its own
CLONE-04 | a child that shares the table waits by itself | afar/clone: can nest, and ends without a trace
CLONE-05 | so does its child | afar/clone: can nest, and ends without a trace
CLONE-07 | a fork of a fork waits and works | afar/clone: works, and so do its own
CLONE-08 | a temporary directory in a child that shares the table | afar/tree: work in a child that shares fds
CLONE-F01 | calls to one process keep their order, calls to several go side by side; none that was sent is forgotten | afar/process: gives each of many callers its own answer; afar/nursery: takes the results of what was sent
CLONE-F02 | errors of a connection tell what surely was not performed from what may have been | afar/process: fails all pending calls, and knows which of them it never saw
CLONE-F03 | requests, results and errors have one form, which is written down | protocol: numbers the operations; protocol: tells where the fields are
CLONE-F04 | a child dies with its parent | afar/clone: ends with its parent; afar/attributes: dies with its parent, unless told otherwise
CLONE-F06 | the end and the exec of a process are seen in a shared table too | afar/exec: works where the table is shared; afar/shared: is still shared by two children when their parent has left it
CLONE-F07 | a sibling is made by CLONE_PARENT; the init of a pid namespace has none | afar/flags: go together wherever the kernel allows it; afar/flags: that its place allows nobody say so
CLONE-F08 | a new user namespace gets its ids, unless told otherwise | afar/namespace: give an unprivileged process the ids that it asks for
CLONE-F09 | a child has the environment, the namespaces and the standard fds of its parent | afar/exec: takes the process's environment as it is then; afar/namespace: of pids are those of the next children
CLONE-F10 | any kind of process starts any other | afar/bootstrap: works in any process, and in what it gave; afar/ssh: works from any process, and through another
CLONE-F12 | each call of a process and its result can be shown | afar/trace: tells each call with its result, and what failed with its error
EXEC-01 | cat between two pipes, which ends when its input does | afar/exec: gives a cat between two pipes
EXEC-02 | the same without blocking anybody | afar/exec: gives a cat between two pipes
EXEC-03 | fork, exec and wait, many times | afar/run: runs many side by side
EXEC-05 | a program that fails is an error where it is checked | afar/child: raises in check what is not success
EXEC-06 | who waits for a program and is cancelled ends it with SIGTERM | afar/run: ends its program when it is cancelled
EXEC-08 | exit code 1 is no success | afar/child: raises in check what is not success
EXEC-F01 | ends, stops and continuations are waited for, and the process isn't blocked; the end may be asked for again | afar/waiting: tells stop, continuation and end, to several at once; afar/child: execs and can be awaited again and by many
EXEC-F02 | a status tells code or signal, and the error has it | afar/child: tells which signal ended it; afar/run: raises when it fails, with what it said
EXEC-F03 | a whole group is killed | afar/jobs: get a signal as a whole, and nobody else does
EXEC-F04 | a child that has ended gets no signal | afar/child: that has ended gets no signal, which is no error
EXEC-F05 | any pid: kill, group, priority, an fd for it | afar/jobs: are the process's own, or those of its children; afar/wait: waits for the end of any process by its pidfd
EXEC-F06 | a child is put into a group that a live child leads; else the error says why not | afar/jobs: are refused with a reason
EXEC-F07 | a program gets the signal mask and the environment that it shall have | afar/exec: gives programs the signals that they expect; afar/exec: sets the environment, the directory, the name and the umask
EXEC-F08 | exec by an fd and by a path from a directory; afterwards the process is used up | afar/own_fds: goes by fd, and by a path from a directory; afar/exec: uses the process up
EXEC-F09 | run: fork, exec and check, or the status as it is | afar/run: gives what was written, and how it ended; afar/run: raises nothing with check = false
EXEC-F10 | a command is a value: arguments and environment added give another; as text it is a shell's | afar/shell: is built up, each step a new one; afar/shell: is printed as a shell takes it
EXEC-F11 | the environment is read and changed | afar/exec: takes the process's environment as it is then
EXEC-F12 | programs are looked up in PATH at the far side, and no directory is taken for one | afar/exec: looks in PATH, and where the name says; afar/names: looks programs up, and remembers no miss
SIG-01 | a signal that is waited for comes, and the process lives | afar/signal: that are blocked come as a sequence, with their sender and value
SIG-02 | a disposition is set, and read back as it was set | afar/signal: have dispositions, which are given back as they were set
SIG-03 | who sent it, with which value | afar/signal: that are blocked come as a sequence, with their sender and value
SIG-04 | a disposition's flags and mask | afar/signal: have dispositions, which are given back as they were set
SIG-F01 | masks are given back as they were | afar/signal: have masks, which are given back as they were
SIG-F02 | a sequence unblocks what it has blocked; what a signalfd gives may change | afar/signal: keep it blocked until the last one that wants it ends
SIG-F03 | several wait for the same signal, and each gets it | afar/signal: each get every signal of their set, whoever reads it first
SIG-F04 | a program gets no handler and no ignored signal from its parent | afar/exec: gives programs the signals that they expect
EPOLL-01 | a process waits and works at once | afar/events: work side by side, again and again
EPOLL-02 | many waits side by side | afar/events: work side by side, again and again
EPOLL-03 | an epoll instance is inherited by a child, and works there | afar/events: is inherited by a child, and works there
EPOLL-04 | a fork waits by itself | afar/clone: works, and so do its own
EPOLL-05 | a second handle to a file that is waited for works | afar/events: work through a second handle to the same file
EPOLL-08 | events are packed as the kernel has them | afar/events: packs its events as the architecture does
EPOLL-F01 | waiting does not hold up other calls | afar/wait: waits, and the process serves other calls meanwhile
EPOLL-F02 | any number of fds is waited for at once | afar/many: for fds can be cancelled, and end when their fd is closed
EPOLL-F03 | what is watched changes and ends; who waits for what is closed gets an error | afar/events: changes and ends what is watched; afar/wait: ends with an error when the fd is closed meanwhile; afar/wait: does not take a new file under the same number for the old one
EPOLL-F04 | several wait for different events of one fd | afar/wait: lets several wait for different events of one fd
EPOLL-F05 | reads, writes and accepts that wait have the form of those that block; a hang-up is told | afar/fd: is waited for without anybody else's waiting; afar/wait: ends with a hangup, which nobody asked for
EPOLL-F06 | connect waits, and raises why it failed | afar/connection: that nobody takes is an error at once; afar/connection: over " .. name
EPOLL-F07 | waiting for an fd, an accepted one too, leaves its file blocking for others | afar/connection: leaves the sockets blocking, as programs expect them
EPOLL-F08 | buffered reading: exact sizes, structures, counted bytes, delimiters, lines, netstrings; the end says what was wanted | afar/reader: gives structures, counted bytes and netstrings; afar/reader: gives exact sizes, and says what it had
EVFD-01 | an eventfd gives what was added | afar/events: gives what was written
EVFD-F01 | semaphores, and waiting for a count | afar/events: wakes one for each count of a semaphore
TIMER-01 | a timer is set and read | afar/events: tells what was set
TIMER-02 | times with fractions keep them | afar/events: tells what was set
TIMER-03 | first expiry and interval are two things | afar/events: expires, and again after each interval
TIMER-F01 | points in time, and what was set before | afar/events: takes a point in time
INOT-F01 | several watches, names, cookies, removal | afar/inotify: tells what happens, in order, with names; afar/inotify: ties the two ends of a rename together; afar/inotify: watches more paths, and less
FS-01 | a program copies a file between two fds | afar/names: are copied by a program between two fds
FS-02 | a directory is listed into the same memory again | afar/names: are listed into the same memory again and again
FS-04 | readlink of what is no link is ENOENT | afar/names: have no target that could be read, unless they are links
FS-05 | all that is done relative to a directory's fd | afar/names: are changed relative to a directory's fd
FS-07 | lookups in PATH remember no miss | afar/names: looks programs up, and remembers no miss
FS-08 | a memfd is read and written anywhere | afar/names: gives a file that is written and read anywhere
FS-09 | cloning a range of a memfd from itself is refused | afar/names: can't be cloned from itself
FS-10 | entries of any length | afar/names: entries of a directory are told apart, whatever their length
FS-11 | what stat tells | afar/files: have a stat
FS-F01 | names relative to the working directory; exchange, no replacement | afar/files: are made, linked, renamed and removed; afar/names: are exchanged, and not replaced by mistake
FS-F03 | directories are changed to; memfds sealed | afar/files: are where the process is; afar/names: can be sealed
FS-F04 | whole files are written and read | afar/content: is written, whatever its length; afar/content: is read, whatever its length
FS-F05 | temporary directories, which are removed | afar/tree: are ours alone, and have new names; afar/tree: are removed when the function ends, however it ends
FS-F06 | a link is replaced in one step | afar/names: are pointed to by links that change at once
NS-01 | chroot below a bound /proc, in a user namespace | afar/mount: is had by chroot, with /proc bound beneath it
NS-02 | the end of an init ends a program on a socketpair | afar/original: ends a cat on a socketpair
NS-03 | and the orphans of a shell | afar/original: ends the orphans of a shell that had ended before
NS-F01 | unshare, each kind | afar/namespace: are new at clone, each and all; afar/namespace: give an unprivileged process the ids that it asks for
NS-F02 | mounts and what takes them away, moved, bound, private | afar/mount: mounts a filesystem, and umount2 takes it away; afar/mount: binds, moves and remounts
NS-F03 | what is of another namespace is refused | afar/signal: never go to the wrong process
USER-02 | capabilities in a user namespace: inheritable, ambient | afar/attributes: has capabilities: inheritable and ambient ones in a user namespace
USER-F01 | sets of capabilities by name | afar/attributes: has capabilities: inheritable and ambient ones in a user namespace
SCHED-01 | a name that can be changed | afar/attributes: has a name that can be changed
SCHED-03 | CPUs that can be chosen; none is refused | afar/attributes: runs on CPUs that can be chosen
SCHED-04 | a set of CPUs is encoded as the kernel has it | afar/attributes: runs on CPUs that can be chosen
SCHED-F01 | priorities | afar/attributes: has a priority
SCHED-F02 | limits, the death signal | afar/attributes: has limits, which are given back as they were; afar/shared: stays whatever credentials change
SOCK-01 | TCP over the loopback, with a port that the kernel chose | afar/connection: over " .. name; afar/socket: tells the address that it was bound to really
SOCK-02 | UDP, connected | afar/transfer: go to a connected datagram socket, a message a time
SOCK-03 | writing to a socket that isn't connected is EPIPE | afar/transfer: into a socket that isn't connected
SOCK-04 | many writers to one connection | afar/transfer: of several processes into one TCP connection are none lost
SOCK-07 | with one port, a second socket finds none | afar/socket: a second socket finds none
SOCK-08 | with SO_REUSEADDR two share it | afar/socket: two share it with SO_REUSEADDR
SOCK-09 | IPv4 addresses | afar/address: of each family goes to the kernel's structure and back
SOCK-10 | IPv6 addresses | afar/address: of each family goes to the kernel's structure and back
SOCK-F01 | addresses as values, printed, compared | afar/address: keeps its fields, in the host's byte order; afar/address: equals another one
SOCK-F02 | peers' addresses, and options by name | afar/socket: has options of all kinds, by name
SOCK-F03 | bind tells the address that it got | afar/socket: tells the address that it was bound to really
SOCK-F04 | errors show what the call was about | afar/files: are shown in errors as the manpage writes the call; afar/socket: shows what it was asked for when the kernel refuses
UNIX-01 | bind, listen, connect and accept on a path | afar/connection: over " .. name
UNIX-02 | the same while others run, with the peer's address | afar/connection: over " .. name
UNIX-03 | what was accepted is written to and read | afar/connection: over " .. name
UNIX-04 | an fd in a message is one new handle, close-on-exec | afar/message: brings an fd as a new handle, close-on-exec, and nothing else
UNIX-07 | addresses of unix sockets keep their length | afar/address: of a unix socket keeps its length
UNIX-F01 | paths of any length | afar/socket: has a path of any length
UNIX-F02 | messages with what was cut off, and controls that nobody knows | afar/message: of a type that isn't known keeps its bytes
UNIX-F03 | fds go from one table to another | afar/message: takes fds from one table to another
NET-01 | a tun interface is made, set up and asked | afar/net: has a tun interface where it makes one
NET-03 | two networks are joined by their tuns | afar/net: is joined to another one by packets that the script carries
NET-04 | an ifreq goes there and back | afar/net: goes to the kernel's structure and back
NET-F01 | netlink's addresses, and its messages | afar/socket: of netlink has its port; examples: netlab makes a network, and traffic in it
FUSE-01 | the requests of a program that opens, reads and lists, and their answers | afar/fuse: gives a program's calls as requests, in their order
FUSE-03 | requests are taken apart | afar/fuse: is taken apart
FUSE-04 | replies are put together | afar/fuse: is put together
FUSE-F01 | each kind of request with its reply, or an errno | afar/fuse: serves by functions, whole files of any length, read and written
FUSE-F02 | whoever serves is nobody else; its end is ENOTCONN for callers | afar/fuse: leaves callers with a clear error when nobody serves any more
PERS-01 | a persistent process works, is reconnected, works, exits | afar/persistent: works, is reconnected, works, and exits
PERS-02 | one that has ended refuses at once | afar/persistent: that has ended refuses at once
PERS-04 | one that shared its parent's table, with children | afar/persistent: can be a child that shares its parent's table
PERS-05 | over the ssh connection that made it | afar/persistent: is reached over the ssh connection that made it, and over a new one
PERS-06 | over another ssh connection | afar/persistent: is reached over the ssh connection that made it, and over a new one
PERS-F01 | it is none until it is asked for | afar/persistent: is one only when it is asked for
PERS-F02 | calls over a connection that breaks | afar/session: performs each call exactly once, however often the connection breaks
PERS-F03 | children and fds stay meanwhile | afar/kept: fds, children and data by name, for whoever comes
SSH-01 | bytes from here to there | afar/stream: carries one channel though the reader of another has stopped
SSH-02 | many channels at once | afar/stream: carries one channel though the reader of another has stopped; afar/birth: answer their first requests
SSH-03 | a program over ssh | afar/ssh: works where the login shell is
SSH-04 | a program there that is written to and read from | afar/run: passes megabytes both ways at once
SSH-05 | forks of forks there | afar/clone: works, and so do its own
SSH-06 | ssh from there | afar/ssh: works from any process, and through another
SSH-07 | a file from here to there through programs | examples: 06-two-machines is a pipeline between two
STDIN-01 | a shell that has only its stdin | afar/bootstrap: is told to a shell on its stdin
STDIN-02 | from there another one | afar/bootstrap: works in any process, and in what it gave
STDIN-03 | forks of it | afar/clone: works, and so do its own
STDIN-F01 | any command that ends in a shell | afar/bootstrap: goes through any pair of pipes
STUB-01 | a program that the script answers for: how it was called | afar/stub: says how it was made
STUB-02 | it is a process | afar/stub: is a process to act in
STUB-F01 | its environment, its arguments | afar/stub: says how it was made
CONC-01 | the error of one routine cancels the others and can be caught outside | afar/nursery: is catchable outside of the inner one, with the outer going on
CONC-03 | answers in another order than the questions | afar/sync: brings each question its own answer, whatever the order
CONC-04 | who serves asks another one | afar/sync: serves who serves another one
CONC-05 | one waits for what another sets | afar/sync: lets all go on that wait for it
CONC-06 | an error comes to who asked, and its traceback stays short | afar/sync: brings an error to who asked, with a short traceback
CONC-F02 | a wait that was cancelled gets nothing later | afar/nursery: takes the results of what was sent; afar/sync: loses nothing when who waits for it is cancelled
CONC-F03 | queues: one, all, none; closed ones | afar/sync: gives one, all that is there, or nothing without waiting; afar/sync: fails the questions that nobody has got
CONC-F04 | an event that fails | afar/sync: may fail instead
CONC-F05 | several side by side, their results in order | afar/sync: gives the results in order, however long each takes
CONC-F06 | who waits goes on in the order in which the values came | afar/sync: gives values in order, to whoever waits
]]
