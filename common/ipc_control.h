/*
 * What smtpctl says to `control` over the control socket, and what control passes on to the queue
 * and the directory. Control knows its caller by SO_PEERCRED, decides what is allowed, logs what
 * changes something, and relays frames of the same types: it adds nothing.
 *
 *	smtpctl -> control                 control -> smtpctl
 *	QUEUE_LIST (filter)                ENVELOPE …; more frames while the client reads; then DONE
 *	QUEUE_ACT (action, filter)         DONE with the number of envelopes
 *	QUEUE_MESSAGE (filter: an id)      DONE with a descriptor to the message's text, read-only
 *	QUEUE_PAUSE                        DONE
 *	ACCOUNT (words)                    LINE …, DONE
 *	SUPERVISOR (struct ipc_control)    DONE (after the supervisor's answer)
 *	DKIM (struct ipc_dkim)             LINE …, DONE: the supervisor's (ipc_supervisor.h)
 *	STATS                              STATS, DONE: all counters once; smtpctl monitor asks
 *	                                   again
 *	DESTINATION_LIST (filter)          DESTINATION …, in portions like ENVELOPEs; then DONE
 *	SCRIPTS (struct ipc_scripts)       DONE with a descriptor: a session of ManageSieve on that user's
 *	                                   scripts, logged in, whose first line is yet to be read
 *	STATUS                             DONE; words are three lines, "MDA running\nMTA …\nSMTP …"
 *	EXPLAIN (struct ipc_rcpt)          the directory's EXPLAIN_STEPs; then for each different
 *	                                   EXPLAIN_RELAY among them (EXPLAIN_ROUTES_MAX at most) an
 *	                                   EXPLAIN_RELAY; the relay's EXPLAIN_ROUTE, an EXPLAIN_HOST
 *	                                   for each of its hosts, HOSTs that it knows of them; the
 *	                                   queue's DESTINATIONs and EXPLAIN_QUEUEs; a LINE in the
 *	                                   place of what a process doesn't tell; then DONE, whose
 *	                                   words are what a client would be answered to RCPT
 *	TRACE_MESSAGE (struct ipc_trace)   HISTORY …, an event each, in the order in which they
 *	                                   came; then DONE, whose words say when there is more
 *	HOST_LIST                          HOST …, in portions; then DONE
 *	HOSTSTAT_LIST                      HOSTSTAT …, in portions; then DONE
 *
 * The fields of a LINE are separated by tabs: of DOMAIN_LIST the domain; of USER_LIST the address
 * and the quota in bytes and in messages (decimal, 0 none); of ALIAS_LIST the address and each
 * target; at most ACCOUNT_WORDS_MAX fields, so an alias with more targets takes several lines; of
 * SLOW_LIST "network" or "account", which one, its failed logins, how far apart its passwords are
 * looked at in ms, and how long ago the last one failed in seconds.
 *
 * Control asks the queue in portions: QUEUE_LIST carries a cursor; the queue answers with at most
 * `portion` ENVELOPEs and QUEUE_LIST_MORE (the next cursor) or DONE. Control asks for the next
 * portion only when its client has read the last, so that a client that stops reading costs one
 * portion. HOST_LIST and HOSTSTAT_LIST (struct ipc_relay_list) and EXPLAIN_RELAY go the same way.
 *
 * SCRIPTS goes to the directory, which knows the user's Maildir and tells the supervisor, which sends control
 * the session (ipc_supervisor.h). The directory answers only when there is none to be had.
 *
 * The relay is less trusted than control: its frames are decoded and counted before they are passed
 * on, and one that isn't as this says costs it the channel.
 */
#ifndef COMMON_IPC_CONTROL_H
#define COMMON_IPC_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"
#include "common/imsg.h"
#include "common/ipc_history.h"
#include "common/ipc_explain.h"
#include "common/ipc_supervisor.h"
#include "common/stats.h"

enum ipc_control_type {
	CONTROL_QUEUE_LIST = 1, /* struct ipc_filter */
	/* struct transaction, struct envelope, and a text (u16 length): the last dialogue that
	 * failed when an envelope was asked for by its id, else "" */
	CONTROL_ENVELOPE,
	CONTROL_QUEUE_LIST_MORE, /* u64 cursor; queue to control only */
	CONTROL_QUEUE_ACT,       /* struct ipc_act */
	CONTROL_QUEUE_MESSAGE,   /* struct ipc_filter with an id */
	CONTROL_QUEUE_PAUSE,     /* struct ipc_pause */
	CONTROL_QUEUE_STATUS,    /* no payload; queue's DONE words: "MDA running\nMTA running" */
	CONTROL_ACCOUNT,         /* struct ipc_account */
	CONTROL_LINE,            /* a text, u16 length */
	CONTROL_SUPERVISOR,      /* struct ipc_control */
	CONTROL_STATS,  /* request: no payload; answer: STATS_COUNT u64, u64 uptime in seconds */
	CONTROL_STATUS, /* no payload */
	CONTROL_DONE,   /* struct ipc_result; may carry a descriptor */
	CONTROL_DESTINATION_LIST, /* struct ipc_filter: `to` is "" or "@domain", and the cursor's */
	CONTROL_DESTINATION,      /* struct ipc_destination */
	CONTROL_DKIM,             /* struct ipc_dkim */
	CONTROL_EXPLAIN,          /* struct ipc_rcpt: who asks, for whom */
	CONTROL_EXPLAIN_STEP,     /* struct ipc_explain_step */
	CONTROL_EXPLAIN_RELAY,    /* struct ipc_explain_relay */
	CONTROL_EXPLAIN_ROUTE,    /* struct ipc_explain_route */
	CONTROL_EXPLAIN_HOST,     /* struct ipc_explain_host */
	CONTROL_EXPLAIN_QUEUE,    /* struct ipc_explain_queue */
	CONTROL_HOST_LIST,        /* no payload; to the relay: struct ipc_relay_list */
	CONTROL_HOST,             /* struct ipc_host */
	CONTROL_HOSTSTAT_LIST,    /* no payload; to the relay: struct ipc_relay_list */
	CONTROL_HOSTSTAT,         /* struct ipc_hoststat */
	CONTROL_SCRIPTS,          /* struct ipc_scripts */
	CONTROL_TRACE_MESSAGE,    /* struct ipc_trace */
	CONTROL_HISTORY,          /* struct history_event */
	CONTROL_TYPE_END,
};

/* Destinations that one answer to EXPLAIN tells of. */
#define EXPLAIN_ROUTES_MAX 16

struct ipc_filter {
	uint64_t id;                     /* 0 any; an envelope id, or a message id (upper half 0) */
	char from[ADDRESS_TEXT_MAX + 1]; /* "" any; "@domain" or an address */
	char to[ADDRESS_TEXT_MAX + 1];   /* compared with rcpt and dest */
	uint32_t older;                  /* seconds since created; 0 any */
	bool has_state;
	enum envelope_state state;
	uint64_t cursor;  /* QUEUE_LIST: start; 0 from the beginning */
	uint32_t portion; /* QUEUE_LIST: at most this many */
};
void ipc_filter_encode(struct buf *, const struct ipc_filter *);
bool ipc_filter_decode(struct buf_reader *, struct ipc_filter *);

enum queue_action {
	QUEUE_SCHEDULE, /* try now */
	QUEUE_REMOVE,   /* no bounce */
	QUEUE_EXPIRE,   /* bounce now */
	QUEUE_HOLD,     /* pause envelope */
	QUEUE_UNHOLD,
	QUEUE_DISCOVER, /* schedule what is there under this id */
	QUEUE_ACTION_COUNT,
};
struct ipc_act {
	enum queue_action action;
	uint32_t caller_uid;
	struct ipc_filter filter;
};
void ipc_act_encode(struct buf *, const struct ipc_act *);
bool ipc_act_decode(struct buf_reader *, struct ipc_act *);

struct ipc_pause {
	bool mda; /* which: mda or mta */
	bool paused;
	uint32_t caller_uid;
	char domain[ADDRESS_DOMAIN_MAX + 1]; /* mta: of this destination alone; "" all */
};
void ipc_pause_encode(struct buf *, const struct ipc_pause *);
bool ipc_pause_decode(struct buf_reader *, struct ipc_pause *);

/* A line of mail to other hosts, and what is known of where it goes. */
enum destination_state {
	DESTINATION_RUNNING,
	DESTINATION_PUT_OFF, /* it can't be reached */
	DESTINATION_PAUSED,
	DESTINATION_NO_RELAY, /* the relay is away */
	DESTINATION_STATE_COUNT,
};
struct ipc_destination {
	char to[ADDRESS_TEXT_MAX + 1]; /* a domain, or "via" and smarthosts */
	char action[ACTION_NAME_MAX + 1];
	enum destination_state state;
	uint32_t queued;    /* envelopes in all */
	uint32_t waiting;   /* of which to be tried as soon as may be */
	uint32_t in_flight; /* messages */
	uint32_t window;    /* so many may be, at once */
	uint32_t failures;  /* to reach it, in a row */
	int64_t next_try;   /* wall; 0: it isn't put off */
	int64_t last_failure;
	struct reply reply; /* that failed last; code 0: none */
	char host[HOSTNAME_MAX + 1];
};
void ipc_destination_encode(struct buf *, const struct ipc_destination *);
bool ipc_destination_decode(struct buf_reader *, struct ipc_destination *);

enum account_verb {
	ACCOUNT_DOMAIN_ADD, /* domain */
	ACCOUNT_DOMAIN_DELETE,
	ACCOUNT_DOMAIN_LIST,
	ACCOUNT_USER_ADD, /* address, password hash ("" none), SCRAM verifier ("" none) */
	ACCOUNT_USER_DELETE,
	ACCOUNT_USER_PASSWORD, /* address, password hash, SCRAM verifier: hashed by smtpctl, so
	                        * that no clear password crosses a process */
	ACCOUNT_USER_LIST,     /* [domain] */
	ACCOUNT_USER_QUOTA,    /* address, bytes, messages; 0 none */
	ACCOUNT_ALIAS_ADD,     /* address or @domain, target … */
	ACCOUNT_ALIAS_DELETE,  /* address [target …] */
	ACCOUNT_ALIAS_LIST,    /* [domain] */
	ACCOUNT_SLOW_LIST,     /* networks and accounts whose logins are slowed down */
	/* [domain]: TLS results that wait to be reported. A line: day, domain, policy, sessions that
	 * succeeded, that failed, and of each kind of failure its name and number, between tabs. */
	ACCOUNT_TLS_RESULT_LIST,
	ACCOUNT_TLS_REPORT_SEND, /* [day], as 2026-01-31; all that are over */
	ACCOUNT_VERB_COUNT,
};
/* Of the verifiers that smtpctl makes (RFC 7677 4 asks for 4,096 at least): whoever has stolen one
 * guesses this much slower, and each login costs its client so much. Cyrus's library, which logs
 * Postfix in at its smarthost, computes no more than 65,536. */
#define ACCOUNT_SCRAM_ITERATIONS 65536
#define ACCOUNT_SCRAM_SALT       16
#define ACCOUNT_WORDS_MAX        64
#define IPC_ACCOUNT_WORD_MAX     1024        /* bytes of a word */
#define IPC_ACCOUNT_TEXT_MAX     (15 * 1024) /* bytes of all words together */
struct ipc_account {
	enum account_verb verb;
	uint32_t caller_uid;
	uint32_t word_count;
	char *words[ACCOUNT_WORDS_MAX]; /* owned */
};
void ipc_account_encode(struct buf *, const struct ipc_account *);
bool ipc_account_decode(struct buf_reader *, struct ipc_account *);
void ipc_account_free(struct ipc_account *); /* its words */

/* CONTROL_SCRIPTS */
#define SCRIPTS_PURPOSE_MAX 255
struct ipc_scripts {
	uint32_t caller_uid;
	char user[USER_NAME_MAX + 1];          /* as for a login; not "" */
	char purpose[SCRIPTS_PURPOSE_MAX + 1]; /* for the log: "put holiday" */
};
void ipc_scripts_encode(struct buf *, const struct ipc_scripts *);
bool ipc_scripts_decode(struct buf_reader *, struct ipc_scripts *);

struct ipc_result {
	uint32_t exit_code;            /* sysexits; 0 success */
	uint64_t count;                /* envelopes acted on */
	char words[IPC_WORDS_MAX + 1]; /* why not, or what to print */
};
void ipc_result_encode(struct buf *, const struct ipc_result *);
bool ipc_result_decode(struct buf_reader *, struct ipc_result *);

#endif
