/*
 * Logins under way: each is a dialogue with a client through a peer (a listener), from
 * DIRECTORY_AUTH to DIRECTORY_AUTH_DONE. Passwords are checked in threads, and who guesses is kept
 * waiting (throttle.h).
 */
#ifndef LOOKUP_AUTH_H
#define LOOKUP_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc_directory.h"
#include "lookup/site.h"
#include "lookup/throttle.h"

struct auth;
struct event_base;

/* `request`: the id of the question that it answers. Called from within auth_begin() and
 * auth_respond(), or later. */
struct auth_calls {
	void (*challenge)(void *peer, uint32_t request, const void *data, size_t length);
	void (*done)(void *peer, uint32_t request, const struct ipc_auth_done *);
	/* Who has shown the password may come in. False with the reason: not now. NULL:
	 * always. */
	bool (*admit)(void *peer, uint64_t session, const char *user, struct reply *why);
};

/* Never NULL. */
struct auth *auth_new(struct event_base *, const struct auth_calls *);
void auth_free(struct auth *);
/* The tables to look into from now on; before the first login, and at each reload. */
void auth_set_site(struct auth *, struct site *);
void auth_begin(struct auth *, void *peer, uint32_t id, const struct ipc_auth *);
/* What the client answered in the login that began with `id`. One that isn't known (any more) is
 * answered as failed for now; false when the peer has not been asked. */
bool auth_respond(struct auth *, void *peer, uint32_t id, uint32_t request,
    const struct ipc_auth_data *) __attribute__((warn_unused_result));
void auth_cancel(struct auth *, void *peer, uint32_t id);
/* The peer is gone, and so are its logins. */
void auth_drop_peer(struct auth *, void *peer);
struct throttle *auth_throttle(struct auth *);

#endif
