/* One reading of a folder's directories, while it goes on; for folder_scan.c and folder_take.c. */
#ifndef MAILBOX_FOLDER_SCAN_H
#define MAILBOX_FOLDER_SCAN_H

#include "mailbox/folder_state.h"
#include "mailbox/name_map.h"

/* A file that is no known message yet. */
struct fresh {
	char *base;       /* owned, and followed by info */
	char *info;       /* "" or ":2,FS" */
	const char *guid; /* the list's, or NULL; not terminated */
	size_t guid_length;
	uint32_t uid;       /* the list's, or 0 */
	uint64_t delivered; /* seconds since 1970, by its name */
	bool in_new;
};

struct scan {
	struct folder *folder;
	bool all;   /* of cur/, too */
	bool first; /* nobody has seen the folder yet */
	bool anew;  /* no index helped */
	struct uidlist_news news;
	struct name_map messages;    /* positions; none when only new/ is read */
	struct name_map records;     /* numbers in news */
	struct name_map fresh_names; /* numbers in fresh */
	struct fresh *fresh;
	size_t fresh_count;
	size_t fresh_capacity;
	unsigned searched; /* without a map of messages */
	bool *seen;        /* by position */
	size_t known_count;
	uint64_t modseq; /* of what changed; 0 nothing yet */
};

/* Takes in all that was found; what wasn't met of all that is known is gone. */
enum mail_result folder_take_in(struct scan *);
/* Adds a message that has its uid to the end of the array. */
bool folder_take_new(struct folder *, const struct fresh *, uint64_t modseq);

#endif
