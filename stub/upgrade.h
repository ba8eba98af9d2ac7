/* A stub that was executed in the place of another one, by a persistent process: see doc/protocol.md, "Upgrade". */
#ifndef AFAR_UPGRADE_H
#define AFAR_UPGRADE_H

/* fd: of the file with the state. */
_Noreturn void upgrade_run(int fd);

#endif
