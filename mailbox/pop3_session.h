/*
 * POP3 sessions after login (RFC 1939, with RFC 2449, 3206, 6856): the INBOX as a maildrop, which one
 * session at a time has for itself. Messages marked by DELE go at QUIT, and only then.
 */
#ifndef MAILBOX_POP3_SESSION_H
#define MAILBOX_POP3_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/maildir.h"

struct event_base;
struct pop3_session;

struct pop3_settings {
	const char *hostname;
	const char *user;
};

/* What login knows. */
struct pop3_login {
	uint64_t session; /* for the log */
	/* What the client sent behind it. */
	const char *input;
	size_t input_length;
};

/*
 * Takes the socket over and answers the login: +OK, or -ERR [IN-USE] when the maildrop is another
 * session's of this process, and then ends. `ended` is called when it is over. NULL without memory.
 */
struct pop3_session *pop3_session_new(struct event_base *, int fd, struct maildir *,
    const struct pop3_settings *, const struct pop3_login *, void (*ended)(void *arg), void *arg);
/* Ends without removing anything. */
void pop3_session_stop(struct pop3_session *, const char *words);
void pop3_session_free(struct pop3_session *);

/* The lines of CAPA after login, but for the first and the last (RFC 2449 5). */
const char *pop3_session_capabilities(void);

#endif
