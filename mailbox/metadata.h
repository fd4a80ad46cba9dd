/*
 * Annotations (RFC 5464) of one folder, or with folder "" of the server: entry names like
 * "/private/comment" with values of any bytes, in the small file postern.metadata of the folder's
 * directory (postern.server-metadata of the Maildir). Written durably before a change is
 * acknowledged. A damaged file is as none, and said in the log.
 */
#ifndef MAILBOX_METADATA_H
#define MAILBOX_METADATA_H

#include <stddef.h>
#include <stdint.h>

#include "mailbox/maildir.h"

#define METADATA_ENTRIES_MAX 64
#define METADATA_ENTRY_MAX   255   /* an entry's name */
#define METADATA_VALUE_MAX   65536 /* RFC 5464 4.2.1: told as MAXSIZE */
#define METADATA_TOTAL_MAX   (1024 * 1024)

struct metadata_entry {
	char *name; /* in lower case: they are case-insensitive (RFC 5464 3.1) */
	uint8_t *value;
	size_t length;
};
struct metadata {
	struct metadata_entry *entries; /* sorted by name */
	size_t count;
};

/* MAIL_ABSENT when there is no such folder; no entries is MAIL_OK and none. */
enum mail_result metadata_load(struct maildir *, const char *folder, struct metadata *);
void metadata_free(struct metadata *);
const struct metadata_entry *metadata_find(const struct metadata *, const char *name);
/* Sets one entry; `value` NULL removes it. Names begin with /private/ or /shared/, without "*" and
 * "%", else MAIL_BAD_NAME. */
enum mail_result metadata_set(
    struct maildir *, const char *folder, const char *name, const void *value, size_t length);

#endif
