/*
 * What a program may still ask of the kernel, once it is set up: seccomp(2), for the life of the process
 * and of all that it starts. A call that no program has use for but an intruder (exec, ptrace, mounts,
 * namespaces, modules, keys, other users' ids) ends the process, which the supervisor logs and starts
 * anew; one that isn't in the list of what programs do fails as if the kernel didn't know it (ENOSYS),
 * so that a library that tries a newer one goes on with the older.
 *
 * The mda has none: it runs its users' commands, which would inherit it.
 */
#ifndef COMMON_SANDBOX_H
#define COMMON_SANDBOX_H

/* What more a program does than reading, writing and waiting on what it has and files it can see. */
#define SANDBOX_SOCKETS   1 /* opens sockets: Unix, IPv4, IPv6, netlink */
#define SANDBOX_PROCESSES 2 /* starts threads */

/*
 * To be called after child_start(), before the first foreign byte is read. Ends the process when the
 * kernel refuses; does nothing where a sanitizer is built in, whose own calls are not in the list, or
 * on machines that the list isn't made for.
 */
void sandbox_enter(unsigned needs);

#endif
