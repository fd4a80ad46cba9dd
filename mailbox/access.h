/*
 * Connections of POP3, IMAP and ManageSieve until they have logged in, and the bytes of those that have:
 * what the parts of mailaccess share.
 *
 *	mailaccess.c      the process: sockets, certificates, the supervisor
 *	access_session.c  a connection: bytes in and out, TLS, its end
 *	access_relay.c    after login: bytes between client and mailbox
 *	access_auth.c     logins, by the directory
 *	access_imap.c     the commands of IMAP before login
 *	access_pop3.c     those of POP3
 *	access_sieve.c    those of ManageSieve
 */
#ifndef MAILBOX_ACCESS_H
#define MAILBOX_ACCESS_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event_struct.h>

#include "common/config.h"
#include "common/crowd.h"
#include "common/envelope.h"
#include "common/ipc_directory.h"
#include "common/ipc_mailbox.h"
#include "common/managesieve.h"
#include "common/stats.h"
#include "common/tls.h"
#include "common/tls_context.h"
#include "mailbox/imap_input.h"

struct access_auth;
struct evbuffer;
struct event_base;

#define ACCESS_INPUT_SIZE 16384 /* before login; holds the longest line of a login */
#define ACCESS_LINE_MAX   12288 /* of a SASL response (RFC 9051 has none; RFC 4954 4) */

/* A config; lives as long as a session uses it. */
struct access_settings {
	struct config *config;
	struct tls_contexts *tls;
	unsigned references;
};

struct access {
	struct event_base *base;
	struct access_auth *auth;
	LIST_HEAD(, access_session) sessions;
	/* In use and promised: one is the client's, and who logs in needs one for the mailbox. */
	size_t descriptors, descriptors_max;
	struct crowd *crowd; /* those who haven't logged in */
	struct crowd_log refusals;
	bool is_stopping;
	void (*drained)(void);
};

enum access_state {
	ACCESS_HANDSHAKE,
	ACCESS_COMMAND,
	ACCESS_RESPONSE, /* a line of a login is to come */
	ACCESS_CHECKING, /* the directory looks at the login */
	ACCESS_OPENING,  /* it was good: the mailbox is to come */
	ACCESS_RELAYING,
	ACCESS_ENDING, /* what is to be said is being sent */
};

struct access_session {
	LIST_ENTRY(access_session) entry;
	struct access *access;
	struct access_settings *settings;
	const struct listener_config *listener;
	enum mailbox_protocol protocol;
	enum access_state state;
	uint64_t id;
	enum client_family family;
	uint8_t address[16];
	char client[CLIENT_TEXT_MAX + 1];
	bool in_crowd;
	unsigned errors;

	int fd;
	struct tls *tls;
	bool wants_tls; /* once the output is sent */
	struct event readable, writable;
	struct event timer; /* for a login; for the end of the output */
	struct event retry; /* of the handshake */
	struct evbuffer *output;
	char *input; /* what isn't used yet; NULL when there is nothing */
	size_t input_length;
	bool client_ended;
	const char *end_reason;

	/* A login under way. */
	uint32_t login, request;
	char tag[MAILBOX_TAG_MAX + 1];
	bool is_login_good;
	/* The mailbox. */
	bool may_open;  /* the descriptor is promised */
	int mailbox_fd; /* -1: none yet */
	bool has_spoken;
	struct event mailbox_readable, mailbox_writable;
	struct evbuffer *to_mailbox;

	/* What the protocol has of a command. */
	struct imap_input imap;
	char *pop3_user;
	struct managesieve_reader *sieve; /* NULL: another protocol */
};

/* access_session.c */

struct access_settings *access_settings_new(struct config *);
void access_settings_release(struct access_settings *);
/* Counts it by the key of IMAP, or those of POP3 and ManageSieve, which are the next. */
void access_count(const struct access_session *, enum stats_key imap, int64_t);
/* Takes the connection over. */
void access_session_start(struct access *, struct access_settings *, const struct listener_config *,
    enum client_family, const uint8_t address[16], int fd);
/* Ends those that have not logged in; when the last is gone, `drained` is called. */
void access_stop(struct access *);
void access_free(struct access *);
/* Adds to the output, which is sent when control is back in the event loop. */
void access_send(struct access_session *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Sends what there is, then hangs up. */
void access_end(struct access_session *, const char *reason);
/* A wrong command more. False when it was one too many, and the session ends. */
bool access_count_error(struct access_session *);
/* Goes on with the input, in the state that was set. */
void access_resume(struct access_session *);
/* The OK to it must be in the output. What the client has sent behind the command is dropped. */
void access_start_tls(struct access_session *);
/* STARTTLS can be said. */
bool access_offers_tls(const struct access_session *);
void access_session_free(struct access_session *);
void access_session_leave_crowd(struct access_session *);
void access_input_free(struct access_session *);
/* Like recv() and send(), from and to the client. */
ssize_t access_read(struct access_session *, void *, size_t);
/* Sends what there is; false when the connection is broken. */
bool access_flush(struct access_session *);

/* access_relay.c */

/* Both the login's end and the mailbox are there: the session begins. */
void access_relay_begin(struct access_session *);
/* Of the client's socket. */
void access_relay_readable(struct access_session *);
void access_relay_written(struct access_session *);

/* access_auth.c */

struct access_auth *access_auth_new(struct event_base *);
void access_auth_free(struct access_auth *);
/* A new channel to the directory; logins that waited on the old one fail. */
void access_auth_set_channel(struct access_auth *, int fd);
/* Passwords may be sent now. */
bool access_auth_is_allowed(const struct access_session *);
/* " PLAIN LOGIN": each offered mechanism behind `prefix`. */
void access_auth_list(const struct access_session *, const char *prefix, char *text, size_t size);
/* A login by name and password. */
void access_auth_password(struct access_session *, const char *user, size_t user_length,
    const char *password, size_t password_length);
/* A login by that mechanism; `initial` (base64) may be NULL. */
void access_auth_begin(struct access_session *, const char *mechanism, size_t length,
    const char *initial, size_t initial_length);
/* A line of it, without its end. */
void access_auth_respond(struct access_session *, const char *line, size_t length);
void access_auth_forget(struct access_session *);
/* "+ " and the challenge, as IMAP and POP3 have it. */
void access_challenge(struct access_session *, const char *text);
/* The supervisor's answer to the directory's word; -1: not now. */
void access_auth_opened(struct access *, uint64_t session, int fd);

/* access_imap.c, access_pop3.c, access_sieve.c */

enum access_refusal {
	ACCESS_FAILED,  /* wrong password or user */
	ACCESS_NOT_NOW, /* to be tried again later */
	ACCESS_NEEDS_TLS,
	ACCESS_WRONG, /* the client broke the dialogue's rules */
};

/* How the protocols differ. `input` takes bytes and returns how many. */
struct access_protocol {
	const char *name; /* "imap": service, and in the log */
	void (*greet)(struct access_session *);
	bool greets_after_tls;
	size_t (*input)(struct access_session *, char *bytes, size_t length);
	/* A question of a login, in base64. */
	void (*challenge)(struct access_session *, const char *text);
	/* A login is over without success. */
	void (*refuse)(struct access_session *, enum access_refusal, const char *words);
	/* The last words, when the server hangs up. */
	void (*bye)(struct access_session *, const char *words);
	/* What is before and behind the reason why a client isn't greeted. */
	const char *full, *full_end;
};
extern const struct access_protocol access_imap, access_pop3, access_sieve;
const struct access_protocol *access_protocol(const struct access_session *);
/* What has come of a command of ManageSieve. */
void access_sieve_begin(struct access_session *);
void access_sieve_end(struct access_session *);

#endif
