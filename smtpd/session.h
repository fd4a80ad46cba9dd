/*
 * One client's connection, from the greeting to the 250 and on to QUIT: SMTP (RFC 5321) or LMTP
 * (RFC 2033).
 *
 * A session never blocks and keeps no buffer while it waits for its client: all sessions of the
 * process read into one. While one waits for another process it reads nothing, so that its commands
 * are answered in their order.
 */
#ifndef SMTPD_SESSION_H
#define SMTPD_SESSION_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/envelope.h"
#include "common/crowd.h"
#include "common/dkim_keys.h"
#include "smtpd/upstream.h"

struct event_base;
struct keeper_client;
struct session;
struct tls_contexts;
struct timeval;

/* A configuration and who still uses it. */
struct settings {
	struct config *config;    /* owned */
	struct tls_contexts *tls; /* owned; NULL: no TLS */
	unsigned references;
	const struct timeval *idle_time; /* libevent's: cheap for many */
};
/* Takes over the config, with one reference for the caller. */
struct settings *settings_new(struct event_base *, struct config *);
void settings_release(struct settings *);

#define SERVICE_READ_MAX (64 * 1024) /* what one read takes */
#define SERVICE_KEEP_MAX (64 * 1024) /* what a session may have left of its last one */

/* What the sessions of a process share. */
struct service {
	struct event_base *base;
	struct upstream *upstream;
	struct keeper_client *keeper; /* not owned */
	struct dkim_keys dkim;        /* sign what users send */
	struct crowd *crowd;
	LIST_HEAD(session_list, session) sessions;
	size_t session_count;
	size_t session_max; /* by descriptors */
	uint64_t id_key;
	uint64_t id_count;
	bool stopping;
	void (*drained)(struct service *); /* stopping, and the last session has ended */
	struct crowd_log refusals;
	uint64_t text_memory; /* of all messages being received */
	char *buffer;         /* SERVICE_KEEP_MAX + SERVICE_READ_MAX bytes */
};

/* Makes the upstream too; the crowd and the keeper's client are the caller's to set before the first session. */
void service_init(struct service *, struct event_base *);
void service_free(struct service *);

struct client {
	enum client_family family;
	uint8_t address[16]; /* CLIENT_LOCAL: the uid in its first bytes, or zeros */
	bool has_uid;        /* CLIENT_LOCAL: who connected */
	uint32_t uid;
};

/* Serves a connection: takes `fd` over. `listener` is of the config in `settings`, which it refers
 * to. */
void session_start(struct service *, struct settings *, const struct listener_config *,
    const struct client *, int fd);
/* Sessions between messages end with 421, the others after their message. */
void service_stop(struct service *);
/* Ends all at once. */
void service_abort(struct service *);

#endif
