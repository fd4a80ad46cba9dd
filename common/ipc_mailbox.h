/*
 * From a login to a session on a Maildir: the directory names the Maildir, the supervisor connects
 * mailaccess and that Maildir's process (ipc_supervisor.h), and mailaccess says on that connection who
 * comes. Behind that it carries the client's bytes, both ways, as they are.
 */
#ifndef COMMON_IPC_MAILBOX_H
#define COMMON_IPC_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"
#include "common/ipc_directory.h"

/* DIRECTORY_SUPERVISOR_LOGIN, DIRECTORY_SUPERVISOR_SCRIPTS. */
struct ipc_mailbox_login {
	uint64_t session;           /* by which mailaccess knows it again; a random number */
	struct ipc_mailbox mailbox; /* reply 250 */
};
void ipc_mailbox_login_encode(struct buf *, const struct ipc_mailbox_login *);
bool ipc_mailbox_login_decode(struct buf_reader *, struct ipc_mailbox_login *);

/* SUPERVISOR_ACCESS_MAILBOX, SUPERVISOR_CONTROL_SESSION, with a descriptor or without. */
struct ipc_mailbox_opened {
	uint64_t session;
};
void ipc_mailbox_opened_encode(struct buf *, const struct ipc_mailbox_opened *);
bool ipc_mailbox_opened_decode(struct buf_reader *, struct ipc_mailbox_opened *);

/* SUPERVISOR_MAILBOX_OPEN is a struct ipc_mailbox. */

enum mailbox_protocol {
	MAILBOX_IMAP,
	MAILBOX_POP3,
	MAILBOX_SIEVE,
	MAILBOX_PROTOCOL_COUNT,
};

/* What mailaccess, or control, writes first: the length, two bytes, and this. */
#define MAILBOX_TAG_MAX   512 /* of an IMAP command */
#define MAILBOX_BEGIN_MAX 1024
struct ipc_mailbox_begin {
	enum mailbox_protocol protocol;
	uint64_t session;
	char client[CLIENT_TEXT_MAX + 1];
	char tag[MAILBOX_TAG_MAX + 1]; /* of the login, which the session answers */
};
void ipc_mailbox_begin_encode(struct buf *, const struct ipc_mailbox_begin *);
bool ipc_mailbox_begin_decode(struct buf_reader *, struct ipc_mailbox_begin *);
/* The same with its length before it, as it is written. */
void ipc_mailbox_begin_frame(struct buf *, const struct ipc_mailbox_begin *);

#endif
