/* One reading of a folder's directories, while it goes on; for folder_scan.c. */
#ifndef MAILBOX_FOLDER_SCAN_H
#define MAILBOX_FOLDER_SCAN_H

#include "mailbox/folder_state.h"

/* A file that is no known message yet. */
struct fresh {
	char *base;       /* owned, and followed by info */
	char *info;       /* "" or ":2,FS" */
	const char *guid; /* the list's, or NULL; not terminated */
	size_t guid_length;
	uint32_t uid; /* the list's, or 0 */
	bool in_new;
};

/* Numbers by name: several may share a hash. */
struct name_map {
	uint64_t *slots; /* hash and number + 1; 0 free */
	size_t mask;
};
bool name_map_init(struct name_map *, size_t names);
void name_map_free(struct name_map *);
void name_map_add(struct name_map *, const char *name, size_t length, uint32_t number);
/* The next candidate for this name; `*cursor` starts at 0. */
bool name_map_next(
    const struct name_map *, const char *name, size_t length, size_t *cursor, uint32_t *number);

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

/* Adds a message that has its uid to the end of the array. */
bool folder_take_new(struct folder *, const struct fresh *, uint64_t modseq);

#endif
