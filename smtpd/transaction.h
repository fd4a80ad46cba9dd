/*
 * A mail transaction (RFC 5321 3.3): what MAIL and RCPT have said, the destinations that the
 * directory has named, and the message's text.
 */
#ifndef SMTPD_TRANSACTION_H
#define SMTPD_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"
#include "common/ipc_directory.h"
#include "smtpd/command.h"
#include "smtpd/message.h"

struct recipient { /* one accepted RCPT */
	struct address rcpt;
	uint8_t notify;
	char *orcpt; /* owned; NULL when not given */
};

struct target {                /* one envelope */
	uint32_t hash;         /* of its names */
	uint32_t next_by_name; /* in a bucket of the transaction's: an index + 1, or 0 */
	uint32_t next_by_mailbox;
	uint32_t recipient; /* the RCPT that named it first */
	enum envelope_kind kind;
	uint64_t mailbox; /* its number; 0: none or not known */
	struct address dest;
	char *action;  /* owned */
	char *command; /* owned; NULL unless it is a pipe */
	uint32_t rule; /* its line in smtpd.conf */
	bool held;
};

struct mail {
	struct mail_command command; /* sender and parameters */
	struct rcpt_command rcpt;    /* the RCPT that is being asked about */
	struct recipient *recipients;
	size_t recipient_count;
	struct target *targets;
	size_t target_count;
	size_t targets_settled; /* of accepted recipients; those after it are of `rcpt` */
	size_t targets_named;   /* by the directory for `rcpt`, those left out too */
	size_t target_bytes;    /* of their envelopes */
	size_t target_bytes_settled;
	uint32_t *buckets; /* two tables of bucket_count, by name and by mailbox: the index + 1 of
	                    * the last target in it; NULL while there are few targets */
	size_t bucket_count;
	uint32_t message_id; /* 0 until the text begins */
	unsigned generation; /* of the queue that gave the id */
	bool spool_file;     /* one was asked for: the queue must be told of an end */
	bool is_chunked;     /* BDAT, not DATA */
	bool committing;     /* the id is the queue's now */
	bool limit_logged;
	int64_t begun_ms; /* monotonic */
	struct message *message;
};

/* NULL when memory is out. */
struct mail *mail_new(const struct mail_command *);
void mail_free(struct mail *);
/* A destination of mail->rcpt; one that the transaction has already is left out. False when memory
 * is out or the transaction would be more than the queue takes: then the reply says whether the
 * recipient may come again, in another transaction. */
bool mail_add_target(struct mail *, const struct ipc_target *, struct reply *);
/* The directory's answer about mail->rcpt: it is taken, or its targets are dropped. False when
 * memory is out; then they are dropped too. */
bool mail_accept_rcpt(struct mail *);
void mail_drop_rcpt(struct mail *);
/* The envelope of the target with this index. */
void mail_make_envelope(const struct mail *, size_t index, struct envelope *);

#endif
