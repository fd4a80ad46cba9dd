/*
 * IMAP sessions after login (RFC 9051, RFC 3501 and extensions; imap_session.c names them): commands
 * in, work on the one Maildir of this process, answers out.
 */
#ifndef MAILBOX_IMAP_SESSION_H
#define MAILBOX_IMAP_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/maildir.h"

struct event_base;
struct imap_session;

struct imap_settings {
	const char *hostname;
	const char *user;       /* its name, for the log and ID */
	uint64_t message_limit; /* bytes of an appended one (RFC 7889) */
};

/* What login knows. */
struct imap_login {
	uint64_t session; /* for the log */
	const char *client;
	/* The tag of the login command that is still to be answered, "" when PREAUTH is said. */
	const char *tag;
	/* What the client sent behind it. */
	const char *input;
	size_t input_length;
};

/* Takes the socket over. `ended` is called when it is over. NULL without memory. */
struct imap_session *imap_session_new(struct event_base *, int fd, struct maildir *,
    const struct imap_settings *, const struct imap_login *, void (*ended)(void *arg), void *arg);
/* Says BYE with these words and ends. */
void imap_session_stop(struct imap_session *, const char *words);
void imap_session_free(struct imap_session *);
/* The disk may have changed: tells a session that waits in IDLE or wants to be notified. */
void imap_session_look(struct imap_session *);

/* The capabilities after login, for the greeting of who logs in too. */
const char *imap_session_capabilities(void);

#endif
