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

/* `resolver trust-anchor`: Debian's file, without which the resolver has the root's keys itself; and
 * the word that nothing is to be validated. */
#define TRUST_ANCHOR_DEFAULT "/usr/share/dns/root.key"
#define TRUST_ANCHOR_NONE    "none"

/* Of an action by LMTP, as it stands among a relay's hosts: HOST:PORT follows, or a Unix socket's
 * absolute path. */
#define LMTP_URL        "lmtp://"
#define SOCKET_PATH_MAX 107 /* of a Unix socket's path */

/* In the run directory: where programs of this machine submit mail, sendmail among them. */
#define LOCAL_SOCKET "smtp.sock"
/* In the run directory: of "metrics on socket" without a path. */
#define METRICS_SOCKET "metrics.sock"

/* Which bare LF and CR in a message are accepted (`smtp line-ends`). */
enum line_ends {
	LINE_ENDS_STRICT,
	LINE_ENDS_NORMALISE,
	LINE_ENDS_COUNT
};

enum listener_protocol {
	LISTEN_SMTP,
	LISTEN_LMTP,
	LISTEN_IMAP,
	LISTEN_POP3,
	LISTEN_SIEVE,
	LISTEN_METRICS, /* "metrics on": HTTP, for control */
	LISTEN_PROTOCOL_COUNT
};

/* When a listener's connections are encrypted. */
enum listener_tls {
	LISTEN_TLS_NONE,
	LISTEN_TLS_OPTIONAL, /* "tls": STARTTLS is offered */
	LISTEN_TLS_REQUIRED, /* "tls-require": no mail before it */
	LISTEN_TLS_IMPLICIT, /* "smtps", "imaps", "pop3s": from the first byte */
	LISTEN_TLS_COUNT
};

/* Whether a listener's clients log in. */
enum listener_auth {
	LISTEN_AUTH_NONE,
	LISTEN_AUTH_OPTIONAL,
	LISTEN_AUTH_REQUIRED,
	LISTEN_AUTH_COUNT
};

struct listener_config {
	struct sockaddr_storage address; /* AF_INET, AF_INET6 or AF_UNIX */
	uint32_t address_length;
	enum listener_protocol protocol; /* "lmtp", "imap", "pop3", "sieve" */
	bool proxy_v2;       /* a PROXY v2 header comes first, from addresses in proxy_trusted */
	char *proxy_trusted; /* table of addresses allowed to send it; "" those of loopback */
	char *hostname;      /* banner and Received; "" the config's */
	char *hostnames; /* table of own addresses and what stands for hostname there; "" none */
	char *tag;
	bool no_dsn;
	bool mask_source; /* "mask-src": no client address in Received */
	enum listener_tls tls;
	bool tls_verify;     /* "verify": a client certificate is asked for, and must be good */
	char *pkis;          /* names, separated by spaces; "" those whose name is the hostname */
	char *ca;            /* for tls_verify; "" the system's */
	char *tls_ciphers;   /* OpenSSL's list for TLS 1.2; "" the default */
	bool tls_1_3_only;   /* "protocols tlsv1.3" */
	bool tls_no_tickets; /* "no-tickets": each session begins with a whole handshake */
	enum listener_auth auth;
	char *auth_table;      /* of credentials; "accounts" the database */
	bool auth_without_tls; /* "auth-cleartext": AUTH is offered before STARTTLS too */
	char *senders_table;   /* user -> addresses to send as; "" their own and their aliases */
	bool masquerade;       /* From: becomes the sender of the envelope */
	bool received_auth;    /* "received-auth": the user's name in Received */
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
	ACTION_LMTP,
	ACTION_MBOX,
	ACTION_MDA,
	ACTION_FORWARD_ONLY,
	ACTION_METHOD_COUNT
};

/* How a relay's connections are encrypted; more by the host URL's scheme and by policy. */
enum relay_tls {
	RELAY_TLS_OPPORTUNISTIC,
	RELAY_TLS_REQUIRED,            /* "tls": and its certificate must be good */
	RELAY_TLS_REQUIRED_UNVERIFIED, /* "tls no-verify" */
	RELAY_TLS_COUNT
};

struct action_config {
	char *name;
	enum action_method method;
	char *path; /* maildir, mbox: a template, "%{dest.user:lowercase}"; "" the user's ~/Maildir,
	             * or file in /var/mail */
	char *command;     /* mda: a template */
	char *wrapper;     /* the name of one around the command; "" none */
	char *alias_table; /* names of tables; "" none */
	char *virtual_table;
	char *userbase_table;
	char *user;       /* deliver as this system user; "" the mailbox's owner */
	bool allow_pipes; /* "pipes": alias targets "|command" may be used */
	bool junk;        /* what is marked as spam goes to the folder Junk */
	uint32_t ttl;     /* 0: the queue's */
	/* By LMTP the recipient's address is said, not the user's name; where is in relay_hosts. */
	bool lmtp_rcpt_to;
	/* Relays. */
	char *relay_hosts;   /* smarthosts, URLs separated by spaces, in this order; "" the MXs */
	char *relay_domains; /* "domain <table>": domain -> smarthosts; "" none */
	char *relay_auth;    /* table label -> user:password */
	enum relay_tls relay_tls;
	char *relay_pki;         /* client certificate; "" none */
	char *relay_ciphers;     /* OpenSSL's list for TLS 1.2; "" the default */
	bool relay_tls_1_3_only; /* "protocols tlsv1.3" */
	char *relay_ca;          /* "" the system's */
	char *relay_helo;        /* "" the config's hostname */
	char *relay_helo_table;  /* "helo-src": own address -> name */
	char *relay_source;      /* table of own addresses to connect from; "" any */
	bool relay_backup;       /* "backup": only MXs preferred to us */
	char *relay_backup_name; /* as which we stand among them; "" the config's hostname */
	char *relay_mail_from;   /* "mail-from": sender, or "@domain", to use instead; "" none */
	bool relay_srs;          /* "srs": senders of forwarded mail are rewritten */
};

/* A certificate chain and its key (`pki NAME cert PATH`, `pki NAME key PATH`). */
struct pki_config {
	char *name;
	char *certificate;
	char *key;
};

/* Certificates of authorities (`ca NAME cert PATH`). */
struct ca_config {
	char *name;
	char *certificates;
};

/* `mda wrapper NAME COMMAND`: a command with "%{mda}" where an action's goes. */
struct wrapper_config {
	char *name;
	char *command;
};

#define RELAY_CIPHERS_MAX 255 /* bytes of an action's list */

/* "mta limit inet4": of what kind the addresses are that are connected to. */
enum relay_family {
	RELAY_FAMILY_ANY,
	RELAY_INET4,
	RELAY_INET6,
	RELAY_FAMILY_COUNT
};

/* `mta limit [for domain D | for mx M] KEYWORD N`. 0: not given. */
struct mta_limit_config {
	char *domain;            /* or "*.example.org"; "" any */
	char *mx;                /* likewise, of the host connected to */
	uint32_t sessions;       /* connections at once to one host */
	uint32_t sessions_total; /* connections at once to all hosts that the rule names */
	uint32_t messages;       /* a connection */
	uint32_t recipients;     /* a transaction */
	uint32_t messages_per_minute;
	uint32_t pause_ms; /* between two transactions of a connection */
	enum relay_family family;
};

/* A condition of a match rule compares one thing with a table or a fixed meaning. */
enum match_from {
	MATCH_FROM_LOCAL,
	MATCH_FROM_ANY,
	MATCH_FROM_AUTH,
	MATCH_FROM_SOURCE,
	MATCH_FROM_SOCKET,
	MATCH_FROM_RDNS,
	MATCH_FROM_COUNT
};
enum match_for {
	MATCH_FOR_LOCAL,
	MATCH_FOR_ANY,
	MATCH_FOR_DOMAIN,
	MATCH_FOR_RCPT,
	MATCH_FOR_COUNT
};

/* Tables are named; "" any. With its `*_regex` a table's entries are regular expressions. */
struct rule_config {
	enum match_from from;
	bool from_negated;
	bool from_regex;
	char *from_table; /* MATCH_FROM_SOURCE: networks; _AUTH: users; _RDNS: domains */
	enum match_for for_;
	bool for_negated;
	bool for_regex;
	char *for_table; /* MATCH_FOR_DOMAIN: domains; MATCH_FOR_RCPT: mail addresses */
	char *tag_table;
	bool tag_negated;
	bool tag_regex;
	char *helo_table; /* domains */
	bool helo_negated;
	bool helo_regex;
	char *mail_from_table; /* mail addresses */
	bool mail_from_negated;
	bool mail_from_regex;
	char *rcpt_to_table;
	bool rcpt_to_negated;
	bool rcpt_to_regex;
	bool auth; /* "auth": the client has logged in */
	bool auth_negated;
	bool auth_regex;
	char *auth_table; /* as one of these */
	bool tls;         /* "tls": the session is encrypted */
	bool tls_negated;
	char *action;  /* "" : reject */
	uint32_t line; /* in smtpd.conf, for the log and explain */
	char *file;    /* or in this one, which it includes; "" */
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
	uint32_t handshake_time;   /* 30 s: for TLS */
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
	char *trust_anchor;    /* DNSSEC: a file; TRUST_ANCHOR_NONE; "" TRUST_ANCHOR_DEFAULT */
	char *default_ca;      /* /etc/ssl/certs/ca-certificates.crt */

	uint32_t mta_sessions;             /* 256: connections to other hosts at once */
	uint32_t mta_sessions_per_host;    /* 10 */
	uint32_t mta_messages_per_session; /* 100 */
	uint32_t mta_recipients;           /* 100: a transaction */
	uint32_t mta_connect_time;         /* 30 s */
	uint32_t mta_idle_time;            /* 5 s that a connection is kept without work */
	bool mta_no_line_limit;            /* long lines go out as they are */
	bool mta_no_sts;                   /* policies of MTA-STS are not looked for */
	bool mta_no_private_networks;      /* others' mail servers can't be there */
	char *srs_key;                /* secret of the Sender Rewriting Scheme; "" there is none */
	char *srs_key_backup;         /* good for what was made with it; "" none */
	uint32_t srs_ttl;             /* 4 days, as in OpenSMTPD: for how long mail may come back */
	char *tls_reports_from;       /* author of TLS reports; "" none are sent */
	uint32_t auth_failures;       /* 10: of a network or an account before answers slow down */
	uint32_t user_mails_per_hour; /* 0, none: recipients of a user who has logged in */
	bool user_mails_hold;         /* those over it wait for an administrator */
	bool history_off;             /* what became of messages isn't kept */
	uint32_t history_keep;        /* 14 days */
	uint64_t history_max_size;    /* 256 MiB */

	struct listener_config *listeners;
	size_t listener_count;
	struct table_config *tables;
	size_t table_count;
	struct action_config *actions;
	size_t action_count;
	struct rule_config *rules;
	size_t rule_count;
	struct pki_config *pkis;
	size_t pki_count;
	struct ca_config *cas;
	size_t ca_count;
	struct mta_limit_config *mta_limits;
	size_t mta_limit_count;
	struct wrapper_config *wrappers;
	size_t wrapper_count;
};

/* A config with every default set, empty strings and no listeners, tables, actions or rules. */
struct config *config_new(void);
void config_free(struct config *);
/* Whether mailaccess has it, not listener. */
bool listener_is_access(const struct listener_config *);
/* Whether control has it. */
bool listener_is_metrics(const struct listener_config *);
/* Whether there are any listeners that mailaccess has. */
bool config_has_access(const struct config *);
/* Strings that are still NULL become "". */
void config_complete_listener(struct listener_config *);
void config_complete_action(struct action_config *);
void config_complete_rule(struct rule_config *);
void config_complete_pki(struct pki_config *);
void config_complete_ca(struct ca_config *);
void config_complete_mta_limit(struct mta_limit_config *);
/* Whether mail goes to users by it: into a mailbox, to a command, to another program by LMTP. */
bool action_is_local(const struct action_config *);
const struct action_config *config_find_action(const struct config *, const char *name);
const struct table_config *config_find_table(const struct config *, const char *name);
const struct pki_config *config_find_pki(const struct config *, const char *name);
const struct ca_config *config_find_ca(const struct config *, const char *name);
const struct wrapper_config *config_find_wrapper(const struct config *, const char *name);

void config_encode(struct buf *, const struct config *);
/* NULL when the bytes aren't a whole config. */
struct config *config_decode(const void *, size_t);
/* A sealed memfd holding the encoded config, or -1; and back (does not close `fd`), or NULL. */
int config_to_fd(const struct config *);
/* The same without the values of tables, which may be passwords, "" each, but for those of
 * `hostnames`; and without those of SRS, unless `with_srs`. */
int config_to_fd_without_values(const struct config *, bool with_srs);
struct config *config_from_fd(int fd);

#endif
