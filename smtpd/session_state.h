/*
 * A session's inside, for the files that make it: session.c (bytes in and out, and the end),
 * session_begin.c (who may enter, PROXY header, greeting), session_tls.c (encryption),
 * session_command.c (commands up to RCPT), session_auth.c (logins), session_text.c (DATA, BDAT, the
 * commit), session_sign.c (DKIM) and session_facts.c (what the history is told).
 */
#ifndef SMTPD_SESSION_STATE_H
#define SMTPD_SESSION_STATE_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/buf.h"
#include "common/log.h"
#include "smtpd/command.h"
#include "smtpd/session.h"
#include "common/tls.h"
#include "smtpd/transaction.h"

enum session_state {
	SESSION_PROXY,       /* a PROXY header must come first */
	SESSION_HANDSHAKE,   /* of TLS */
	SESSION_COMMAND,     /* the next command line */
	SESSION_SKIP_LINE,   /* the rest of a command line that was too long */
	SESSION_AUTH,        /* the client's answer to a challenge of AUTH */
	SESSION_AUTH_WAIT,   /* for the directory to look at it */
	SESSION_NAME_WAIT,   /* MAIL has come, the client's reverse name hasn't */
	SESSION_RCPT_WAIT,   /* for the directory */
	SESSION_PENALTY,     /* the next command waits: too many unknown users */
	SESSION_TEXT,        /* after DATA */
	SESSION_CHUNK,       /* after BDAT */
	SESSION_SKIP_CHUNK,  /* after a BDAT that failed: read and dropped */
	SESSION_FILE_WAIT,   /* for a spool file from the queue */
	SESSION_SIGN_WAIT,   /* for the keeper's signatures on it */
	SESSION_COMMIT_WAIT, /* for the queue to have it on stable storage */
	SESSION_CLOSING,     /* the last reply is on its way */
	SESSION_LINGER,      /* it is sent; what the client still sends is dropped */
	SESSION_DEAD,        /* to be freed at the end of the event */
};

struct session {
	LIST_ENTRY(session) link;
	struct service *service;
	struct settings *settings;
	const struct listener_config *listener;
	const char
	    *hostname; /* the listener's, or the one of the address that the client came to */
	uint64_t id;
	int fd;
	enum session_state state;
	struct event readable;
	struct event writable;
	struct event timer; /* the end of a penalty, of lingering, of what must come soon */
	bool reading;       /* `readable` is added */
	bool blocked;       /* the socket takes no more output */
	bool lmtp;
	struct tls *tls; /* owned; NULL in the clear */
	enum tls_progress handshake;
	int64_t handshake_end_ms;
	bool extended; /* EHLO or LHLO */
	bool linger;   /* the client may be sending: don't reset it */
	bool counted;  /* by the crowd */
	enum client_family counted_as;
	struct client client;
	char client_text[CLIENT_TEXT_MAX + 1];
	char *client_name;          /* owned; NULL none */
	bool name_unknown;          /* it couldn't be looked up */
	char *helo;                 /* owned; NULL before the greeting */
	char *auth_user;            /* owned; as who the client has logged in, NULL as nobody */
	const char *auth_mechanism; /* a literal; by which he has, or tries to */
	bool auth_refused; /* what comes now may be a login nevertheless: not to be logged */
	/* Requests under way, or 0. */
	uint32_t name_request;
	uint32_t rcpt_request;
	uint32_t queue_request; /* a spool file, or the commit */
	uint32_t auth_login;    /* its first request names it */
	uint32_t auth_request;
	struct session_signing *signing; /* the keeper is asked; owned, NULL otherwise */

	struct buf input; /* not yet processed */
	size_t input_start;
	size_t input_behind; /* bytes that came after the line at hand */
	struct buf output;
	size_t output_start;
	uint64_t dropped; /* bytes, in SKIP_LINE and LINGER */

	struct mail *mail; /* NULL between transactions */
	bool text_over;
	uint64_t chunk_left;
	bool chunk_last;
	struct reply chunk_reply; /* SKIP_CHUNK: after it; code 0 none */

	int64_t begun_ms;
	uint32_t mails; /* MAIL commands */
	uint32_t messages;
	uint32_t recipients;
	uint32_t errors;
	uint32_t noops;
	uint32_t unknown_users;
	const char *end_reason;
};

static inline const struct config *
session_config(const struct session *s)
{
	return s->settings->config;
}
const char *session_hostname(const struct session *);

/* The reverse name has come, or "". */
void session_named(void *, const char *name);

/* Output: appended, sent when the input at hand is used up. 5xx replies count as errors. */
void session_send(struct session *, const struct reply *);
void session_reply(struct session *, unsigned code, const char *enhanced, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A line that isn't a whole reply: "250-SIZE", without its end. */
void session_send_line(struct session *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A log line begun with this session's id. */
void session_log_begin(struct session *, struct log_line *, enum log_level, const char *event);
/* The same with who is at the other end. */
void session_log_client(struct session *, struct log_line *);
void session_log_reply(struct log_line *, const struct reply *);
/* A line of the dialogue, for who traces it. */
void session_trace(struct session *, const char *event, const void *text, size_t length);

/* The client has sent more than the line at hand, be it read yet or not. */
bool session_has_more_input(const struct session *);
/* Events and counts; `counted_as` is set. The caller goes on to session_settle(). */
void session_open(struct session *);
/* The end of every callback: what is to be sent is, and a dead session is freed. */
void session_settle(struct session *);
/* To be freed when settled, without a word. `reason` is for the log, a literal. */
void session_die(struct session *, const char *reason);
/* The session ends when its output is sent. */
void session_close(struct session *, const char *reason);
/* 421 and close (RFC 5321 3.8). */
void session_shut(struct session *, const char *enhanced, const char *reason, const char *text);
/* After an answer from elsewhere: goes on with the input that waited, and with the client. */
void session_resume(struct session *);
/* Forgets the transaction; what the queue has of it is dropped. */
void session_drop_mail(struct session *);

/* service.c */
uint64_t service_next_id(struct service *);
void service_count_gauge(enum client_family, int change);
/* Logs that a client was turned away; one line a second says how many. */
void service_log_refusal(struct service *, const char *client, const char *words);

/* session_begin.c */
void session_greet(struct session *);
size_t session_take_proxy_header(struct session *, const char *, size_t);

/* session_command.c */
/* A refusal, in one log line. */
void session_refuse(struct session *, const struct command *, unsigned code, const char *enhanced,
    const char *text);
void session_command(struct session *, const char *line, size_t length);
void session_rcpt_target(void *, const struct ipc_target *);
void session_rcpt_answered(void *, const struct reply *);

/* session_auth.c */
void session_auth(struct session *, const struct command *);
/* The line of EHLO's reply, where logins are offered. */
void session_send_auth_extension(struct session *);
/* A line of a login; returns how much of the input it was. */
size_t session_take_auth_line(struct session *, const char *, size_t);
void session_auth_challenged(void *, const void *data, size_t length);
void session_auth_answered(void *, const struct ipc_auth_done *);
/* The login under way, if there is one, won't go on. */
void session_forget_login(struct session *);

/* session_tls.c */

/* The handshake is over: what the client says and hears can't be read or changed on its way. */
bool session_is_encrypted(const struct session *);
/* STARTTLS may be said now. */
bool session_offers_tls(const struct session *);
void session_starttls(struct session *, const struct command *);
/* A connection that begins with the handshake. */
void session_begin_tls(struct session *);
/* SESSION_HANDSHAKE: the next step, and its time. */
void session_handshake(struct session *);
void session_handshake_timer(struct session *);
void session_fail_tls(struct session *, const char *why);
/* Version and cipher, if there are any. */
void session_log_tls(const struct session *, struct log_line *);
#define SESSION_BINDING_MAX 64
/*
 * What binds a login to this very TLS connection, so that it is worth nothing on another: `type` is
 * "tls-exporter" (RFC 9266) or "tls-server-end-point" (RFC 5929). Fills at most SESSION_BINDING_MAX
 * bytes. False when the session isn't encrypted, or has no binding of that type.
 */
bool session_channel_binding(
    const struct session *, const char *type, uint8_t *binding, size_t *length);

/* session_facts.c */
/* Of the message that is about to be committed; lent, until it is asked for again. NULL when there is
 * no history. */
const struct ipc_facts *session_facts(const struct session *);
/* A sender isn't taken; that recipient isn't, or (NULL) the message. */
void session_tell_mail_refused(struct session *, const struct mail_command *, const struct reply *);
void session_tell_refused(struct session *, const struct address *, const struct reply *);
/* The session ends: if a message was coming, it is lost. */
void session_tell_cut_off(struct session *);

/* session_text.c */
void session_begin_data(struct session *, const struct command *);
void session_begin_chunk(struct session *, const struct command *);
/* Bytes of the text; returns how many were used. */
size_t session_take_text(struct session *, const char *, size_t);
void session_file_answered(void *, int fd, const struct reply *);
void session_commit_answered(void *, const struct reply *);
/* The signatures are there, or the message is refused. */
void session_signed(struct session *);

/* session_sign.c */

/* Has the text signed if there is a key for it: before any of it comes. */
void session_prepare_signing(struct session *);
/* The text is over. True when the keeper is asked: session_signed() will be called, later. */
bool session_begin_signing(struct session *) __attribute__((warn_unused_result));
/* What the keeper was asked is not wanted any more. */
void session_forget_signing(struct session *);

#endif
