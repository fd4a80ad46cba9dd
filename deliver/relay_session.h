/*
 * A session with one server: SMTP (RFC 5321) or LMTP (RFC 2033) as its client, from the connection
 * to QUIT, with any number of transactions between.
 */
#ifndef DELIVER_RELAY_SESSION_H
#define DELIVER_RELAY_SESSION_H

#include <sys/socket.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/envelope.h"
#include "common/ipc_supervisor.h"
#include "deliver/relay_policy.h"
#include "deliver/relay_task.h"
#include "deliver/relay_times.h"

struct event_base;
struct scram_keys;
struct local_sockets;
struct tls_client;
struct session;

/* What a session is to be like; not changed while it lives. */
struct session_settings {
	char host[HOSTNAME_MAX + 1]; /* its name, for the certificate and for words */
	char helo[HOSTNAME_MAX + 1];
	char mail_from[ADDRESS_TEXT_MAX + 1]; /* instead of each sender but the null one, "@" and a
	                                       * domain: of its domain; "" */
	bool lmtp;
	struct policy policy;
	enum tls_need need;          /* of the mail */
	const struct dane *dane;     /* for SECURITY_DANE; borrowed */
	struct tls_client *tls;      /* NULL: no TLS to be had here */
	struct local_sockets *local; /* NULL: no Unix sockets; borrowed */
	char ca[ACTION_NAME_MAX + 1];
	char pki[KEY_NAME_MAX + 1];          /* whose certificate is shown; "" none */
	char ciphers[RELAY_CIPHERS_MAX + 1]; /* "" the usual ones */
	bool tls_1_3_only;
	char *user; /* NULL: no AUTH; borrowed */
	char *password;
	struct scram_keys *scram_keys; /* of the password; borrowed, and changed */
	uint32_t messages;             /* transactions at most */
	uint32_t recipients;           /* a transaction at most */
	uint32_t pause_ms;             /* between two transactions */
	const struct relay_times *times;
};

enum transaction_outcome {
	/* Its recipients are answered, but for those that wait for another transaction. */
	TRANSACTION_DONE,
	/* This host doesn't take it now, or at all (`failure`): those not answered wait. */
	TRANSACTION_HOST,
	/* The connection, a kept one, was dead before anything came of it: those wait. */
	TRANSACTION_AGAIN,
};

struct session_owner {
	/* May be given a task, now or later. */
	void (*ready)(struct session *, void *arg);
	/* The task isn't this session's any more; ready() or closed() follows. */
	void (*finished)(struct session *, struct task *, enum transaction_outcome,
	    const struct failure *, void *arg);
	/* It is connected no more; `failure` is NULL when that is no fault. May be connected again,
	 * or freed after the callback. */
	void (*closed)(struct session *, const struct failure *, void *arg);
	void *arg;
};

/* `settings` is borrowed, and outlives it. NULL without memory. */
struct session *session_new(
    struct event_base *, const struct session_settings *, const struct session_owner *);
/* Not from its own callbacks. */
void session_free(struct session *);
/* closed() may come from here, as from all others. `source` is NULL when any address will do. */
void session_connect(struct session *, const struct sockaddr *, socklen_t,
    const struct sockaddr *source, socklen_t source_length);
/* How we call ourselves from the next connection on; "" as the settings have it. */
void session_set_helo(struct session *, const char *name);
/* Of a session that is ready: a transaction with as many of the task's waiting recipients as go. */
void session_give(struct session *, struct task *);
/* Says goodbye when there is nothing under way; closed() follows. */
void session_quit(struct session *);
/* Looks for what has taken too long. */
void session_check(struct session *, int64_t now_ms);
/* Gives its transaction up, unless the text has been sent: then the reply is waited for. True when
 * nothing is under way any more; the task is then TASK_DONE, and nobody's. */
bool session_abandon(struct session *);

bool session_is_ready(const struct session *);
/* It was ready once since it was connected. */
bool session_was_ready(const struct session *);
struct task *session_task(const struct session *);
/* Since when it is ready. */
int64_t session_idle_since(const struct session *);
/* The dialogue so far. */
void session_dialogue(const struct session *, char text[IPC_RELAY_DIALOGUE_MAX + 1]);
/* Who is spoken with. */
const struct server_words *session_server(const struct session *);
/* What came of TLS on the connection, and why: TLS_RESULT_SUCCESS, and "", when all is well, or nothing
 * has come yet. */
enum tls_result session_tls_result(const struct session *, const char **reason);
/* Its own address as text; "" while it isn't connected. */
const char *session_own_address(const struct session *);
/* For its owner's lists. */
TAILQ_HEAD(session_list, session);
void session_list_add(struct session_list *, struct session *);
void session_list_remove(struct session_list *, struct session *);
struct session *session_list_next(struct session *);
void session_set_note(struct session *, void *note);
void *session_note(const struct session *);

#endif
