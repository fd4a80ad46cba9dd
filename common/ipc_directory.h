/*
 * The channels of the directory: with listeners and with the queue. Both ask the same question:
 * may this recipient be taken, and where does it go?
 *
 *	listener, queue -> directory       directory -> listener, queue
 *	RCPT                               TARGET, one for each destination; then RCPT_DONE with the
 *	                                   reply for the client (250, 550 5.1.1, 550 5.7.1, 452
 *	                                   4.2.2 …). Targets count only when the reply is a success.
 *
 *	queue -> directory                 directory -> queue
 *	MAILBOX (action, dest)             MAILBOX_DONE: owner, path, quota; or a reply why not
 *	                                   FORGET: what MAILBOX answered earlier is out of date
 *	USAGE_DONE                         USAGE: how full is this mailbox? (asked of its mda)
 *	FORWARD_DONE                       FORWARD: what does its owner's .forward say? (likewise)
 *	REPORT_DONE                        REPORT (memfd): a mail of the directory's own
 *	HISTORY (ipc_history.h)            nothing
 *
 *	listener -> directory              directory -> listener
 *	AUTH: a login begins               CHALLENGE or DONE
 *	AUTH_RESPONSE: what the client     CHALLENGE or DONE
 *	  said to the challenge
 *	AUTH_CANCEL: it goes on no more    nothing
 *
 * A login is named by the id of its AUTH; RESPONSE and CANCEL carry that in the frame's `peer`, and
 * RESPONSE has an id of its own for its answer. DONE ends a login, whatever its reply; it may be
 * held back for AUTH_HOLD_MAX seconds. What is in a response is never logged.
 *
 * Answers carry their request's id. The answer to RCPT for one recipient names a destination once
 * however many aliases lead there; the listener makes them unique over a transaction's recipients.
 */
#ifndef COMMON_IPC_DIRECTORY_H
#define COMMON_IPC_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"
#include "common/envelope.h"
#include "common/imsg.h"
#include "common/reply.h"

enum ipc_directory_type {
	DIRECTORY_RCPT = 1,       /* request: struct ipc_rcpt */
	DIRECTORY_TARGET,         /* struct ipc_target */
	DIRECTORY_RCPT_DONE,      /* struct reply */
	DIRECTORY_MAILBOX,        /* request: struct ipc_mailbox_request */
	DIRECTORY_MAILBOX_DONE,   /* struct ipc_mailbox */
	DIRECTORY_FORGET,         /* no payload */
	DIRECTORY_USAGE,          /* directory to queue: struct ipc_mailbox, who and where */
	DIRECTORY_USAGE_DONE,     /* queue to directory: struct ipc_usage */
	DIRECTORY_AUTH,           /* request: struct ipc_auth */
	DIRECTORY_AUTH_RESPONSE,  /* request: struct ipc_auth_data */
	DIRECTORY_AUTH_CANCEL,    /* no payload */
	DIRECTORY_AUTH_CHALLENGE, /* struct ipc_auth_data */
	DIRECTORY_AUTH_DONE,      /* struct ipc_auth_done */
	DIRECTORY_REPORT,         /* directory to queue: struct ipc_report */
	DIRECTORY_REPORT_DONE,    /* queue to directory: struct reply; 250 when it is durable */
	DIRECTORY_FORWARD,        /* directory to queue: struct ipc_mailbox, whose home */
	DIRECTORY_FORWARD_DONE,   /* queue to directory: struct ipc_forward */
	DIRECTORY_HISTORY,        /* queue to directory: history events, one behind the other */
};

#define TABLE_NAME_MAX 64

struct ipc_rcpt {
	uint8_t client_family; /* enum client_family; CLIENT_INTERNAL for the queue's own DSNs */
	uint8_t client_address[16];         /* network order; the first 4 bytes for IPv4 */
	char client_name[HOSTNAME_MAX + 1]; /* confirmed; "" none */
	bool name_unknown;                  /* DNS hasn't said whether there is one */
	bool tls;                           /* the session is encrypted */
	char helo[HELO_MAX + 1];
	char tag[ACTION_NAME_MAX + 1];
	char auth_user[USER_NAME_MAX + 1];
	struct address sender;
	struct address rcpt;
	uint64_t size; /* of SIZE=, 0 when not given: for the quota */
	/* With auth_user: whose addresses the sender must be one of; "" the user's own. */
	char senders_table[TABLE_NAME_MAX + 1];
	/* The queue's: `rcpt` is a user of this action, and what is asked is where his .forward leads. */
	char user_action[ACTION_NAME_MAX + 1];
};
void ipc_rcpt_encode(struct buf *, const struct ipc_rcpt *);
bool ipc_rcpt_decode(struct buf_reader *, struct ipc_rcpt *);

struct ipc_target {
	enum envelope_kind kind;
	struct address dest;
	char action[ACTION_NAME_MAX + 1];
	char command[PATH_TEXT_MAX + 1]; /* of pipes */
	uint64_t mailbox; /* the same number for the same mailbox, whatever dest; 0: none or not
	                   * known */
	uint32_t rule;    /* the line of the rule that decided, in smtpd.conf; 0: not known */
	bool held;        /* the envelope waits until an administrator lets it go */
	bool failing;     /* the mailbox of a user whose .forward can't be used now */
};
void ipc_target_encode(struct buf *, const struct ipc_target *);
bool ipc_target_decode(struct buf_reader *, struct ipc_target *);

struct ipc_mailbox_request {
	enum envelope_kind kind;
	char action[ACTION_NAME_MAX + 1];
	struct address dest;
};
void ipc_mailbox_request_encode(struct buf *, const struct ipc_mailbox_request *);
bool ipc_mailbox_request_decode(struct buf_reader *, struct ipc_mailbox_request *);

enum mailbox_form {
	MAILBOX_MAILDIR,
	MAILBOX_MBOX,
	MAILBOX_COMMAND, /* what is delivered is given to a command */
	MAILBOX_FORM_COUNT,
};

#define FORWARD_NAME       ".forward"
#define FORWARD_TEXT_MAX   12288
#define FORWARD_DETAIL_MAX ADDRESS_LOCAL_MAX

struct ipc_mailbox {
	struct reply reply; /* code 250, or why it can't be delivered (4xx, 5xx) */
	uint32_t uid;
	uint32_t gid;
	char user[USER_NAME_MAX + 1]; /* the mailbox's name, for the log and for Delivered-To */
	/* Must exist and belong to uid before anything is made in it; "" for mailboxes of the
	 * accounts database, whose directories are made. */
	char home[PATH_TEXT_MAX + 1];
	enum mailbox_form form;
	/* Absolute: the Maildir, created when absent; the mbox file; the user's directory. */
	char path[PATH_TEXT_MAX + 1];
	/* A template, see deliver/template.h. MAILBOX_COMMAND: that which has the mail; else that of a
	 * wrapper, which hands in what is to be stored, or "". */
	char command[PATH_TEXT_MAX + 1];
	bool mail_group;         /* MAILBOX_MBOX: where only the group "mail" can make files */
	bool junk;               /* what is marked as spam goes to its folder Junk */
	uint64_t quota_bytes;    /* 0: none */
	uint64_t quota_messages; /* 0: none */
	bool forwards; /* the .forward in its home counts: while that can't be used, nothing is
	                * delivered */
	/* With `forwards`: "+list", of the .forward+list that counts before it; "" none. */
	char detail[FORWARD_DETAIL_MAX + 1];
};
/* What of an address stands behind its user's name may be part of a file's name. */
bool ipc_forward_detail_is_sound(const char *detail);
void ipc_mailbox_encode(struct buf *, const struct ipc_mailbox *);
bool ipc_mailbox_decode(struct buf_reader *, struct ipc_mailbox *);

struct ipc_usage {
	bool known;
	uint64_t bytes;
	uint64_t messages;
};
void ipc_usage_encode(struct buf *, const struct ipc_usage *);
bool ipc_usage_decode(struct buf_reader *, struct ipc_usage *);

enum ipc_forward_state {
	FORWARD_NONE,   /* there is no such file, nor one for the detail */
	FORWARD_FOUND,  /* `text` is what it says */
	FORWARD_FAILED, /* it can't be used now; `text` says why, for the log */
	FORWARD_STATE_COUNT,
};
/* Comes from a process of the user's: hostile text to all but himself. */
struct ipc_forward {
	enum ipc_forward_state state;
	bool is_detailed; /* it is that of the detail */
	char text[FORWARD_TEXT_MAX + 1];
};
void ipc_forward_encode(struct buf *, const struct ipc_forward *);
bool ipc_forward_decode(struct buf_reader *, struct ipc_forward *);

/* A whole mail with CRLF line ends, to be signed and sent. Nobody is told when it can't be delivered.
 */
#define IPC_REPORT_SIZE (2 * 1024 * 1024)
struct ipc_report {
	struct address from; /* its author; there must be a DKIM key of his domain */
	struct address to;
};
void ipc_report_encode(struct buf *, const struct ipc_report *);
bool ipc_report_decode(struct buf_reader *, struct ipc_report *);

enum sasl_mechanism {
	SASL_PLAIN,              /* RFC 4616 */
	SASL_LOGIN,              /* user name, then password, asked for one by one */
	SASL_SCRAM_SHA_256,      /* RFC 7677 */
	SASL_SCRAM_SHA_256_PLUS, /* bound to the TLS connection */
	SASL_MECHANISM_COUNT,
};

/* A connection's channel bindings; length 0: it has none of that type. */
#define AUTH_BINDING_MAX 64
struct ipc_binding {
	uint8_t length;
	uint8_t bytes[AUTH_BINDING_MAX];
};

#define AUTH_DATA_MAX 9216 /* a line of 12,288 bytes (RFC 4954 4) from base64 */
#define AUTH_HOLD_MAX 30   /* seconds that the directory may hold DONE back */

struct ipc_auth_data {
	uint16_t length;
	uint8_t bytes[AUTH_DATA_MAX];
};
void ipc_auth_data_encode(struct buf *, const struct ipc_auth_data *);
bool ipc_auth_data_decode(struct buf_reader *, struct ipc_auth_data *);

struct ipc_auth {
	enum sasl_mechanism mechanism;
	char service[16];               /* "smtp": for the log */
	char table[TABLE_NAME_MAX + 1]; /* of credentials */
	uint64_t session;               /* the listener's, for the log */
	uint8_t client_family;
	uint8_t client_address[16];
	struct ipc_binding exporter;  /* tls-exporter, RFC 9266 */
	struct ipc_binding end_point; /* tls-server-end-point, RFC 5929 4 */
	bool has_initial;
	struct ipc_auth_data initial; /* what came with the command */
};
void ipc_auth_encode(struct buf *, const struct ipc_auth *);
bool ipc_auth_decode(struct buf_reader *, struct ipc_auth *);

struct ipc_auth_done {
	struct reply reply;           /* 235, 535, 454 … */
	char user[USER_NAME_MAX + 1]; /* 235: its name as the table has it */
};
void ipc_auth_done_encode(struct buf *, const struct ipc_auth_done *);
bool ipc_auth_done_decode(struct buf_reader *, struct ipc_auth_done *);

#endif
