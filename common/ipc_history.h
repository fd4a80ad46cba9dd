/*
 * What became of messages: events that the queue tells the directory, which keeps them for a time, and
 * that smtpctl trace message gets from there. Nothing waits for an event, and any may be lost.
 *
 *	listener -> queue      FACTS: what the queue doesn't know of a message about to be committed
 *	                       REFUSED (an event): a recipient or a message that wasn't taken
 *	queue -> directory     HISTORY: events, one behind the other
 *	control -> directory   TRACE_MESSAGE; answered by HISTORY, an event each, and DONE
 *
 * The types are in ipc_listener_queue.h, ipc_directory.h and ipc_control.h.
 *
 * An event's fields are text, much of it a stranger's. As in envelopes no control character passes:
 * encoding writes "?" for one, decoding refuses it.
 */
#ifndef COMMON_IPC_HISTORY_H
#define COMMON_IPC_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

enum history_kind {
	HISTORY_RECEIVED,  /* a message was taken, or made by the queue itself */
	HISTORY_RECIPIENT, /* an envelope of it: where it is to go */
	HISTORY_REFUSED,   /* a recipient, or a message after its text */
	HISTORY_DELIVERED,
	HISTORY_DEFERRED,
	HISTORY_FAILED,
	HISTORY_EXPIRED,
	HISTORY_NOTIFIED, /* a DSN was made of it */
	HISTORY_SENT_ON,  /* a message of the recipient's was: he forwards it, or answers */
	HISTORY_HELD,     /* by an administrator, until RELEASED */
	HISTORY_RELEASED,
	HISTORY_REMOVED,
	HISTORY_GIVEN_UP, /* by an administrator: it expires at once */
	HISTORY_KIND_COUNT
};

enum history_field {
	HISTORY_FROM,      /* the sender; "" the null one */
	HISTORY_RCPT,      /* as the client gave it */
	HISTORY_DEST,      /* after aliases */
	HISTORY_HEADER_ID, /* of the header's Message-ID */
	HISTORY_CLIENT,    /* its address */
	HISTORY_CLIENT_NAME,
	HISTORY_HELO,
	HISTORY_TLS,
	HISTORY_USER, /* who had logged in */
	HISTORY_TAG,
	HISTORY_CHECKS, /* what was found out about it */
	HISTORY_SIZE,   /* bytes */
	HISTORY_METHOD, /* "mailbox", "mbox", "command", "lmtp", "relay" */
	HISTORY_ACTION,
	HISTORY_RULE, /* its line in smtpd.conf */
	HISTORY_REPLY,
	HISTORY_HOST, /* whose reply that is */
	HISTORY_ADDRESS,
	HISTORY_MAILBOX,
	HISTORY_FILE,
	HISTORY_TRIES,
	HISTORY_DELIVERY_MS, /* of that try */
	HISTORY_DELAY_MS,    /* since it was taken */
	HISTORY_NEXT_TRY,    /* in seconds */
	HISTORY_BOUNCE,      /* the message id of what was made */
	HISTORY_ABOUT,       /* "failed", "delayed", "forwarded", … */
	HISTORY_UID,         /* of who did it */
	HISTORY_FIELD_COUNT
};

#define HISTORY_ID_SIZE   9    /* of a message id as text, with its end */
#define HISTORY_VALUE_MAX 1024 /* bytes of a field; the rest is cut off */
#define HISTORY_EVENT_MAX 8000 /* of an event; fields that don't fit are left out */

struct history_event {
	enum history_kind kind;
	int64_t time_us;                         /* wall */
	uint32_t message_id;                     /* 0: it never got one */
	uint32_t number;                         /* of the envelope; 0: of the message */
	const char *fields[HISTORY_FIELD_COUNT]; /* NULL: not said; lent */
};

/* "received", "client_name": as -j prints them. */
const char *history_kind_name(enum history_kind);
const char *history_field_name(enum history_field);
/* The message that was made of this one: HISTORY_BOUNCE as a number, 0 when there is none. */
uint32_t history_made_id(const struct history_event *);

/* Appends an event; the buf has failed when there was no room. */
void history_event_encode(struct buf *, const struct history_event *);
/* The next of several. Its fields point into `scratch`. */
struct history_scratch {
	char text[HISTORY_EVENT_MAX];
};
bool history_event_decode(struct buf_reader *, struct history_event *, struct history_scratch *);

/* LISTENER_QUEUE_FACTS */
#define FACTS_TEXT_MAX  255
#define FACTS_RULES_MAX 3000
struct ipc_facts {
	char tls[FACTS_TEXT_MAX + 1];
	char header_id[FACTS_TEXT_MAX + 1]; /* with its angle brackets, if it has them */
	char checks[FACTS_TEXT_MAX + 1];
	uint32_t rule_count;             /* of the first envelopes, in their order: */
	uint32_t rules[FACTS_RULES_MAX]; /* lines in smtpd.conf; 0: not known */
};
void ipc_facts_encode(struct buf *, const struct ipc_facts *);
bool ipc_facts_decode(struct buf_reader *, struct ipc_facts *);

/* CONTROL_TRACE_MESSAGE */
#define TRACE_TEXT_MAX 998
struct ipc_trace {
	/* 8 or 16 hex digits; else a Message-ID with or without brackets, or an address of a sender
	 * or a recipient. */
	char what[TRACE_TEXT_MAX + 1];
};
void ipc_trace_encode(struct buf *, const struct ipc_trace *);
bool ipc_trace_decode(struct buf_reader *, struct ipc_trace *);

#endif
