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
	DIRECTORY_RCPT = 1,     /* request: struct ipc_rcpt */
	DIRECTORY_TARGET,       /* struct ipc_target */
	DIRECTORY_RCPT_DONE,    /* struct reply */
	DIRECTORY_MAILBOX,      /* request: struct ipc_mailbox_request */
	DIRECTORY_MAILBOX_DONE, /* struct ipc_mailbox */
	DIRECTORY_FORGET,       /* no payload */
	DIRECTORY_USAGE,        /* directory to queue: struct ipc_mailbox, who and where */
	DIRECTORY_USAGE_DONE,   /* queue to directory: struct ipc_usage */
};

struct ipc_rcpt {
	uint8_t client_family; /* enum client_family; CLIENT_INTERNAL for the queue's own DSNs */
	uint8_t client_address[16]; /* network order; the first 4 bytes for IPv4 */
	char client_name[HOSTNAME_MAX + 1];
	char helo[HELO_MAX + 1];
	char tag[ACTION_NAME_MAX + 1];
	char auth_user[USER_NAME_MAX + 1];
	struct address sender;
	struct address rcpt;
	uint64_t size; /* of SIZE=, 0 when not given: for the quota */
};
void ipc_rcpt_encode(struct buf *, const struct ipc_rcpt *);
bool ipc_rcpt_decode(struct buf_reader *, struct ipc_rcpt *);

struct ipc_target {
	enum envelope_kind kind;
	struct address dest;
	char action[ACTION_NAME_MAX + 1];
	char command[PATH_TEXT_MAX + 1]; /* ENVELOPE_PIPE */
	uint64_t mailbox; /* the same number for the same mailbox, whatever dest; 0: none or not
	                   * known */
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

struct ipc_mailbox {
	struct reply reply; /* code 250, or why it can't be delivered (4xx, 5xx) */
	uint32_t uid;
	uint32_t gid;
	char user[USER_NAME_MAX + 1]; /* the mailbox's name, for the log and for Delivered-To */
	/* Must exist and belong to uid before anything is made in it; "" for mailboxes of the
	 * accounts database, whose directories are made. */
	char home[PATH_TEXT_MAX + 1];
	char path[PATH_TEXT_MAX + 1]; /* the Maildir, absolute; created when absent */
	uint64_t quota_bytes;         /* 0: none */
	uint64_t quota_messages;      /* 0: none */
};
void ipc_mailbox_encode(struct buf *, const struct ipc_mailbox *);
bool ipc_mailbox_decode(struct buf_reader *, struct ipc_mailbox *);

struct ipc_usage {
	bool known;
	uint64_t bytes;
	uint64_t messages;
};
void ipc_usage_encode(struct buf *, const struct ipc_usage *);
bool ipc_usage_decode(struct buf_reader *, struct ipc_usage *);

#endif
