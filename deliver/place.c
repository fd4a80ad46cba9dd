/*
 * What is above the start of a walk was laid out by the administrator, and may have symbolic links;
 * below it everything is opened without following any.
 */
#include <sys/stat.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "deliver/failure.h"
#include "deliver/forward.h"
#include "deliver/place.h"

bool
place_check_owner(int fd, const char *path, mode_t forbidden, struct reply *why)
{
	struct stat st;

	if (fstat(fd, &st) == -1) {
		failure_set(why, errno, "look at", path);
		return false;
	}
	if (st.st_uid != geteuid()) {
		reply_set(why, 451, "4.2.0",
		    "%.220s belongs to uid %u instead of %u: change its owner", path, st.st_uid,
		    geteuid());
		return false;
	}
	if ((st.st_mode & forbidden) != 0) {
		reply_set(why, 451, "4.2.0",
		    "%.220s can be written by others (mode %04o): chmod go-w", path,
		    (unsigned)st.st_mode & 07777);
		return false;
	}
	return true;
}

void
place_above(const char *path, char above[PATH_TEXT_MAX + 1])
{
	char *end;

	strlcpy(above, path, PATH_TEXT_MAX + 1);
	end = strrchr(above, '/');
	if (end == NULL)
		strcpy(above, "/");
	else
		end[end == above ? 1 : 0] = '\0';
}

/* The home is looked at before anything is made in it. */
static bool
check_home(const char *home, struct reply *why)
{
	struct path_walk walk;
	bool good;

	if (!path_walk(home, home, false, &walk, why)) {
		if (errno == ENOENT)
			reply_set(why, 451, "4.3.0",
			    "home directory %.220s is missing: make it or mount it", home);
		return false;
	}
	good = place_check_owner(walk.fds[0], home, S_IWGRP | S_IWOTH, why);
	path_walk_close(&walk);
	return good;
}

bool
place_walk(const struct ipc_mailbox *mailbox, const char *path, const char *mail_directory,
    const char *base, bool create, struct path_walk *walk, struct reply *why)
{
	const char *home = mailbox->home;
	bool is_at_home = *home != '\0' && path_is_below(path, home);

	/* Where his mail is to go instead of a mailbox can't be known: it waits. */
	if ((is_at_home && !check_home(home, why)) ||
	    (create && mailbox->forwards && !forward_is_usable(home, mailbox->detail, why))) {
		errno = EPERM;
		return false;
	}
	if (is_at_home)
		base = home;
	else if (*mail_directory != '\0' && path_is_below(path, mail_directory))
		base = mail_directory;
	return path_walk(base, path, create, walk, why);
}
