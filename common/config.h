/*
 * The configuration as all programs see it. smtpd/parse.y alone reads smtpd.conf and makes one of
 * these; the supervisor hands it, encoded, as a sealed memfd to each child, which decodes it. A
 * config never changes once made: reload makes a new one.
 *
 * Sizes are bytes, durations seconds, unless the name says otherwise. All strings are owned by the
 * config and never NULL ("" where not given), all arrays too.
 */
#ifndef COMMON_CONFIG_H
#define COMMON_CONFIG_H

#include <sys/socket.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

/* Which bare LF and CR in a message are accepted (`smtp line-ends`). */
enum line_ends {
	LINE_ENDS_STRICT,
	LINE_ENDS_NORMALISE,
	LINE_ENDS_COUNT
};

enum listener_protocol {
	LISTEN_SMTP,
	LISTEN_LMTP,
	LISTEN_PROTOCOL_COUNT
};

struct listener_config {
	struct sockaddr_storage address; /* AF_INET, AF_INET6 or AF_UNIX */
	uint32_t address_length;
	enum listener_protocol protocol; /* "lmtp" */
	bool proxy_v2;       /* a PROXY v2 header comes first, from addresses in proxy_trusted */
	char *proxy_trusted; /* table of addresses allowed to send it; "" those of loopback */
	char *hostname;      /* banner and Received; "" the config's */
	char *tag;
	bool no_dsn;
	bool mask_source; /* "mask-src": no client address in Received */
};

enum table_backend {
	TABLE_STATIC,   /* { a, b } or { k = v } in the config */
	TABLE_FILE,     /* file:PATH */
	TABLE_DB,       /* db:PATH, as makemap writes it */
	TABLE_ACCOUNTS, /* the accounts database */
	TABLE_BACKEND_COUNT,
};

struct table_entry {
	char *key;
	char *value; /* "" in a list */
};

struct table_config {
	char *name; /* "<anonymous:3>" for inline tables; "accounts" for the database */
	enum table_backend backend;
	char *path;
	struct table_entry *entries; /* TABLE_STATIC */
	size_t entry_count;
};

enum action_method {
	ACTION_MAILDIR,
	ACTION_RELAY,
	ACTION_EXPAND_ONLY,
	ACTION_METHOD_COUNT
};

struct action_config {
	char *name;
	enum action_method method;
	char *path; /* maildir: a template, "%{dest.user:lowercase}"; "" the user's ~/Maildir */
	char *alias_table; /* names of tables; "" none */
	char *virtual_table;
	char *userbase_table;
	char *user;       /* deliver as this system user; "" the mailbox's owner */
	bool allow_pipes; /* "pipes": alias targets "|command" may be used */
	uint32_t ttl;     /* 0: the queue's */
	char *relay_host; /* understood and kept for program relay */
};

/* A condition of a match rule compares one thing with a table or a fixed meaning. */
enum match_from {
	MATCH_FROM_LOCAL,
	MATCH_FROM_ANY,
	MATCH_FROM_AUTH,
	MATCH_FROM_SOURCE,
	MATCH_FROM_SOCKET,
	MATCH_FROM_COUNT
};
enum match_for {
	MATCH_FOR_LOCAL,
	MATCH_FOR_ANY,
	MATCH_FOR_DOMAIN,
	MATCH_FOR_RCPT,
	MATCH_FOR_COUNT
};

struct rule_config {
	enum match_from from;
	bool from_negated;
	char *from_table; /* MATCH_FROM_SOURCE: netaddr table */
	enum match_for for_;
	bool for_negated;
	char *for_table; /* MATCH_FOR_DOMAIN: domain table; MATCH_FOR_RCPT: mailaddr table */
	char *tag;       /* "" any */
	bool tag_negated;
	char *helo_table; /* "" any */
	bool helo_negated;
	char *mail_from_table; /* "" any */
	bool mail_from_negated;
	char *rcpt_to_table; /* "" any */
	bool rcpt_to_negated;
	char *action;  /* "" : reject */
	uint32_t line; /* in smtpd.conf, for the log and explain */
};

struct limits_config { /* `smtp limit KEYWORD N`; each documented in smtpd.conf(5) with its default
	                */
	uint32_t sessions;             /* 20000: over all listeners */
	uint32_t sessions_per_address; /* 500: an IPv4 address or an IPv6 /64 */
	uint32_t sessions_per_network; /* 2000: an IPv4 /24 or an IPv6 /48 */
	uint32_t transactions;         /* 1000: MAIL commands a session ("max-mails") */
	uint32_t recipients;           /* 1000: a transaction ("max-rcpt") */
	uint32_t targets;              /* 1000: mailboxes one recipient may expand to */
	uint32_t errors;               /* 20: 5xx replies before 421 ("max-errors") */
	uint32_t unknown_users; /* 10: after these, each further answer is slowed by one second */
	uint32_t noops;         /* 1000: NOOP, RSET, VRFY, HELP, EHLO together a session */
	uint32_t command_line;  /* 2048 bytes with CRLF (RFC 5321 4.5.3.1.4 asks for 512) */
	uint32_t text_line; /* 1048576 bytes before its CRLF; the RFC's 1000 is less than real mail
	                       has */
	uint32_t header_size;      /* 1048576 bytes (all header fields together) */
	uint32_t received;         /* 100 Received: fields; more is a loop (RFC 5321 6.3) */
	uint32_t idle_time;        /* 300 s without a byte (RFC 5321 4.5.3.2.7) */
	uint32_t session_time;     /* 7200 s in all */
	uint32_t resolver_time_ms; /* 5000: for the client's reverse name */
	uint32_t lookup_time;      /* 30 s: for a recipient, before the client is to try later */
};

struct config {
	char *hostname;              /* smtp hostname; default gethostname() */
	char *postmaster;            /* address that double bounces go to; "" postmaster@hostname */
	char *subaddress_delimiters; /* "+" ; smtp sub-addr-delim */
	uint64_t max_message_size;   /* 35 MiB */
	enum line_ends line_ends;
	struct limits_config limits;

	uint32_t queue_ttl;          /* 4 days */
	uint32_t queue_retry_first;  /* 400 s until the second try, then growing */
	uint32_t queue_retry_max;    /* 4 h between tries */
	uint32_t queue_free_percent; /* 5: of the spool's disk stays free */
	uint64_t queue_segment_size; /* 64 MiB */
	uint32_t mda_sessions;       /* 256: deliveries at once to one mda */
	uint32_t mda_processes;      /* 32: mda processes at once */
	uint32_t bounce_warn[8];     /* `bounce warn-interval`; 4 h by default */
	size_t bounce_warn_count;

	char *spool_directory; /* LOCALSTATEDIR/spool/postern */
	char *state_directory; /* LOCALSTATEDIR/lib/postern: accounts database */
	char *run_directory;   /* RUNSTATEDIR/postern: smtpd.sock, empty/ */
	char *mail_user;       /* owner of mailboxes of the accounts database: _vmail */
	char *mail_directory;  /* and where: LOCALSTATEDIR/vmail ; /DOMAIN/USER below it */
	char *nameserver;      /* ADDRESS[@PORT] for the resolver; "" those of /etc/resolv.conf */

	struct listener_config *listeners;
	size_t listener_count;
	struct table_config *tables;
	size_t table_count;
	struct action_config *actions;
	size_t action_count;
	struct rule_config *rules;
	size_t rule_count;
};

/* A config with every default set, empty strings and no listeners, tables, actions or rules. */
struct config *config_new(void);
void config_free(struct config *);
const struct action_config *config_find_action(const struct config *, const char *name);
const struct table_config *config_find_table(const struct config *, const char *name);

void config_encode(struct buf *, const struct config *);
/* NULL when the bytes aren't a whole config. */
struct config *config_decode(const void *, size_t);
/* A sealed memfd holding the encoded config, or -1; and back (does not close `fd`), or NULL. */
int config_to_fd(const struct config *);
struct config *config_from_fd(int fd);

#endif
