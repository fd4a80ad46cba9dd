/*
 * What becomes of mail to an address, and the hosts that mail is sent to, told fact by fact: the
 * directory's, the relay's and the queue's parts of `smtpctl explain`, `show hosts`, `show routes`
 * and `show hoststats`. Which frames carry these is in common/ipc_control.h.
 *
 * What the relay tells comes from other servers and from DNS, by a process that those might have
 * taken over: control decodes its frames before it passes them on, and counts them.
 */
#ifndef COMMON_IPC_EXPLAIN_H
#define COMMON_IPC_EXPLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"
#include "common/envelope.h"
#include "common/reply.h"

#define IPC_EXPLAIN_WORDS_MAX 255

/* The directory's part: from the recipient to where its mail ends. */
enum explain_step {
	/* `to` is the file of a line, "" the main one. */
	EXPLAIN_RULE,      /* `address` is decided by `line`: `action`, "" rejects */
	EXPLAIN_NO_RULE,   /* no line decides about it: it is refused */
	EXPLAIN_TRIED,     /* `line` isn't for it, by its condition `words` */
	EXPLAIN_UNDECIDED, /* whether `line` is for it can't be known now, by its condition `words` */
	EXPLAIN_SENDER,    /* who has logged in may not send as `address`: `words` */
	EXPLAIN_LEADS_TO,    /* an alias: `to` is looked at next */
	EXPLAIN_LEADS_AGAIN, /* an alias: `to` was looked at already */
	EXPLAIN_LEADS_BACK,  /* an alias: `to` is what it came from */
	EXPLAIN_MAILBOX,     /* `to` is the Maildir, `words` its owner */
	EXPLAIN_COMMAND,     /* `to` is run */
	EXPLAIN_RELAY,       /* `to` is the domain */
	EXPLAIN_LMTP,        /* `to` is host:port or a socket's path, `words` the name said there */
	EXPLAIN_QUOTA,       /* how full the one mailbox is that it leads to */
	EXPLAIN_HOURLY, /* who has logged in may mail to so many: `words` is what becomes of more */
	EXPLAIN_DEAD,   /* nothing comes of it, or of its target `to`: `words` */
	EXPLAIN_ERROR,  /* an alias that refuses: `words` */
	EXPLAIN_POSTMASTER, /* all that was refused is kept for the postmaster instead */
	EXPLAIN_FORWARD,    /* the .forward `to` is followed */
	EXPLAIN_INCLUDE,    /* the list in `to` is followed */
	EXPLAIN_WRAPPER,    /* `to` is run before it is put into the mailbox */
	EXPLAIN_CUT,        /* `line` more steps aren't told */
	EXPLAIN_STEP_COUNT,
};
/* More aren't told of one recipient. */
#define EXPLAIN_STEPS_MAX 1000
struct ipc_explain_step {
	enum explain_step step;
	uint32_t line;
	char address[ADDRESS_TEXT_MAX + 1];
	char action[ACTION_NAME_MAX + 1];
	char to[PATH_TEXT_MAX + 1];
	char words[IPC_EXPLAIN_WORDS_MAX + 1];
	/* EXPLAIN_QUOTA: 0 is none. EXPLAIN_HOURLY: recipients, in the place of messages. */
	uint64_t quota_bytes;
	uint64_t quota_messages;
	bool is_known; /* what is used */
	uint64_t used_bytes;
	uint64_t used_messages;
};
void ipc_explain_step_encode(struct buf *, const struct ipc_explain_step *);
bool ipc_explain_step_decode(struct buf_reader *, struct ipc_explain_step *);

/* What control asks the relay and the queue about: the end of an EXPLAIN_RELAY. */
struct ipc_explain_relay {
	char action[ACTION_NAME_MAX + 1];
	char domain[ADDRESS_DOMAIN_MAX + 1];
	uint64_t cursor; /* the queue's: 0 at first */
};
void ipc_explain_relay_encode(struct buf *, const struct ipc_explain_relay *);
bool ipc_explain_relay_decode(struct buf_reader *, struct ipc_explain_relay *);

/* The relay's part: first the route, then each of its hosts. */
enum explain_origin {
	EXPLAIN_BY_MX,
	EXPLAIN_BY_NAME,       /* the domain has no MX: it is its own host (RFC 5321 5.1) */
	EXPLAIN_BY_SMARTHOSTS, /* the action's `host` or `domain` */
	EXPLAIN_BY_LITERAL,
	EXPLAIN_ORIGIN_COUNT,
};
/* RFC 8461 3.2 */
enum explain_sts {
	EXPLAIN_STS_NONE, /* or the configuration leaves nothing to the domain's policy */
	EXPLAIN_STS_TESTING,
	EXPLAIN_STS_ENFORCE,
	EXPLAIN_STS_COUNT,
};
struct ipc_explain_route {
	struct reply reply; /* 250: there is one; else why not, all that follows is then empty */
	enum explain_origin origin;
	bool is_secure;                   /* EXPLAIN_BY_MX and _BY_NAME: DNSSEC vouches for it */
	uint32_t count;                   /* hosts */
	uint32_t seconds;                 /* that it is good for */
	char canonical[HOSTNAME_MAX + 1]; /* the domain's name after CNAMEs; "" the same */
	enum explain_sts sts;
	char sts_mx[1024]; /* patterns, each followed by a blank; perhaps cut */
};
void ipc_explain_route_encode(struct buf *, const struct ipc_explain_route *);
bool ipc_explain_route_decode(struct buf_reader *, struct ipc_explain_route *);

enum explain_dns {
	EXPLAIN_DNS_NOT_ASKED, /* there was no need */
	EXPLAIN_DNS_FOUND,
	EXPLAIN_DNS_NONE,
	EXPLAIN_DNS_FAILED,
	EXPLAIN_DNS_SILENT, /* no answer within the time for an explanation */
	EXPLAIN_DNS_COUNT,
};
enum explain_security {
	EXPLAIN_PLAIN,         /* no TLS */
	EXPLAIN_OPPORTUNISTIC, /* TLS when it is to be had */
	EXPLAIN_ENCRYPTED,     /* TLS, by whatever certificate */
	EXPLAIN_VERIFIED,      /* TLS with a certificate that an authority vouches for */
	EXPLAIN_DANE,          /* TLS with a certificate that TLSA records name */
	EXPLAIN_NOT_NAMED,     /* nothing is sent: the domain's MTA-STS policy doesn't name it */
	EXPLAIN_UNKNOWN,       /* DNS, which decides, has said nothing: nothing is sent */
	EXPLAIN_SECURITY_COUNT,
};
enum explain_tlsa {
	EXPLAIN_TLSA_NOT_ASKED, /* the configuration decides, or no signed record leads there */
	EXPLAIN_TLSA_NONE,
	EXPLAIN_TLSA_UNUSABLE, /* of kinds that mean nothing for SMTP */
	EXPLAIN_TLSA_USABLE,
	EXPLAIN_TLSA_FAILED, /* can't be looked up: the host isn't used (RFC 7672 2.1.3) */
	EXPLAIN_TLSA_SILENT,
	EXPLAIN_TLSA_COUNT,
};
#define IPC_HOST_ADDRESSES_MAX 16
#define IPC_SCHEME_MAX         15
#define IPC_SOURCE_MAX         64
struct ipc_addresses {
	uint32_t count;
	char all[IPC_HOST_ADDRESSES_MAX][CLIENT_TEXT_MAX + 1];
};
struct ipc_explain_host {
	char host[HOSTNAME_MAX + 1];
	uint16_t port;
	uint16_t preference;
	char scheme[IPC_SCHEME_MAX + 1]; /* "smtp", "smtps", … */
	bool is_address;
	enum explain_dns dns;
	bool is_secure; /* the addresses: DNSSEC vouches for them */
	struct ipc_addresses addresses;
	bool is_here; /* one of them is our own listener's: nothing is sent there */
	enum explain_tlsa tlsa;
	uint32_t tlsa_count;
	enum explain_security security;
	bool implicit_tls;
	char words[IPC_EXPLAIN_WORDS_MAX + 1]; /* why DNS failed */
};
void ipc_explain_host_encode(struct buf *, const struct ipc_explain_host *);
bool ipc_explain_host_decode(struct buf_reader *, struct ipc_explain_host *);

/* The queue's part: what mail to there waits for, and how much waits. In portions, to be added up.
 */
enum explain_stop {
	EXPLAIN_STOP_NOT,
	EXPLAIN_STOP_NO_RELAY,
	EXPLAIN_STOP_PAUSED, /* pause mta */
	EXPLAIN_STOP_DOMAIN_PAUSED,
	EXPLAIN_STOP_PUT_OFF,
	EXPLAIN_STOP_WINDOW,
	EXPLAIN_STOP_COUNT,
};
struct ipc_explain_queue {
	enum explain_stop stop;
	uint32_t ready;   /* to go as soon as it may be */
	uint32_t waiting; /* until their next try */
	uint32_t in_flight;
	uint32_t held;
	uint32_t bouncing;
	int64_t next_try; /* wall: the first of those that wait; 0: none does */
};
void ipc_explain_queue_encode(struct buf *, const struct ipc_explain_queue *);
bool ipc_explain_queue_decode(struct buf_reader *, struct ipc_explain_queue *);

/* A host as the relay knows it, by an action: what its connections there have in common. */
enum host_state {
	HOST_NEW,       /* nothing was tried yet */
	HOST_LOOKED_UP, /* DNS is being asked */
	HOST_CONNECTING,
	HOST_CONNECTED,
	HOST_IDLE,   /* without a connection, reached before */
	HOST_FAILED, /* tried after all others */
	HOST_STATE_COUNT,
};
struct ipc_host {
	uint64_t id; /* and the cursor of the listing */
	char host[HOSTNAME_MAX + 1];
	uint16_t port;
	char scheme[IPC_SCHEME_MAX + 1];
	char action[ACTION_NAME_MAX + 1];
	char source[IPC_SOURCE_MAX + 1];     /* the action's `src`; "" any address */
	char domain[ADDRESS_DOMAIN_MAX + 1]; /* for this one alone; "" for any */
	enum host_state state;
	bool is_stale; /* of an older configuration: it gets nothing more */
	enum explain_security security;
	bool implicit_tls;
	struct ipc_addresses addresses;
	uint32_t connections[IPC_HOST_ADDRESSES_MAX]; /* to each of them */
	uint32_t connecting;
	uint32_t connected;
	uint32_t window; /* so many connections may be */
	uint32_t waiting;
	uint32_t failures;       /* to connect, in a row */
	uint32_t penalty;        /* seconds that it is tried last */
	uint64_t transactions;   /* that came to their end */
	uint64_t failed;         /* of which the host refused all, or broke off */
	int64_t last_connection; /* wall; 0 never */
	int64_t last_failure;
	struct reply reply;                  /* of that; code 0: none */
	char tls[IPC_EXPLAIN_WORDS_MAX + 1]; /* of the last connection; "" none */
};
void ipc_host_encode(struct buf *, const struct ipc_host *);
bool ipc_host_decode(struct buf_reader *, struct ipc_host *);

/* How mail to a domain fared last. */
struct ipc_hoststat {
	uint64_t id; /* the cursor of the listing */
	char domain[ADDRESS_DOMAIN_MAX + 1];
	int64_t time;
	struct reply reply;
	char host[HOSTNAME_MAX + 1]; /* that said so; "" nobody did */
};
void ipc_hoststat_encode(struct buf *, const struct ipc_hoststat *);
bool ipc_hoststat_decode(struct buf_reader *, struct ipc_hoststat *);

/* A portion of the relay's listings: from behind the cursor on, at most so many. The answer's end is
 * CONTROL_QUEUE_LIST_MORE or CONTROL_DONE. */
#define IPC_RELAY_PORTION_MAX 256
struct ipc_relay_list {
	uint64_t cursor;
	uint32_t portion;
};
void ipc_relay_list_encode(struct buf *, const struct ipc_relay_list *);
bool ipc_relay_list_decode(struct buf_reader *, struct ipc_relay_list *);

#endif
