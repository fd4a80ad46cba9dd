/*
 * An open folder, shared by all sessions of this process: its messages by uid, their flags, and
 * every change to them. The files and Dovecot's uidlist are what counts; an index of our own
 * (index.h) only saves reading them again.
 *
 * One thread, no callbacks: a change made here or found on the disk raises the folder's modseq, and
 * each session catches up by its view (folder_view.h).
 *
 * Modseqs (RFC 7162) are microseconds since 1970, or one more than the last where that isn't larger:
 * so an index lost in a crash, or another server's before, never makes a modseq come twice.
 *
 * What is told to last, does: append, copy, move and expunge are synced to the disk before they
 * return, and so are uids before anybody hears of them. Flags aren't: after a power cut the last
 * seconds' may be the old ones.
 */
#ifndef MAILBOX_FOLDER_H
#define MAILBOX_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/keywords.h"
#include "mailbox/maildir.h"

struct folder;

/* message.bits: keywords are bits 0 to 25, a to z. */
#define MESSAGE_KEYWORDS ((1u << KEYWORDS_COUNT) - 1)
#define MESSAGE_ANSWERED (1u << 26) /* R */
#define MESSAGE_DELETED  (1u << 27) /* T */
#define MESSAGE_DRAFT    (1u << 28) /* D */
#define MESSAGE_FLAGGED  (1u << 29) /* F */
#define MESSAGE_SEEN     (1u << 30) /* S */
#define MESSAGE_FLAGS \
	(MESSAGE_ANSWERED | MESSAGE_DELETED | MESSAGE_DRAFT | MESSAGE_FLAGGED | MESSAGE_SEEN)
#define MESSAGE_IN_NEW (1u << 31) /* couldn't be moved to cur/ */

/* 48 bytes a message and its file's name. */
struct message {
	uint64_t modseq;
	uint64_t size; /* the file's; see folder_message_size() */
	uint32_t uid;
	uint32_t name;          /* where in the folder's names; see folder_message_name() */
	uint32_t bits;          /* above */
	uint32_t added;         /* CRs that line ends lack; UINT32_MAX: not known yet */
	uint32_t internal_date; /* seconds since 1970; 0: not known yet */
	uint32_t save_date;     /* the same */
	uint32_t cached;        /* where in the cache file, 0 nowhere */
	uint32_t expunged; /* 0, or the number of the change that removed it: see folder_view.h */
};

/*
 * Opens a folder by its clean name, or shares the one that is open; synchronised with the disk.
 * NULL and why. Each folder_open() needs a folder_release(); the last one writes the index.
 */
struct folder *folder_open(struct maildir *, const char *name, enum mail_result *why);
/*
 * The same, but where the index says how many messages there are, and nothing has changed since it
 * was written, they aren't read yet. Then folder_need() must come before anything that looks at one
 * of them, at their number by uid, or at what vanished; what is declared before folder_count() needs
 * none of it. MAIL_ABSENT: the folder isn't what it was, as with folder_sync().
 */
struct folder *folder_open_soon(struct maildir *, const char *name, enum mail_result *why);
enum mail_result folder_need(struct folder *) __attribute__((warn_unused_result));
/* How many messages it has was told, and wasn't so: no session can go on with it. */
bool folder_is_void(const struct folder *);
void folder_release(struct folder *);
/* Writes the index if anything changed; for quiet moments. A failure is logged and harmless. */
void folder_save(struct folder *);

/*
 * Looks what others did: new mail (moved from new/ to cur/ and given uids), flags, removals.
 * Reads only what changed. MAIL_BUSY: somebody keeps the lock, what was known stays valid.
 * MAIL_ABSENT: the folder was deleted; all its messages are then expunged.
 */
enum mail_result folder_sync(struct folder *) __attribute__((warn_unused_result));
/* Whether folder_sync() has anything to look at; by the watch, or where there is none by the
 * directories' times. */
bool folder_is_changed(struct folder *);
/* Deleted, renamed by somebody else, or its uids are void: all its messages are then expunged. */
bool folder_is_gone(struct folder *);

const char *folder_name(const struct folder *);
uint32_t folder_uid_validity(const struct folder *);
uint32_t folder_uid_next(const struct folder *);
uint64_t folder_highest_modseq(const struct folder *); /* never 0 */
/* MAILBOXID (RFC 8474): "F" and 32 digits; kept when it is renamed. */
void folder_mailbox_id(const struct folder *, char id[34]);
const struct keywords *folder_keywords(const struct folder *);
/* The first uid that no session has been told of as recent (RFC 3501 2.3.2); all from there on are
 * this caller's. With `claim` false (EXAMINE, STATUS) they stay recent for the next. */
uint32_t folder_recent(struct folder *, bool claim);

/* How many messages stand before the first one without \Seen. */
size_t folder_first_unseen(struct folder *);

struct folder_counts {
	size_t messages;
	size_t unseen;
	size_t deleted;
	uint64_t size; /* of all as sent, STATUS=SIZE (RFC 8438); see folder_message_size() */
	uint64_t deleted_size;
};
/* Counted as it is now, without regard to views. Sizes only when `sizes` is set. */
enum mail_result folder_count(struct folder *, bool sizes, struct folder_counts *);

/*
 * Messages by position, 0 up to folder_length(), in order of uid; those with `expunged` set are gone
 * and only kept for sessions that haven't been told. Pointers are valid until the next call that
 * changes or synchronises the folder.
 */
size_t folder_length(const struct folder *);
struct message *folder_at(struct folder *, size_t position);
/* NULL when there is none or it is expunged. */
struct message *folder_find(struct folder *, uint32_t uid);
/* The position of the first message with at least this uid; folder_length() when none has. */
size_t folder_position(const struct folder *, uint32_t uid);

/* Without its flags; static, until the next call. */
const char *folder_message_name(struct folder *, const struct message *);
/* RFC822.SIZE: with CRLF line ends. Reads the file when its name doesn't say. */
enum mail_result folder_message_size(struct folder *, struct message *, uint64_t *size);
/* INTERNALDATE and SAVEDATE (RFC 8514), seconds since 1970; looks at the file when not known. */
enum mail_result folder_message_dates(
    struct folder *, struct message *, int64_t *internal, int64_t *saved);
/* EMAILID (RFC 8474): "M" and 32 digits, the same for copies. */
void folder_message_email_id(struct folder *, const struct message *, char id[34]);
/*
 * Opens the message's file for reading; its bytes are as stored, mostly with LF line ends. The
 * caller closes `*fd`; `*size` is the file's size now. MAIL_EXPUNGED when the file is gone, after
 * having looked for it under another name.
 */
enum mail_result folder_message_open(struct folder *, uint32_t uid, int *fd, uint64_t *size);

/* What was found out about a message once and is kept in the cache file: a few KiB each. */
enum folder_cached {
	CACHED_ENVELOPE,
	CACHED_BODY,
	CACHED_STRUCTURE,
	CACHED_PREVIEW,
	CACHED_SORT, /* what SORT and SEARCH by date need */
	CACHED_THREAD,
	CACHED_PARTS, /* offsets, for FETCH of sections */
	CACHED_KINDS
};
#define CACHED_MAX (256 * 1024)
/* False when there is none. On success `*data` is lent until the next call. */
bool folder_cache_get(
    struct folder *, const struct message *, enum folder_cached, const void **data, size_t *length);
/* Not being able to keep it is no error. */
void folder_cache_put(
    struct folder *, struct message *, enum folder_cached, const void *data, size_t length);

/* --- changes; folder_change.c, folder_append.c, folder_copy.c --- */

enum folder_store {
	STORE_ADD,
	STORE_REMOVE,
	STORE_REPLACE,
};
/*
 * Changes flags and keywords (`bits`) of the messages with these ascending uids. With
 * `unchanged_since` (RFC 7162 3.1.3; UINT64_MAX none) those changed later are left and their uids
 * put to `failed` (room for `count`). Messages that are gone are passed over. Those changed have
 * then a modseq above the folder's before. Keywords get their bits by folder_keyword().
 */
enum mail_result folder_store(struct folder *, const uint32_t *uids, size_t count,
    enum folder_store, uint32_t bits, uint64_t unchanged_since, uint32_t *failed,
    size_t *failed_count);
/* The bit for a keyword, given one if `create`; MAIL_ABSENT, MAIL_LIMIT, MAIL_BAD_NAME. */
enum mail_result folder_keyword(struct folder *, const char *name, bool create, uint32_t *bit);

/* Removes the messages with these ascending uids, for good when it returns. Those already gone are
 * passed over. */
enum mail_result folder_expunge(struct folder *, const uint32_t *uids, size_t count);

/* Uids that went away after `modseq`, as ranges, ascending (RFC 7162 3.2.5.2: VANISHED EARLIER). */
struct uid_range {
	uint32_t first;
	uint32_t last;
};
/*
 * Ranges are those of `known` (ascending; NULL: all) and may hold more than was asked for, uids that
 * never were or went earlier, when the history doesn't reach so far back. The caller frees
 * `*ranges`. False when memory is short.
 */
bool folder_vanished(struct folder *, uint64_t modseq, const struct uid_range *known,
    size_t known_count, struct uid_range **ranges, size_t *count);

/* One message on its way in: written to tmp/ as it comes. */
struct append;
/* `expected`: its announced size; MAIL_OVER_QUOTA before a byte is read when it can't fit. */
enum mail_result append_begin(struct folder *, uint64_t expected, struct append **);
/* CRLF become LF, as the mda stores them. After a failure the rest is taken and dropped, and the
 * failure told by folder_append(). */
void append_write(struct append *, const void *data, size_t length);
/* `internal_date` 0: now. `bits` as of folder_keyword(). */
void append_set(struct append *, uint32_t bits, int64_t internal_date);
/* Removes it; also after folder_append(). */
void append_free(struct append *);
/*
 * Puts all in place, or none (RFC 3502); durable when it returns MAIL_OK with their uids, which are
 * ascending in order.
 */
enum mail_result folder_append(
    struct folder *, struct append *const *, size_t count, uint32_t *uids);

/*
 * Copies (RFC 9051 6.4.7: all or none) or moves (RFC 6851: each by one rename, so that no kill loses
 * or doubles it) messages with these ascending uids to `to`, which may be the same folder. Those
 * gone meanwhile are passed over. `from_uids` and `to_uids` (room for `count`) become the pairs of
 * COPYUID, `*done` their number: for a move that failed midway those that were moved.
 */
enum mail_result folder_copy(struct folder *, const uint32_t *uids, size_t count, struct folder *to,
    uint32_t *from_uids, uint32_t *to_uids, size_t *done);
enum mail_result folder_move(struct folder *, const uint32_t *uids, size_t count, struct folder *to,
    uint32_t *from_uids, uint32_t *to_uids, size_t *done);

#endif
