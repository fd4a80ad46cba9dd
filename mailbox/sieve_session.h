/*
 * ManageSieve sessions after login (RFC 5804 2.4 to 2.13): the owner's scripts, uploaded, listed, read
 * and made active. A script that doesn't compile isn't stored.
 */
#ifndef MAILBOX_SIEVE_SESSION_H
#define MAILBOX_SIEVE_SESSION_H

#include <stdint.h>

#include "mailbox/maildir.h"

struct event_base;
struct sieve_session;

/*
 * Takes the socket over and answers the login. `user` lives as long as the session; `id` is for the log.
 * `ended` is called when it is over. NULL without memory.
 */
struct sieve_session *sieve_session_new(struct event_base *, int fd, struct maildir *,
    const char *user, uint64_t id, void (*ended)(void *arg), void *arg);
void sieve_session_stop(struct sieve_session *, const char *words);
void sieve_session_free(struct sieve_session *);

#endif
