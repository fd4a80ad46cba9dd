/*
 * One table from errno to a reply, so that every failing system call of a delivery is reported in
 * the same way. Full disks get a status of their own (RFC 3463 3.4: X.3.1), since they heal alone;
 * what is wrong with the mailbox itself is X.2.0, what is wrong with the system X.3.0.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "deliver/failure.h"

struct failure {
	int error;
	unsigned code;
	const char *enhanced;
	const char *advice;
};

static const struct failure failures[] = {
	{ ENOSPC, 452, "4.3.1", "free some space there" },
	{ EDQUOT, 452, "4.3.1", "raise its owner's disk quota or free some space" },
	{ EFBIG, 452, "4.3.1", "raise the file size limit (RLIMIT_FSIZE)" },
	{ EROFS, 451, "4.3.0", "mount its file system writable" },
	{ EIO, 451, "4.3.0", "check the disk" },
	{ EACCES, 451, "4.2.0", "let its owner write there" },
	{ EPERM, 451, "4.2.0", "let its owner write there" },
	{ ENOENT, 451, "4.2.0", "make the directory" },
	{ ENOTDIR, 451, "4.2.0", "put a directory in its place" },
	{ ELOOP, 451, "4.2.0", "symbolic links are not followed: put a directory in its place" },
	{ EISDIR, 451, "4.2.0", "remove that directory" },
	{ EXDEV, 451, "4.2.0", "tmp and new must be on one file system" },
	{ EEXIST, 451, "4.2.0", "remove or rename what is there" },
	{ ENAMETOOLONG, 451, "4.2.0", "shorten the path" },
	{ EMFILE, 451, "4.3.0", "raise the limit of open files" },
	{ ENFILE, 451, "4.3.0", "raise the system's limit of open files" },
	{ ENOMEM, 451, "4.3.0", "memory is short" },
};

void
failure_set(struct reply *reply, int error, const char *doing, const char *path)
{
	size_t i;

	for (i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		if (failures[i].error == error) {
			reply_set(reply, failures[i].code, failures[i].enhanced,
			    "cannot %s %.220s: %s; %s", doing, path, strerror(error),
			    failures[i].advice);
			return;
		}
	}
	reply_set(reply, 451, "4.3.0", "cannot %s %.220s: %s", doing, path, strerror(error));
}
