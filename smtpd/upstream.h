/*
 * The listener's side of its channels to queue, directory and resolver: requests out, answers to
 * the session that asked. Every request is answered exactly once: by the other process, by its
 * deadline or by that process's death, unless it is cancelled.
 */
#ifndef SMTPD_UPSTREAM_H
#define SMTPD_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc_directory.h"
#include "common/ipc_history.h"
#include "common/ipc_listener_resolver.h"
#include "common/ipc_supervisor.h"
#include "smtpd/transaction.h"

struct event_base;
struct upstream;

/* Called from the event loop, never from within a request. */
struct upstream_calls {
	/* The confirmed reverse name; "": there is none; NULL: it can't be known now. */
	void (*named)(void *owner, const char *name);
	void (*target)(void *owner, const struct ipc_target *);
	void (*rcpt_answered)(void *owner, const struct reply *);
	/* A descriptor that the callee owns, or -1 and why not. */
	void (*file_answered)(void *owner, int fd, const struct reply *);
	/* NULL: committed. Otherwise a 4xx. */
	void (*commit_answered)(void *owner, const struct reply *refusal);
	/* A login: what the client is to be asked next, or its end. */
	void (*auth_challenged)(void *owner, const void *data, size_t length);
	void (*auth_answered)(void *owner, const struct ipc_auth_done *);
};

struct upstream *upstream_new(struct event_base *, const struct upstream_calls *);
void upstream_free(struct upstream *);
/* A new channel to PROGRAM_QUEUE, _DIRECTORY or _RESOLVER replaces the old one, whose requests
 * fail. Other programs: closes `fd`. */
void upstream_set_channel(struct upstream *, enum program, int fd);

/* The reply that MAIL gets while the queue takes no mail or isn't there; NULL when it does. */
const struct reply *upstream_refusal(const struct upstream *);

/* Requests: an id to cancel it by, or 0 when that process isn't there. */
uint32_t upstream_ask_name(struct upstream *, void *owner, enum client_family,
    const uint8_t address[16], unsigned limit_ms);
uint32_t upstream_ask_rcpt(
    struct upstream *, void *owner, const struct ipc_rcpt *, unsigned limit_ms);
uint32_t upstream_ask_file(struct upstream *, void *owner, const struct mail *);
/* Sends the envelopes, `facts` for the history unless NULL, and the transaction. `fd`: the sealed message, owned from here on; -1 when it
 * is in a spool file. 0 as well when the queue has been replaced since mail got its id. */
uint32_t upstream_commit(struct upstream *, void *owner, const struct mail *,
    const struct transaction *, const struct ipc_facts *facts, int fd);
/* A recipient or a message that wasn't taken, for the history. */
void upstream_tell_refused(struct upstream *, const struct history_event *);
/* The first request of a login names it in those that follow. */
uint32_t upstream_begin_auth(
    struct upstream *, void *owner, const struct ipc_auth *, unsigned limit_ms);
uint32_t upstream_respond_auth(struct upstream *, void *owner, uint32_t login,
    const struct ipc_auth_data *, unsigned limit_ms);
/* The login won't go on. `request`: the one under way, or 0. */
void upstream_cancel_auth(struct upstream *, uint32_t login, uint32_t request);
void upstream_cancel_name(struct upstream *, uint32_t request);
void upstream_cancel_rcpt(struct upstream *, uint32_t request);
void upstream_cancel_queue(struct upstream *, uint32_t request);

/* Gives mail a message id; false when none is in stock. */
bool upstream_take_id(struct upstream *, struct mail *);
/* The message won't be committed: what the queue has of it is dropped, its id goes back. */
void upstream_return_id(struct upstream *, struct mail *);

#endif
