/*
 * Sieve (RFC 5228): scripts with which the owner of a mailbox says what becomes of mail for it. A script is
 * compiled once, which finds every error that can be found without a message, and run for each
 * message. A run has no effect: it says what is to be done, and the caller does that.
 *
 * The extensions are listed in `sieve_extensions`. Everything is bounded, since scripts and mail are
 * both strangers' work: the script, its nesting, variables, actions, and the steps of one run.
 *
 * No library: libsieve (2.2.6) is orphaned in Debian, and knows neither variables, date, copy nor
 * duplicate; mailutils' carries out actions itself, with folders and programs of its own, and brings
 * Guile, Python, GnuTLS, LDAP and SQL into the process; Pigeonhole's links Dovecot's storage and works
 * with nothing else.
 */
#ifndef COMMON_SIEVE_H
#define COMMON_SIEVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"

#define SIEVE_SCRIPT_MAX    (64 * 1024)   /* bytes of a script */
#define SIEVE_NAME_MAX      128           /* bytes of a script's name */
#define SIEVE_ERROR_MAX     256           /* room for any error's words */
#define SIEVE_WARNINGS_MAX  512           /* for those of all warnings */
#define SIEVE_HEADER_MAX    (256 * 1024)  /* of a message's header, what tests see */
#define SIEVE_TEXT_MAX      (1024 * 1024) /* of a message, what tests of the body see */
#define SIEVE_ACTIONS_MAX   32
#define SIEVE_REDIRECTS_MAX 4
#define SIEVE_REASON_MAX    8192  /* bytes of a reply's text */
#define SIEVE_STRING_MAX    16384 /* of a string with variables in it, and of a variable */
#define SIEVE_FOLDER_MAX    512
#define SIEVE_FLAGS_MAX     1024

/* The names of all extensions, with a space between each two: ManageSieve's SIEVE. */
extern const char sieve_extensions[];

/* A script's name (RFC 5804 1.6) that can be a file's here as well: UTF-8 of 1 to SIEVE_NAME_MAX bytes
 * without controls, "/" and a dot at its beginning. */
bool sieve_name_is_valid(const char *name);

struct sieve;

/* Compiles a script. NULL with words for its author in `error`: "line 3: unknown command \"foo\"". */
struct sieve *sieve_compile(const char *text, size_t length, char *error, size_t error_size);
void sieve_free(struct sieve *);
/* Words of what is hardly meant, a line for each; "" for none. */
const char *sieve_warnings(const struct sieve *);
/* Whether it tests the body, so that the message's text is wanted and not only its header. */
bool sieve_needs_body(const struct sieve *);

/* What a script may ask of its message, borrowed for the time of the run. */
struct sieve_message {
	const char
	    *text;     /* from its beginning, line ends LF or CRLF; nothing past SIEVE_TEXT_MAX is
	                   * looked at */
	size_t length; /* of what is there: the header at least */
	uint64_t size; /* of the whole message (RFC 5228 5.9) */
	const struct address *sender;    /* the envelope's; null for bounces */
	const struct address *recipient; /* the envelope's, as RCPT had it */
	const struct address *owner;     /* the mailbox's own address; may be the same */
	const char *delimiters;          /* of "+detail" in addresses (RFC 5233) */
	int64_t now;                     /* wall clock, seconds */
	/* RFC 5490: whether the folder, named in UTF-8 with "." between levels, is there. May be NULL. */
	bool (*mailbox_exists)(void *arg, const char *name);
	/* RFC 7352: whether this id was seen within `seconds`; it is remembered, from now on if `last`
	 * or if it is new, by the caller once the delivery succeeded. May be NULL: nothing is. */
	bool (*is_duplicate)(
	    void *arg, const char *handle, const char *id, uint32_t seconds, bool last);
	void *arg;
};

enum sieve_action_kind {
	SIEVE_KEEP,     /* where it goes without a script, implicit or not */
	SIEVE_FILEINTO, /* into `folder` */
	SIEVE_REDIRECT, /* to `to` */
	SIEVE_REJECT,   /* back to the sender with `text`; nothing else is then kept or filed */
	SIEVE_VACATION, /* a reply to the sender, as far as the script and its message have it
	                 * (RFC 5230 4.5, 4.6, RFC 3834 2); whether the sender has had one lately is
	                 * the caller's to know */
};

struct sieve_action {
	enum sieve_action_kind kind;
	char *folder;      /* SIEVE_FILEINTO: clean (folder_name.h), "INBOX" too */
	bool create;       /* SIEVE_FILEINTO: :create */
	char *flags;       /* SIEVE_KEEP, SIEVE_FILEINTO: "\Seen $label"; "" or NULL: none */
	struct address to; /* SIEVE_REDIRECT */
	char *text;        /* SIEVE_REJECT, SIEVE_VACATION: UTF-8, line ends LF */
	/* SIEVE_VACATION: */
	char *subject;    /* of the reply, or "" */
	char *from;       /* as given, or "" */
	char *handle;     /* what tells this reply from the owner's others; never "" */
	bool is_mime;     /* `text` is a MIME entity, its header included */
	uint32_t seconds; /* until the same sender may have it again */
};

/* What a run comes to. No action at all: the message is discarded. */
struct sieve_result {
	struct sieve_action actions[SIEVE_ACTIONS_MAX]; /* in the script's order */
	size_t count;
	char error
	    [SIEVE_ERROR_MAX]; /* not "": the run failed (no memory, too many steps, …), and the
	                              * one action is SIEVE_KEEP */
};

/* Runs it. The implicit keep is among the actions where it is due. */
void sieve_run(const struct sieve *, const struct sieve_message *, struct sieve_result *);
void sieve_result_free(struct sieve_result *);

#endif
