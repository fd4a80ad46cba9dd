/*
 * A mail's description, in two parts that are named alike everywhere: the transaction (what all
 * recipients of one message share) and the envelope (one per recipient and destination).
 *
 * Ids: a message id is 32 bits, chosen at random by the queue and unique among what is queued; an
 * envelope id is 64 bits whose upper half is the message id, the lower half counts from 1 within
 * the message. They are shown as 8 and 16 hex digits. 0 is never an id.
 */
#ifndef COMMON_ENVELOPE_H
#define COMMON_ENVELOPE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"
#include "common/reply.h"

/* RFC 3461 4.1; NEVER excludes the others */
#define DSN_NOTIFY_NEVER   0x01
#define DSN_NOTIFY_SUCCESS 0x02
#define DSN_NOTIFY_FAILURE 0x04
#define DSN_NOTIFY_DELAY   0x08
#define DSN_NOTIFY_ALL     0x0f

enum dsn_return {
	DSN_RETURN_UNSET,
	DSN_RETURN_FULL,
	DSN_RETURN_HEADERS,
	DSN_RETURN_COUNT
};

#define DSN_ENVID_MAX   100 /* RFC 3461 4.4, decoded from xtext */
#define DSN_ORCPT_MAX   500 /* "rfc822;user@example.org" as given, xtext kept */
#define ACTION_NAME_MAX 64
#define HELO_MAX        255
#define HOSTNAME_MAX    255
#define CLIENT_TEXT_MAX 64 /* "192.0.2.1", "IPv6:2001:db8::1", "local" */
#define USER_NAME_MAX   128
#define PATH_TEXT_MAX   1024

enum client_family {
	CLIENT_LOCAL,
	CLIENT_INET4,
	CLIENT_INET6,
	CLIENT_INTERNAL,
	CLIENT_COUNT
};

struct transaction {
	uint32_t message_id;
	int64_t created_us;    /* wall clock, microseconds; names the Maildir file */
	struct address sender; /* null for DSNs */
	enum client_family client_family;
	char client[CLIENT_TEXT_MAX + 1];   /* where it came from */
	char client_name[HOSTNAME_MAX + 1]; /* forward-confirmed reverse name, or "" */
	char helo[HELO_MAX + 1];
	char tag[ACTION_NAME_MAX + 1];     /* the listener's tag, or "" */
	char auth_user[USER_NAME_MAX + 1]; /* or "" */
	enum dsn_return dsn_return;
	char dsn_envid[DSN_ENVID_MAX + 1];
	bool smtputf8;     /* needs RFC 6531 to go on */
	bool require_tls;  /* RFC 8689 2: not without TLS to a verified host */
	bool tls_optional; /* RFC 8689 3, "TLS-Required: No": rather without TLS than not at all */
	bool tls;          /* it came in encrypted */
	bool eight_bit;    /* BODY=8BITMIME */
	bool is_bounce;    /* made by the queue itself: a DSN */
	uint64_t size;     /* bytes of the message as stored, our Received: included */
	uint32_t body_crc32c; /* of those bytes; 0 when not known (large files) */
};

enum envelope_kind {
	ENVELOPE_MAILDIR,   /* dest is a mailbox; delivered by an mda */
	ENVELOPE_PIPE,      /* `command` is run by an mda */
	ENVELOPE_RELAY,     /* dest is at another host; waits for program relay */
	ENVELOPE_USER_PIPE, /* `command` is dest's own, who is a user of the system, and run as he */
	ENVELOPE_USER_FILE, /* `command` is the path of an mbox file, written as dest, likewise */
	ENVELOPE_FORWARD, /* dest's mailbox, or where his .forward leads, which couldn't be read when the
	                     * mail came */
	ENVELOPE_KIND_COUNT,
};

enum envelope_state { /* as smtpctl shows them */
	ENVELOPE_PENDING,
	ENVELOPE_INFLIGHT,
	ENVELOPE_HELD, /* paused by an administrator */
	ENVELOPE_STATE_COUNT,
};

struct envelope {
	uint64_t id;
	enum envelope_kind kind;
	struct address rcpt; /* as the client gave it in RCPT */
	struct address dest; /* after aliases: where it goes */
	char action[ACTION_NAME_MAX +
	    1]; /* the matching rule's action, looked up again when delivered */
	char command[PATH_TEXT_MAX + 1];   /* of the kinds that run one, else "" */
	uint8_t dsn_notify;                /* DSN_NOTIFY_*; 0 when the client said nothing */
	char dsn_orcpt[DSN_ORCPT_MAX + 1]; /* or "" */
	/* The queue's part. Zero when the envelope is new. */
	enum envelope_state state;
	uint32_t tries;
	int64_t expires;  /* wall clock, seconds */
	int64_t last_try; /* 0: never */
	int64_t next_try; /* of one that is in flight: when this one began */
	bool delay_warned;
	struct reply last_reply; /* of the last failed try; code 0: none; a success: delivered,
	                          * and the sender is owed the report */
	char last_host[HOSTNAME_MAX + 1]; /* the other host whose reply that is, or "" */
};

/* It runs a command. */
bool envelope_is_pipe(enum envelope_kind);
/* `command` isn't empty: what somebody's alias or .forward says, which is looked at again before it is
 * done. */
bool envelope_has_command(enum envelope_kind);
uint64_t envelope_id_make(uint32_t message_id, uint32_t number);
uint32_t envelope_id_message(uint64_t envelope_id);

void transaction_encode(struct buf *, const struct transaction *);
bool transaction_decode(struct buf_reader *, struct transaction *);
void envelope_encode(struct buf *, const struct envelope *);
bool envelope_decode(struct buf_reader *, struct envelope *);

#endif
