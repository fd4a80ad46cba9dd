/*
 * What an open folder consists of; for the folder's own files (folder*.c, index.c, cache.c) and
 * maildir.c alone.
 */
#ifndef MAILBOX_FOLDER_STATE_H
#define MAILBOX_FOLDER_STATE_H

#include <sys/types.h>
#include <time.h>

#include "mailbox/folder.h"
#include "common/folder_name.h"
#include "common/lock.h"
#include "mailbox/uidlist.h"

/* Removals that are remembered for QRESYNC; older ones are answered with too much. */
#define VANISHED_MAX 32768

/* A file as it was when it was last read. */
struct file_state {
	uint64_t inode;
	uint64_t size;
	int64_t changed_ns;
};

struct vanished {
	uint64_t modseq;
	uint32_t uid;
	uint32_t unused;
};

/* What the index file keeps; the rest is found out. */
struct folder_content {
	struct message *messages;
	size_t count;
	size_t capacity;
	/*
	 * Of each message three strings, each with its NUL: the file's name up to its flags; what
	 * follows that in the name when it isn't just ":2," and the flags we know, in order, with
	 * "=" before it; and the GUID that the uidlist gives it. The latter two are mostly empty.
	 */
	char *names;
	size_t names_length;
	size_t names_capacity;
	size_t names_dead;         /* bytes of it that are no message's any more */
	struct vanished *vanished; /* ascending modseqs */
	size_t vanished_count;
	uint64_t vanished_since; /* all removals after this modseq are known */
	uint64_t highest_modseq;
	struct uidlist_header header;
	struct file_state uidlist;
	uint64_t uidlist_taken;   /* bytes of it that are known */
	uint64_t uidlist_records; /* lines of it, sound or outdated */
	uint32_t uidlist_crc;     /* of its first and last known bytes: inodes are used again */
	int64_t new_ns;           /* the directories' times when they were last known; 0 never */
	int64_t cur_ns;
	uint32_t recent; /* first uid that no session was told of as recent */
	uint64_t
	    unseen; /* how many stand before the first one without \Seen; only index_begin()'s */
	uint64_t cache_id;
	uint64_t cache_size; /* bytes of the cache file that are in order */
	uint64_t cache_dead; /* bytes of it that nobody refers to */
};

struct folder_view {
	struct folder_view *next;
	struct folder *folder;
	size_t shown; /* positions below this are visible, less the removals taken */
	size_t told;  /* positions below this had their flags told, up to `modseq` */
	uint64_t modseq;
	uint32_t change;   /* removals up to this change were taken */
	uint32_t taking;   /* will be, when the walk at `next_taken` is through */
	size_t next_taken; /* a position */
	uint32_t *hidden;  /* sorted positions of removals taken, below `shown` */
	size_t hidden_count;
	size_t hidden_capacity;
};

struct folder {
	struct folder *next;
	struct maildir *maildir;
	unsigned references;
	char name[FOLDER_NAME_SIZE];
	char disk[FOLDER_DISK_MAX + 2]; /* for the log, too */
	int directory;
	int new;
	int cur;
	int tmp;
	struct folder_content content;
	struct keywords keywords;
	size_t expunged; /* how many messages are marked so */
	size_t found; /* where folder_find() found the last one: mostly it's the same or the next */
	uint32_t change; /* the last removal's number */
	struct folder_view *views;
	bool published; /* somebody has seen uids: those to come must be larger */
	bool is_void;   /* see folder_is_void(); detached then, too */
	bool detached;  /* deleted, or its uids are void: not in maildir->open any more */
	bool unsaved;
	bool new_changed;
	bool cur_changed;
	enum mail_result unlocked; /* why folder_lock_if_possible() had to do without; MAIL_OK */
	int64_t scan_due_ms;       /* without a watch, after changes of our own; 0 not */
	int watch_new;             /* -1: not watched */
	int watch_cur;
	int index; /* what isn't read of the index yet: see folder_load.c; -1: all is */
	int cache; /* descriptor, -1 not open */
	struct cache_reading *reading; /* what folder_cache_get() lends; NULL: nothing was read */
};

/* --- folder.c --- */
int64_t folder_time_ns(const struct timespec *);
/* Something changes now: the modseq that this change gets, above all before. */
uint64_t folder_next_modseq(struct folder *);
/* Logs with folder and name; see maildir_failed(). */
enum mail_result folder_failed(struct folder *, const char *doing, const char *name);
/* Room for one more message, zeroed, not counted yet; NULL without memory. */
struct message *folder_new_message(struct folder *);
/* Puts the three strings; false without memory. */
bool folder_set_names(struct folder *, struct message *, const char *base, size_t base_length,
    const char *info, const char *guid, size_t guid_length);
/* Its flags, which `bits` has by now, are written so in the file's name. */
bool folder_set_info(struct folder *, struct message *, const char *info);
/* Makes the names small again when many are outdated. */
void folder_tidy_names(struct folder *);
/* The file's name as it is in its directory. */
void folder_disk_name(struct folder *, const struct message *, char name[512]);
const char *folder_guid(struct folder *, const struct message *);
/* Adds base + info with these flags; false when that is no name for a file. */
bool folder_name_with_flags(struct folder *, const struct message *, uint32_t bits, char name[512]);
/* ":2," and the flags in their order. */
void folder_usual_info(uint32_t bits, char info[40]);
/* The flags in what follows a name's base. */
uint32_t folder_info_bits(const char *info);
/* Marks it removed; its modseq is that of this change. */
void folder_mark_expunged(struct folder *, struct message *, uint64_t modseq);
/* Drops from the array what all views have taken. */
void folder_compact(struct folder *);
/* Nothing in it counts any more: all is expunged, and the next folder_open() begins anew. */
void folder_detach(struct folder *);
/* So many bytes and messages came or went, for the quota. */
void folder_account(struct folder *, int64_t bytes, int64_t messages);
uint64_t folder_file_size(struct folder *, const struct message *);

/* --- maildir.c: what this process itself does in watched directories --- */
void maildir_watch_folder(struct maildir *, struct folder *);
void maildir_unwatch_folder(struct maildir *, struct folder *);
void maildir_expect(
    struct maildir *, struct folder *, bool in_cur, uint32_t event, const char *name);

/* --- folder_uids.c: dovecot-uidlist on the disk; all but the last under its lock --- */
enum mail_result folder_lock(struct folder *, struct lock *);
/*
 * Where nobody can make a lock file, on a disk that is full or read-only, this does without:
 * who reads directories bears that files are renamed and removed, and the list isn't written then.
 * So mail can be read, and flagged and removed to make room.
 */
enum mail_result folder_lock_if_possible(struct folder *, struct lock *);
void folder_unlock(struct folder *, struct lock *);
/* The list's records that this process doesn't know yet, or all of it. */
struct uidlist_news {
	char *text; /* owned; records point into it */
	struct uidlist_record *records;
	size_t count;
	bool whole; /* the list was read from its beginning */
};
/*
 * Brings header and identity up to date; damage and absence end in a new list. MAIL_ABSENT: the
 * UIDVALIDITY isn't what it was: all that is known is void.
 */
enum mail_result uidlist_refresh(struct folder *, struct uidlist_news *);
void uidlist_news_free(struct uidlist_news *);
/* Appends records, synced. header.uid_next is raised. */
enum mail_result uidlist_append(struct folder *, const struct uidlist_record *, size_t count);
/* Writes it anew when most of it is outdated. */
void uidlist_tidy(struct folder *);
/* Its state is what the folder knows. */
bool uidlist_is_known(struct folder *);

/* --- folder_scan.c --- */
/*
 * Reads the directories that changed, under the lock. With `first` nobody has seen anything of the
 * folder yet: then any uid can be added. MAIL_ABSENT: the uids known are void.
 */
enum mail_result folder_scan(struct folder *, bool first);

/* --- folder_load.c --- */
/* The first look at the disk, with the index's help where there is a sound one; not `whole`: only
 * as much as tells how many there are. */
enum mail_result folder_load(struct folder *, bool whole);
/* Nothing is known of it any more, and no session sees anything of it. */
void folder_forget(struct folder *);

/* --- folder_times.c --- */
/* new/ and cur/ have the times that they had when they were last known, long enough ago. */
bool folder_times_are_known(struct folder *);
/* Notes them, when nobody else changed anything meanwhile; else they count as unknown. */
void folder_note_times(struct folder *);
/* The directory's time of change; and whether that is long enough ago for another change to show. */
int64_t folder_directory_ns(int directory);
bool folder_is_quiet_since(int64_t time_ns);

/* --- index.c --- */
/* Opens the index and takes what its header says; the rest is to be read yet, and messages and names
 * are NULL, however many it has. False when there is none, or it isn't sound. */
bool index_begin(struct folder *);
/* Reads all of it. False when it isn't sound: then there is nothing in the content. */
bool index_finish(struct folder *);
bool index_store(struct folder *);
/* Takes an index file's bytes apart; false when anything in it isn't sound. Owns what it
 * allocates: index_content_free(). */
bool index_parse(const uint8_t *data, size_t length, struct folder_content *);
void index_content_free(struct folder_content *);
/* The checksum that belongs into an index of these bytes, at its end; for tests. */
uint32_t index_checksum(const uint8_t *data, size_t length);

/* --- cache.c --- */
void cache_close(struct folder *);
/* Gives the memory for reading back. */
void cache_rest(struct folder *);
/* Writes the cache file anew when much of it is dead. */
void cache_tidy(struct folder *);

#endif
