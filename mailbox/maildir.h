/*
 * The one Maildir that this process serves: its directory, its limits, the folders that are open in
 * it and the watch on them. All else in the store works on one of these.
 *
 * Nothing here follows symbolic links inside the Maildir, and nothing needs a path: all is done
 * relative to descriptors. System calls beyond reading and writing files that the store needs:
 * kill(pid, 0) (is the holder of a lock alive), inotify, flock, nanosleep, linkat, renameat2,
 * utimensat, fsync, fdatasync, uname.
 */
#ifndef MAILBOX_MAILDIR_H
#define MAILBOX_MAILDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/maildir_name.h"
#include "common/quota.h"
#include "mailbox/result.h"

struct folder;

struct maildir {
	int root;   /* O_RDONLY directory */
	char *path; /* for the log only */
	char host[NAME_HOST_MAX + 1];
	char lock_host[65]; /* gethostname()'s, which Dovecot writes into its locks */
	struct quota_limits limits;
	int watch;           /* inotify; -1 where there is none */
	struct folder *open; /* list */
	uint64_t unique;     /* counts names given out */
	uint64_t *expected;  /* the watch's events to come that are our own doing */
	size_t expected_first;
	size_t expected_count;
	size_t expected_capacity;
};

/*
 * Takes over `root`, an open directory; makes cur, new and tmp where missing. `hostname` goes into
 * the names of files. NULL when that isn't possible, logged.
 */
struct maildir *maildir_new(
    int root, const char *path, const char *hostname, const struct quota_limits *limits);
/* All folders must have been released. */
void maildir_free(struct maildir *);

/*
 * For the event loop: readable when something in the open folders' new/ or cur/ changed that
 * somebody else did. After maildir_watch_read(), folder_is_changed() tells which. -1 where the
 * system gave none (its limit of inotify instances is met): then call folder_sync() every second or
 * so, which is cheap while nothing changes.
 */
int maildir_watch_fd(const struct maildir *);
void maildir_watch_read(struct maildir *);

/* How full it is (RFC 9208); counted when that isn't known. Limits of 0 are none. */
enum mail_result maildir_quota(struct maildir *, struct quota *);
/* MAIL_OVER_QUOTA when so much more doesn't fit. */
enum mail_result maildir_has_room(struct maildir *, uint64_t bytes, uint64_t messages);

/* "1700000000.M123456P00112233aabbccdd.host,S=12,W=13": a name that no file ever had. */
void maildir_unique_name(
    struct maildir *, uint64_t size, uint64_t virtual_size, char name[NAME_SIZE]);
/* The same without sizes, for tmp/. */
void maildir_temporary_name(struct maildir *, char name[NAME_SIZE]);
/* A UIDVALIDITY larger than any that this Maildir's folders ever had; shared with Dovecot by its
 * file dovecot-uidvalidity. */
uint32_t maildir_next_uid_validity(struct maildir *);

/*
 * Puts a small file in place durably: written to a temporary one, synced, renamed over `name`, the
 * directory synced. MAIL_NO_SPACE or MAIL_FAILED (logged) leave the old one as it was.
 */
enum mail_result maildir_replace_file(
    struct maildir *, int directory, const char *name, const void *data, size_t length);
/* Reads a regular file of at most `limit` bytes; NULL with errno (ENOENT, EFBIG, …). The bytes are
 * followed by a NUL that `*length` doesn't count. The caller frees them. */
char *maildir_read_file(int directory, const char *name, size_t limit, size_t *length);
/* Logs "cannot DO PATH/folder/name: reason" with errno, and says how to tell the client. */
enum mail_result maildir_failed(
    struct maildir *, const char *doing, const char *folder, const char *name);

#endif
