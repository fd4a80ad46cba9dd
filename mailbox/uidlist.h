/*
 * Which uid a file has: Dovecot's dovecot-uidlist, version 3 (version 1 is read).
 *
 *	3 V1700000000 N4 G5006390e3d800b6b4627000083ecc375
 *	1 :1700000000.M1P1.host,S=25,W=29
 *	3 W42 Gguid :1700000001.M2P1.host
 *
 * UIDVALIDITY, the next uid, the folder's GUID; then a record a line in ascending order: uid, other
 * fields by letter, and the file's name up to its flags. Records are appended under the lock, so the
 * next uid is the larger of N and the last record's successor. Records whose file is gone are left
 * until the file is rewritten.
 *
 * This list alone says which uids were given out. It is synced before a uid that it holds is told to
 * anybody.
 */
#ifndef MAILBOX_UIDLIST_H
#define MAILBOX_UIDLIST_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define UIDLIST_FILE      "dovecot-uidlist"
#define UIDLIST_MAX       (512 * 1024 * 1024) /* bytes that are read */
#define UIDLIST_EXTRA_MAX 1024                /* of a record's other fields */

struct uidlist_header {
	uint32_t uid_validity;
	uint32_t uid_next; /* of the header line alone, or after parsing of all of it */
	uint8_t guid[16];
	bool has_guid;
	unsigned version;
};

struct uidlist_record {
	uint32_t uid;
	const char *name; /* up to, without, ":2,"; not terminated */
	size_t name_length;
	const char *extra; /* "W42 Gguid", each letter and value; "" mostly; not terminated */
	size_t extra_length;
};

enum uidlist_verdict {
	UIDLIST_SOUND,
	UIDLIST_TORN, /* its last line has no end: that uid counts as given out, the record not */
	UIDLIST_DAMAGED, /* can't be relied on: a new UIDVALIDITY is due */
};

typedef void (*uidlist_visit)(void *arg, const struct uidlist_record *);
/* Parses the header line at the front; how many bytes it has, 0 when it is none. */
size_t uidlist_parse_header(const char *text, size_t length, struct uidlist_header *);
/*
 * Parses records, calling `visit` for each in ascending order of uids; `header` has its uid_next
 * raised. `*taken` is the length of whole lines read: where the next reading of a file that only
 * grew goes on. `visit` may have been called before damage is met.
 */
enum uidlist_verdict uidlist_parse_records(const char *text, size_t length, struct uidlist_header *,
    uidlist_visit visit, void *arg, size_t *taken);

/* What is written. */
void uidlist_format_header(struct buf *, const struct uidlist_header *);
void uidlist_format_record(struct buf *, const struct uidlist_record *);

/* The value of the field with this letter in `extra`; NULL when there is none. */
const char *uidlist_extra(const struct uidlist_record *, char letter, size_t *length);

#endif
