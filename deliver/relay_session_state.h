/*
 * The inside of a session, and its parts: relay_session.c leads to where mail can be sent, by way of
 * relay_session_auth.c where there are credentials; relay_session_mail.c sends it.
 */
#ifndef DELIVER_RELAY_SESSION_STATE_H
#define DELIVER_RELAY_SESSION_STATE_H

#include "deliver/relay_connection.h"
#include "deliver/relay_dialogue.h"
#include "deliver/relay_extensions.h"
#include "deliver/relay_reply.h"
#include "deliver/relay_session.h"
#include "deliver/relay_text.h"

struct event;

/* Named for what is waited for. */
enum session_state {
	SESSION_CLOSED,
	SESSION_CONNECTING,
	SESSION_GREETING,
	SESSION_EHLO,
	SESSION_HELO,
	SESSION_STARTTLS,
	SESSION_HANDSHAKE,
	SESSION_AUTH,
	SESSION_READY, /* a task */
	SESSION_PAUSE, /* the pause between two transactions */
	SESSION_RSET,
	SESSION_MAIL,
	SESSION_RCPT,
	SESSION_DATA,
	SESSION_TEXT, /* the text to be sent, and replies to chunks */
	SESSION_END,  /* the reply to the text, or the replies */
	SESSION_QUIT,
};

struct mail {
	struct task *task;
	uint32_t offered;  /* recipients, the first of the task's in RCPT_OFFERED or RCPT_TAKEN */
	uint32_t *indexes; /* of them, in the order in which they were offered */
	uint32_t asked;    /* RCPTs sent */
	uint32_t answered; /* RCPTs replied to, later the taken ones with a reply to the text */
	uint32_t taken;
	bool mail_taken;
	bool has_replied; /* anything at all */
	bool has_failed;  /* something went wrong: the dialogue is wanted */
	bool data_asked;
	bool text_done;  /* all of it is written, or waits to be */
	bool is_unsure;  /* the server has all of it and hasn't replied */
	uint32_t chunks; /* BDATs without a reply */
	struct reply mail_reply;
	struct relay_text text;
	struct buf chunk;
};

struct session {
	TAILQ_ENTRY(session) entry;
	void *note;
	struct event_base *base;
	const struct session_settings *settings;
	const struct session_owner *owner;
	enum session_state state;
	struct connection *connection;
	struct reply_parser parser;
	struct extensions extensions;
	struct dialogue dialogue;
	struct server_words server;
	struct event *pause;
	struct sockaddr_storage address; /* connected to, and from */
	socklen_t address_length;
	struct sockaddr_storage source;
	socklen_t source_length;
	char helo[HOSTNAME_MAX + 1]; /* "" the settings' */
	bool was_ready;
	bool plain_only;                       /* the handshake has failed, and needn't succeed */
	SSL *handshake;                        /* held, for what it says when it has failed; NULL */
	char own_address[CLIENT_TEXT_MAX + 1]; /* as text */
	enum tls_result tls_result;
	char tls_reason[200]; /* unless it is TLS_RESULT_SUCCESS */
	bool needs_reset;
	bool has_more;                      /* came in behind the reply that is being looked at */
	struct auth *auth;                  /* under way; NULL */
	char challenge[REPLY_LINE_MAX + 1]; /* of it, as it came */
	uint32_t sent;                      /* transactions */
	int64_t deadline_ms;
	int64_t transaction_until_ms;
	int64_t ready_ms;
	uint64_t progress;
	struct mail mail;
};

/* relay_session.c */

void session_expect(struct session *, enum session_state, unsigned within_ms);
/* Sends what was appended to the output since `start`, and notes it in the dialogue. */
void session_say(struct session *, size_t start);
/* The connection is of no use any more: ends transaction and connection. */
void session_fail(struct session *, const struct failure *);
/* The server speaks no sense, or not in turn. */
void session_fail_words(struct session *, const char *enhanced, const char *words);
/* Its last reply as a failure. */
void session_failure_of_reply(
    const struct session *, const struct reply *, enum relay_fault, struct failure *);
/* A transaction has ended (`counts`: it had begun): the next, or goodbye. */
void session_next(struct session *, bool counts);

/* Mail can be sent. */
void session_become_ready(struct session *);

/* relay_session_auth.c */

void session_begin_auth(struct session *);
/* The reply to the command, or to an answer; what a challenge says is in `challenge`. */
void session_auth_replied(struct session *, const struct reply *);
void session_forget_auth(struct session *);

/* relay_session_mail.c */

void mail_begin(struct session *, struct task *);
void mail_reply(struct session *, const struct reply *);
/* The output is with the kernel: more text. */
void mail_drained(struct session *);
/* The connection has failed. */
void mail_lost(struct session *, const struct failure *);

#endif
