/*
 * What a setgid program does about its caller: nothing that was inherited is trusted.
 */
#include <sys/stat.h>
#include <bsd/unistd.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "smtpctl/privilege.h"

#define NOBODY 65534 /* the kernel's own, whatever names it has */

static gid_t group_own;
static gid_t group_socket;

/* Descriptors 0 to 2 that are closed would otherwise become the socket, and messages its bytes. */
static void
open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd == -1)
		_exit(EX_OSERR);
	closefrom(STDERR_FILENO + 1);
}

void
privilege_start(void)
{
	sigset_t none;

	open_standard_descriptors();
	group_own = getgid();
	group_socket = getegid();
	if (setegid(group_own) != 0)
		err(EX_OSERR, "setegid");
	if (clearenv() != 0)
		err(EX_OSERR, "clearenv");
	umask(077);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGALRM, SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL); /* ignored, no program's end would be seen */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

void
privilege_raise(void)
{
	if (setegid(group_socket) != 0)
		err(EX_OSERR, "setegid");
}

void
privilege_lower(void)
{
	int error = errno;

	if (setegid(group_own) != 0)
		err(EX_OSERR, "setegid");
	errno = error;
}

gid_t
privilege_group(void)
{
	return group_socket;
}

void
privilege_drop(void)
{
	gid_t real, effective, saved;

	if (setresgid(group_own, group_own, group_own) != 0)
		err(EX_OSERR, "setresgid");
	if (getresgid(&real, &effective, &saved) != 0 || real != group_own ||
	    effective != group_own || saved != group_own)
		errx(EX_OSERR, "the group could not be dropped");
}

void
privilege_become_nobody(void)
{
	uid_t real, effective, saved;

	if (geteuid() != 0)
		return;
	if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) != 0)
		err(EX_OSERR, "setresuid");
	if (getresuid(&real, &effective, &saved) != 0 || real != NOBODY || effective != NOBODY ||
	    saved != NOBODY || setuid(0) == 0)
		errx(EX_OSERR, "root's rights could not be dropped");
}
