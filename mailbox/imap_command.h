/*
 * IMAP commands: the text that imap_input gathered in, typed values out. All of IMAP4rev1 and rev2
 * (RFC 3501, RFC 9051) and of the extensions whose names stand below. Nothing here knows of
 * mailboxes or sessions. Strings point into the text or belong to the command, as arrays do.
 *
 * Nothing recurses: search keys are an array, parents before their children.
 */
#ifndef MAILBOX_IMAP_COMMAND_H
#define MAILBOX_IMAP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/imap_pool.h"
#include "mailbox/imap_set.h"
#include "mailbox/imap_text.h"

#define IMAP_NESTING_MAX  100   /* of search keys */
#define IMAP_KEYS_MAX     10000 /* of a search */
#define IMAP_PARTS_MAX    64    /* numbers in a section: "1.2.3" */
#define IMAP_ITEMS_MAX    1000  /* of a FETCH, a LIST's patterns, METADATA's entries … */
#define IMAP_MESSAGES_MAX 1000  /* of a MULTIAPPEND */

enum imap_verb {
	IMAP_CAPABILITY,
	IMAP_NOOP,
	IMAP_LOGOUT,
	IMAP_ID, /* RFC 2971 */
	IMAP_STARTTLS,
	IMAP_LOGIN,
	IMAP_AUTHENTICATE,
	IMAP_ENABLE,
	IMAP_SELECT,
	IMAP_EXAMINE,
	IMAP_CREATE,
	IMAP_DELETE,
	IMAP_RENAME,
	IMAP_SUBSCRIBE,
	IMAP_UNSUBSCRIBE,
	IMAP_LIST,
	IMAP_LSUB,
	IMAP_NAMESPACE,
	IMAP_STATUS,
	IMAP_APPEND,
	IMAP_IDLE,
	IMAP_CHECK,
	IMAP_CLOSE,
	IMAP_UNSELECT,
	IMAP_EXPUNGE,
	IMAP_SEARCH,
	IMAP_SORT,   /* RFC 5256 */
	IMAP_THREAD, /* RFC 5256 */
	IMAP_FETCH,
	IMAP_STORE,
	IMAP_COPY,
	IMAP_MOVE,
	IMAP_REPLACE,  /* RFC 8508 */
	IMAP_GETQUOTA, /* RFC 9208 */
	IMAP_GETQUOTAROOT,
	IMAP_SETQUOTA,
	IMAP_GETMETADATA, /* RFC 5464 */
	IMAP_SETMETADATA,
	IMAP_NOTIFY,   /* RFC 5465 */
	IMAP_COMPRESS, /* RFC 4978 */
	IMAP_VERB_COUNT,
};

/* An array of strings. */
struct imap_strings {
	size_t count;
	struct imap_string *strings;
};

struct imap_select {
	struct imap_string mailbox;
	bool condstore; /* RFC 7162 3.1.8 */
	bool qresync;   /* RFC 7162 3.2.5 */
	uint32_t uidvalidity;
	uint64_t modseq;
	bool has_known;
	struct imap_set known_uids;
	bool has_match; /* pairs of number and UID that the client knows */
	struct imap_set match_numbers;
	struct imap_set match_uids;
};

/* Special uses (RFC 6154 2), as bits. */
enum imap_use {
	IMAP_USE_ALL = 0x01,
	IMAP_USE_ARCHIVE = 0x02,
	IMAP_USE_DRAFTS = 0x04,
	IMAP_USE_FLAGGED = 0x08,
	IMAP_USE_JUNK = 0x10,
	IMAP_USE_SENT = 0x20,
	IMAP_USE_TRASH = 0x40,
	IMAP_USE_OTHER = 0x80, /* one that nobody knows yet (RFC 6154 6) */
};

struct imap_create {
	struct imap_string mailbox;
	uint8_t use; /* IMAP_USE_*; 0 none */
};

enum imap_status_item {
	IMAP_STATUS_MESSAGES = 0x001,
	IMAP_STATUS_RECENT = 0x002,
	IMAP_STATUS_UIDNEXT = 0x004,
	IMAP_STATUS_UIDVALIDITY = 0x008,
	IMAP_STATUS_UNSEEN = 0x010,
	IMAP_STATUS_DELETED = 0x020,
	IMAP_STATUS_SIZE = 0x040,          /* RFC 8438 */
	IMAP_STATUS_HIGHESTMODSEQ = 0x080, /* RFC 7162 */
	IMAP_STATUS_MAILBOXID = 0x100,     /* RFC 8474 */
	IMAP_STATUS_APPENDLIMIT = 0x200,   /* RFC 7889 */
};

struct imap_status {
	struct imap_string mailbox;
	unsigned items; /* IMAP_STATUS_* */
};

/* RFC 5258, RFC 5819, RFC 6154. */
enum imap_list_option {
	IMAP_LIST_SUBSCRIBED = 0x01, /* selects; or returns */
	IMAP_LIST_REMOTE = 0x02,
	IMAP_LIST_RECURSIVEMATCH = 0x04,
	IMAP_LIST_SPECIAL_USE = 0x08,
	IMAP_LIST_CHILDREN = 0x10,
	IMAP_LIST_STATUS = 0x20,
};

struct imap_list {
	struct imap_string reference;
	struct imap_strings patterns;
	bool is_extended;      /* not as RFC 3501 has it */
	unsigned select;       /* IMAP_LIST_* */
	unsigned answer;       /* IMAP_LIST_*: RETURN's */
	unsigned status_items; /* of IMAP_LIST_STATUS */
};

struct imap_append_message {
	struct imap_flags flags;
	bool has_date;
	int64_t date; /* seconds since 1970 */
	bool is_binary;
	bool is_utf8;
	uint64_t size;
};
/* APPEND of one message or several (RFC 3502); REPLACE of one. */
struct imap_append {
	uint32_t replaced; /* REPLACE: number or UID; IMAP_SET_STAR */
	struct imap_string mailbox;
	size_t message_count;
	struct imap_append_message *messages;
};

enum imap_key {
	/* All of the children; any; none (of the one). */
	IMAP_KEY_AND,
	IMAP_KEY_OR,
	IMAP_KEY_NOT,
	IMAP_KEY_ALL,
	IMAP_KEY_FLAG,    /* flag is set */
	IMAP_KEY_KEYWORD, /* text */
	IMAP_KEY_RECENT,
	IMAP_KEY_NUMBERS, /* set */
	IMAP_KEY_UIDS,    /* set */
	/* days */
	IMAP_KEY_BEFORE,
	IMAP_KEY_ON,
	IMAP_KEY_SINCE,
	IMAP_KEY_SENT_BEFORE,
	IMAP_KEY_SENT_ON,
	IMAP_KEY_SENT_SINCE,
	IMAP_KEY_SAVED_BEFORE, /* RFC 8514 */
	IMAP_KEY_SAVED_ON,
	IMAP_KEY_SAVED_SINCE,
	IMAP_KEY_SAVE_DATE_SUPPORTED,
	/* number */
	IMAP_KEY_LARGER,
	IMAP_KEY_SMALLER,
	IMAP_KEY_OLDER, /* RFC 5032: seconds */
	IMAP_KEY_YOUNGER,
	IMAP_KEY_MODSEQ, /* RFC 7162 */
	/* text */
	IMAP_KEY_HEADER, /* field: its name */
	IMAP_KEY_BODY,
	IMAP_KEY_TEXT,
	IMAP_KEY_EMAILID, /* RFC 8474 */
	IMAP_KEY_THREADID,
};

struct imap_search_key {
	enum imap_key key;
	uint32_t parent;   /* the root is its own */
	uint32_t children; /* their number */
	uint8_t flag;      /* IMAP_FLAG_* */
	struct imap_set set;
	int32_t days;
	uint64_t number;
	struct imap_string field;
	struct imap_string text;
};

enum imap_search_answer {
	IMAP_SEARCH_MIN = 0x01,
	IMAP_SEARCH_MAX = 0x02,
	IMAP_SEARCH_ALL = 0x04,
	IMAP_SEARCH_COUNT = 0x08,
	IMAP_SEARCH_SAVE = 0x10, /* RFC 5182 */
};

enum imap_sort_key {
	IMAP_SORT_ARRIVAL,
	IMAP_SORT_CC,
	IMAP_SORT_DATE,
	IMAP_SORT_FROM,
	IMAP_SORT_SIZE,
	IMAP_SORT_SUBJECT,
	IMAP_SORT_TO,
};
struct imap_sort_criterion {
	enum imap_sort_key key;
	bool reverse;
};
enum imap_thread_algorithm {
	IMAP_THREAD_ORDEREDSUBJECT,
	IMAP_THREAD_REFERENCES,
};

/* SEARCH, SORT and THREAD. */
struct imap_search {
	bool is_extended;           /* RETURN was given: RFC 4731's answer */
	unsigned answer;            /* IMAP_SEARCH_* */
	struct imap_string charset; /* NULL: not given */
	size_t sort_count;
	struct imap_sort_criterion *sort;
	enum imap_thread_algorithm algorithm;
	size_t count;
	struct imap_search_key *keys; /* the first is the whole search */
};

enum imap_item {
	IMAP_ITEM_FLAGS,
	IMAP_ITEM_UID,
	IMAP_ITEM_INTERNALDATE,
	IMAP_ITEM_SIZE, /* RFC822.SIZE */
	IMAP_ITEM_ENVELOPE,
	IMAP_ITEM_BODY, /* the structure without extensions */
	IMAP_ITEM_BODYSTRUCTURE,
	IMAP_ITEM_SECTION,       /* BODY[…] */
	IMAP_ITEM_RFC822,        /* BODY[], under its old names */
	IMAP_ITEM_RFC822_HEADER, /* BODY.PEEK[HEADER] */
	IMAP_ITEM_RFC822_TEXT,   /* BODY[TEXT] */
	IMAP_ITEM_BINARY,        /* RFC 3516 */
	IMAP_ITEM_BINARY_SIZE,
	IMAP_ITEM_MODSEQ,  /* RFC 7162 */
	IMAP_ITEM_EMAILID, /* RFC 8474 */
	IMAP_ITEM_THREADID,
	IMAP_ITEM_SAVEDATE, /* RFC 8514 */
	IMAP_ITEM_PREVIEW,  /* RFC 8970 */
};

enum imap_section {
	IMAP_SECTION_WHOLE, /* of the part that the numbers name */
	IMAP_SECTION_HEADER,
	IMAP_SECTION_FIELDS,
	IMAP_SECTION_FIELDS_NOT,
	IMAP_SECTION_TEXT,
	IMAP_SECTION_MIME,
};

struct imap_fetch_item {
	enum imap_item item;
	bool peek; /* doesn't set \Seen */
	bool lazy; /* PREVIEW */
	enum imap_section section;
	size_t part_count;
	uint32_t *parts;
	struct imap_strings fields;
	bool is_partial;
	uint64_t offset;
	uint64_t length;
};

struct imap_items {
	size_t count;
	struct imap_fetch_item *items;
};

struct imap_fetch {
	struct imap_set set;
	struct imap_items items;
	bool has_changed_since; /* RFC 7162 3.1.4.1 */
	uint64_t changed_since;
	bool vanished; /* RFC 7162 3.2.6 */
};

enum imap_store_how {
	IMAP_STORE_SET,
	IMAP_STORE_ADD,
	IMAP_STORE_REMOVE,
};
struct imap_store {
	struct imap_set set;
	enum imap_store_how how;
	bool silent;
	bool has_unchanged_since; /* RFC 7162 3.1.3 */
	uint64_t unchanged_since;
	struct imap_flags flags;
};

/* COPY and MOVE; EXPUNGE by UID has a set only. */
struct imap_copy {
	struct imap_set set;
	struct imap_string mailbox;
};

enum imap_depth {
	IMAP_DEPTH_0,
	IMAP_DEPTH_1,
	IMAP_DEPTH_INFINITY,
};
struct imap_metadata_entry {
	struct imap_string name;
	struct imap_string value; /* SETMETADATA; NIL removes it */
};
struct imap_metadata {
	struct imap_string mailbox; /* "": the server's own */
	bool has_size_limit;
	uint32_t size_limit;
	enum imap_depth depth;
	size_t count;
	struct imap_metadata_entry *entries;
};

enum imap_notify_filter {
	IMAP_NOTIFY_SELECTED,
	IMAP_NOTIFY_SELECTED_DELAYED,
	IMAP_NOTIFY_INBOXES,
	IMAP_NOTIFY_PERSONAL,
	IMAP_NOTIFY_SUBSCRIBED,
	IMAP_NOTIFY_SUBTREE,   /* mailboxes */
	IMAP_NOTIFY_MAILBOXES, /* mailboxes */
};
enum imap_notify_event {
	IMAP_NOTIFY_MESSAGE_NEW = 0x01,
	IMAP_NOTIFY_MESSAGE_EXPUNGE = 0x02,
	IMAP_NOTIFY_FLAG_CHANGE = 0x04,
	IMAP_NOTIFY_ANNOTATION_CHANGE = 0x08,
	IMAP_NOTIFY_MAILBOX_NAME = 0x10,
	IMAP_NOTIFY_SUBSCRIPTION_CHANGE = 0x20,
	IMAP_NOTIFY_MAILBOX_METADATA_CHANGE = 0x40,
	IMAP_NOTIFY_SERVER_METADATA_CHANGE = 0x80,
};
struct imap_notify_group {
	enum imap_notify_filter filter;
	struct imap_strings mailboxes;
	unsigned events;         /* IMAP_NOTIFY_*; 0: NONE */
	struct imap_items items; /* of MESSAGE_NEW */
	bool unknown_event;      /* answered with BADEVENT (RFC 5465 5) */
};
struct imap_notify {
	bool none;
	bool status; /* of all mailboxes first */
	size_t count;
	struct imap_notify_group *groups;
};

struct imap_command {
	struct imap_string tag; /* "*" when it can't be read */
	enum imap_verb verb;
	bool uid;        /* UID COPY, FETCH, … */
	const char *why; /* words for BAD; NULL: all is well */
	bool no_memory;  /* that was the reason: NO */
	struct imap_pool pool;
	union {
		struct imap_string mailbox; /* DELETE, SUBSCRIBE, UNSUBSCRIBE, GETQUOTAROOT */
		struct imap_strings words;  /* ENABLE; ID: name, value, name, value (NIL: none) */
		struct {
			struct imap_string user;
			struct imap_string password;
		} login;
		struct {
			struct imap_string mechanism;
			bool has_initial; /* RFC 4959; "=" is an empty one */
			struct imap_string initial;
		} authenticate;
		struct imap_select select; /* EXAMINE too */
		struct imap_create create;
		struct {
			struct imap_string from;
			struct imap_string to;
		} rename;
		struct imap_list list; /* LSUB too */
		struct imap_status status;
		struct imap_append append; /* REPLACE too */
		struct imap_search search; /* SORT and THREAD too */
		struct imap_fetch fetch;
		struct imap_store store;
		struct imap_copy copy;         /* MOVE; UID EXPUNGE */
		struct imap_string quota_root; /* GETQUOTA, SETQUOTA (its values aren't kept) */
		struct imap_metadata metadata;
		struct imap_notify notify;
		struct imap_string compression; /* "DEFLATE" */
	};
};

/* Parses the text of a command. Whatever comes of it, imap_command_free() ends it. */
void imap_command_parse(struct imap_command *, const char *text, size_t length);
/* Parses a command as far as it goes before its next message's literal, which was just announced
 * (IMAP_INPUT_MESSAGE): tag, mailbox and that message's flags and date. */
void imap_command_parse_so_far(struct imap_command *, const char *text, size_t length);
void imap_command_free(struct imap_command *);
const char *imap_verb_name(enum imap_verb);

#endif
