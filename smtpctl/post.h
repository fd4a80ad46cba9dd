/*
 * A message that a program of this machine submits: what sendmail makes of its arguments and its
 * input, what is kept while there is no server, and what goes to it over its local socket.
 *
 *	post.c           the envelope, and the text on its way out
 *	post_header.c    the header: whom it names, and what is put right in it
 *	post_dialogue.c  SMTP with the server
 */
#ifndef SMTPCTL_POST_H
#define SMTPCTL_POST_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"
#include "common/envelope.h"

#define POST_HEADER_MAX     (1024 * 1024) /* bytes of all fields: what the server takes by default */
#define POST_RECIPIENTS_MAX 10000
#define POST_NAME_MAX       100 /* bytes of a full name */

struct post {
	struct address sender;        /* without a domain: of this machine; null: <> */
	struct address author;        /* of From: where the header has none; never null */
	char name[POST_NAME_MAX + 1]; /* that goes with it, or "" */
	struct address *recipients;   /* some perhaps without a domain */
	size_t recipient_count;
	uint8_t notify; /* DSN_NOTIFY_*; 0: not said */
	enum dsn_return dsn_return;
	char envid[DSN_ENVID_MAX + 1];

	int fd;            /* the text; owned, -1: none yet */
	off_t start;       /* where in the file it begins */
	off_t body;        /* and its body */
	struct buf header; /* as it came, each line with an LF */
};

void post_init(struct post *);
void post_free(struct post *);

/* Once each, however often they are given. False, with a reason in `why`, when there are too many,
 * or the text is no list of mailboxes. */
bool post_add_recipients(struct post *, const char *text, size_t length, char *why, size_t size)
    __attribute__((warn_unused_result));
/* "never", or some of "success,failure,delay". */
bool post_set_notify(struct post *, const char *words) __attribute__((warn_unused_result));
/* "full" or "hdrs". */
bool post_set_return(struct post *, const char *word) __attribute__((warn_unused_result));
/* A sender's mailbox; "" and "<>" are the null one. */
bool post_parse_sender(const char *text, struct address *) __attribute__((warn_unused_result));

/* Reads the header of the text, which begins at `start` of `fd`. False with a reason. */
bool post_load_header(struct post *, char *why, size_t size) __attribute__((warn_unused_result));
/* Adds those that To, Cc and Bcc name; of a message that is sent again, Resent-To and so on. */
bool post_add_named_recipients(struct post *, char *why, size_t size)
    __attribute__((warn_unused_result));
/* The header as it goes out, with CRLF and the empty line behind it: addresses without a domain get
 * `host`, and there is a From. False when it can't be kept in memory. */
bool post_compose_header(const struct post *, const char *host, struct buf *)
    __attribute__((warn_unused_result));

typedef bool (*post_sink_fn)(void *arg, const void *data, size_t length);
/*
 * Header and body with CRLF as the end of every line, a lone CR being one too; `stuffed`: with a dot
 * more in front of lines that begin with one (RFC 5321 4.5.2). False when the file can't be read or
 * the sink says so.
 */
bool post_write(const struct post *, const struct buf *header, bool stuffed, post_sink_fn,
    void *arg) __attribute__((warn_unused_result));

enum post_result {
	POST_SENT,
	POST_LATER,   /* the server can't now, or isn't there any more */
	POST_REFUSED, /* it never will */
};

/* Gets each line about what went wrong: "bob@example.org: 550 5.1.1 no such user". */
typedef void (*post_report_fn)(void *arg, const char *words);

struct dialogue;
/* A dialogue on a connected socket, owned from here on, up to and with EHLO. NULL when the server
 * takes no mail now; the reason went to `report`. `traced`: every line goes to stderr. */
struct dialogue *dialogue_new(int fd, bool traced, post_report_fn report, void *arg);
void dialogue_free(struct dialogue *);
/* The server's name. */
const char *dialogue_host(const struct dialogue *);
/* Sends the message to all of its recipients, or to none. `*status`: an EX_* for the result. */
enum post_result dialogue_post(struct dialogue *, const struct post *, int *status);

#endif
