/*
 * Finds the queue program of the tree that smtpctl belongs to: an installed tree may be anywhere,
 * and in a build folder all programs stand side by side.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "smtpctl/spool.h"

bool
spool_place(const char *folder, size_t place, char path[SPOOL_PATH])
{
	int length = -1;

	if (place == 0)
		length = snprintf(path, SPOOL_PATH, "%s/../libexec/postern/queue", folder);
	else if (place == 1)
		length = snprintf(path, SPOOL_PATH, "%s/queue", folder);
	else if (place == 2)
		length = snprintf(path, SPOOL_PATH, "%s/queue", LIBEXECDIR);
	return length > 0 && length < SPOOL_PATH;
}

static void
own_folder(char folder[SPOOL_PATH])
{
	ssize_t length = readlink("/proc/self/exe", folder, SPOOL_PATH - 1);
	char *slash;

	if (length < 0)
		length = 0;
	folder[length] = '\0';
	slash = strrchr(folder, '/');
	if (slash != NULL)
		*slash = '\0';
	else
		folder[0] = '\0';
}

int
spool_exec(const char *what, const char *directory)
{
	char folder[SPOOL_PATH], path[SPOOL_PATH];
	const char *spool = directory != NULL ? directory : LOCALSTATEDIR "/spool/postern";
	const char *const arguments[] = { "queue", what, spool, NULL };
	char *const environment[] = { NULL };

	own_folder(folder);
	for (size_t place = 0; place < SPOOL_PLACES; place++) {
		if (!spool_place(folder, place, path) || access(path, X_OK) != 0)
			continue;
		(void)execve(path, (char *const *)(size_t)arguments, environment);
		if (errno != ENOENT) {
			warn("%s", path);
			return EX_OSERR;
		}
	}
	warnx("the queue program was not found, neither beside smtpctl nor in %s", LIBEXECDIR);
	return EX_UNAVAILABLE;
}
