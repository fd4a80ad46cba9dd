/*
 * A session of ManageSieve that somebody else has logged in: one command at a time, waiting for each
 * answer.
 */
#ifndef SMTPCTL_SIEVE_CLIENT_H
#define SMTPCTL_SIEVE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/ipc_control.h"
#include "common/managesieve.h"

struct sieve_client;

/* Takes a line of an answer before its last; false when it isn't one. */
typedef bool (*sieve_line_fn)(const struct managesieve_reader *, void *arg);

/* Takes over the connected descriptor. */
struct sieve_client *sieve_client_new(int fd);
void sieve_client_free(struct sieve_client *);
/*
 * Sends a command, or nothing when it is NULL (the session's beginning has an answer too), and takes its
 * answer. The result has an EX_* status, 0 for OK, and else the server's words. `each` may be NULL.
 */
void sieve_client_say(struct sieve_client *, const struct buf *command, sieve_line_fn each,
    void *arg, struct ipc_result *);

/* Whether the last answer was OK with warnings, which are the result's words then. */
bool sieve_client_warns(const struct sieve_client *);

#endif
