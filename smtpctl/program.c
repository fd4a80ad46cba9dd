/*
 * Where the others are is seen from where this one is, so that a tree may be moved: beside it, or
 * in ../libexec/postern.
 */
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "smtpctl/program.h"

#define PLACES 3

/* False when there is no such place, or its path is too long. */
static bool
name_place(const char *folder, size_t place, const char *name, char path[PATH_MAX])
{
	int length = -1;

	if (place == 0)
		length = snprintf(path, PATH_MAX, "%s/../libexec/postern/%s", folder, name);
	else if (place == 1)
		length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
	else if (place == 2)
		length = snprintf(path, PATH_MAX, "%s/%s", LIBEXECDIR, name);
	return length > 0 && length < PATH_MAX;
}

static void
find_own_folder(char folder[PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
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
program_exec(const char *name, const char *const *arguments)
{
	char folder[PATH_MAX], path[PATH_MAX];
	char *const environment[] = { NULL };

	find_own_folder(folder);
	for (size_t place = 0; place < PLACES; place++) {
		if (!name_place(folder, place, name, path) || access(path, X_OK) != 0)
			continue;
		/* execve() doesn't change its arguments; its type is older than const. */
		(void)execve(path, (char *const *)(size_t)arguments, environment);
		if (errno != ENOENT) {
			warn("%s", path);
			return EX_OSERR;
		}
	}
	warnx("the program %s was not found, neither beside smtpctl nor in %s", name, LIBEXECDIR);
	return EX_UNAVAILABLE;
}
