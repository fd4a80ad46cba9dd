/*
 * The channel between the queue and the relay. The relay, which talks to other hosts, is the less
 * trusted side.
 *
 *	queue -> relay                       relay -> queue
 *	MESSAGE (descriptor: the message,
 *	 read-only)
 *	RCPT, as many as MESSAGE says        RESULT, one for each RCPT, as soon as it is known
 *	                                     DONE, after the last RESULT: what was learnt of the
 *	                                     destination; with the dialogue of a failed attempt
 *	CANCEL                               no answer but those under way: what isn't yet being
 *	                                     sent is given back with a temporary reply
 *
 * A MESSAGE and its RCPTs are a task: one message, one action, one destination; and where it is
 * forwarded, one address that led there. They follow each
 * other without other MESSAGEs between them, and all frames of a task carry its id. A RESULT with a
 * success means that the next server's 2xx for that recipient has come (RFC 5321 6.1). When the
 * channel closes, the relay finishes the transactions that have passed their end of data, and
 * exits; what came of them the queue doesn't learn, and tries again.
 */
#ifndef COMMON_IPC_QUEUE_RELAY_H
#define COMMON_IPC_QUEUE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"
#include "common/imsg.h"
#include "common/reply.h"

enum ipc_queue_relay_type {
	QUEUE_RELAY_MESSAGE = 1, /* struct ipc_relay_message */
	QUEUE_RELAY_RCPT,        /* struct ipc_relay_rcpt */
	QUEUE_RELAY_CANCEL,      /* no payload */
	RELAY_QUEUE_RESULT,      /* struct ipc_relay_result */
	RELAY_QUEUE_DONE,        /* struct ipc_relay_done */
};

#define IPC_RELAY_RCPTS_MAX 1000 /* of one task */

struct ipc_relay_message {
	uint32_t message_id;
	char action[ACTION_NAME_MAX + 1];
	char domain[ADDRESS_DOMAIN_MAX + 1]; /* where to: a domain or an address literal */
	uint32_t recipients;                 /* 1 to IPC_RELAY_RCPTS_MAX */
	uint64_t size;
	struct address sender;
	/* Its recipients were led to from this address of ours: it is said in a field Delivered-To,
	 * and mail that has this already has come round. Null: they are themselves. */
	struct address forwarded;
	bool smtputf8;
	bool eight_bit;
	bool require_tls;  /* RFC 8689 2 */
	bool tls_optional; /* RFC 8689 5: "TLS-Required: No" */
	enum dsn_return dsn_return;
	char dsn_envid[DSN_ENVID_MAX + 1];
};
void ipc_relay_message_encode(struct buf *, const struct ipc_relay_message *);
bool ipc_relay_message_decode(struct buf_reader *, struct ipc_relay_message *);

struct ipc_relay_rcpt {
	uint64_t envelope_id;
	struct address dest;
	uint8_t dsn_notify;
	char dsn_orcpt[DSN_ORCPT_MAX + 1];
};
void ipc_relay_rcpt_encode(struct buf *, const struct ipc_relay_rcpt *);
bool ipc_relay_rcpt_decode(struct buf_reader *, struct ipc_relay_rcpt *);

/* Whose fault a failure is, for the windows of the scheduler. */
enum relay_fault {
	RELAY_FAULT_NONE,        /* a success, or the message's or the recipient's */
	RELAY_FAULT_DESTINATION, /* not to be reached, or it wants no mail now */
	RELAY_FAULT_OURS,        /* this host's: descriptors, memory, DNS, keeper */
	RELAY_FAULT_COUNT,
};

#define IPC_RELAY_WORDS_MAX 128
struct ipc_relay_result {
	uint64_t envelope_id;
	struct reply reply; /* the other server's, or our own words */
	enum relay_fault fault;
	bool remote;                       /* the reply is the other server's */
	bool dsn_taken;                    /* it reports on delivery itself (RFC 3461 5.2.1) */
	char host[HOSTNAME_MAX + 1];       /* that said so; "" none was reached */
	char address[CLIENT_TEXT_MAX + 1]; /* its address */
	char tls[IPC_RELAY_WORDS_MAX + 1]; /* "TLSv1.3 TLS_AES_256_GCM_SHA384 dane", "" plain */
};
void ipc_relay_result_encode(struct buf *, const struct ipc_relay_result *);
bool ipc_relay_result_decode(struct buf_reader *, struct ipc_relay_result *);

/* Lines "host: >>> RCPT TO:<…>" and "host: <<< 450 …" of the last attempt that failed, without
 * credentials and text; "" when all went well. */
#define IPC_RELAY_DIALOGUE_MAX 8192
struct ipc_relay_done {
	enum relay_fault fault; /* of the destination as a whole */
	char dialogue[IPC_RELAY_DIALOGUE_MAX + 1];
};
void ipc_relay_done_encode(struct buf *, const struct ipc_relay_done *);
bool ipc_relay_done_decode(struct buf_reader *, struct ipc_relay_done *);

#endif
