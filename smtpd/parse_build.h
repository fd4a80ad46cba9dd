/*
 * What the grammar's statements do: they make the parts of a config from words, one statement's
 * draft at a time, and check in the end what no statement can see alone. For parse.y and the other
 * parse_*.c only.
 *
 * Strings given as `char *` are taken over and freed or kept; those given as const are not.
 */
#ifndef SMTPD_PARSE_BUILD_H
#define SMTPD_PARSE_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "smtpd/parse_lex.h"

/* What a table is asked for; decides what its entries must look like. */
enum table_use {
	TABLE_USE_ALIAS,
	TABLE_USE_VIRTUAL,
	TABLE_USE_USERBASE,
	TABLE_USE_DOMAIN,
	TABLE_USE_NETWORK,
	TABLE_USE_PROXY, /* networks, as the listener itself must know them */
	TABLE_USE_ADDRESS,
	TABLE_USE_HELO,
	TABLE_USE_CREDENTIALS, /* users and what is kept of their passwords */
	TABLE_USE_SENDERS,     /* users and the addresses that are theirs */
	TABLE_USE_USERS,
	TABLE_USE_RELAY_AUTH,  /* labels and user:password */
	TABLE_USE_RELAY_HOSTS, /* domains and smarthosts */
	TABLE_USE_SOURCE,      /* own addresses, as the relay itself must know them */
	TABLE_USE_HELO_SRC,    /* own addresses and names */
	TABLE_USE_HOSTNAMES,   /* the same, as the listener itself must know them */
	TABLE_USE_HOSTS,       /* smarthosts, as the relay itself must know them */
	TABLE_USE_TAG,
	TABLE_USE_REGEX, /* regular expressions, whatever they are for */
	TABLE_USE_COUNT
};

/* Where each table and its entries stand in the file. */
struct table_note {
	struct place place;
	struct place *entries;
	bool is_mapping;
	bool is_used;
	bool is_regex; /* by the uses so far */
};

struct table_reference {
	char *name;
	struct place place;
	enum table_use use;
};

/* What a rule's condition is compared with. */
struct pattern {
	char *table; /* NULL: with nothing */
	bool regex;
};

enum rule_pattern {
	RULE_TAG,
	RULE_HELO,
	RULE_MAIL_FROM,
	RULE_RCPT_TO,
};

/* The statement being read. Strings are NULL until given. */
struct draft {
	struct place place;
	char *where; /* listen on: address, interface, host name or, with `socket`, path */
	char *port;
	char *family;
	bool is_socket;
	struct listener_config listener;
	struct action_config action;
	char *ttl;
	struct rule_config rule;
	bool has_from;
	bool has_for;
	struct table_config table;
	struct table_note table_note;
	bool table_has_list;
	char *pki_name;      /* that the next word is of */
	char *host_table;    /* of smarthosts: they become the action's when all is read */
	char *limit_name;    /* `smtp limit`: its value comes next */
	bool limit_may_hold; /* the last one was user-mails-per-hour */
	bool bounce_none;
	bool relay_protocols; /* given */
	uint32_t bounce_warn[8];
	size_t bounce_warn_count;
};

#define PARSE_SETTING_MAX 64

/* A file of a pki or ca, where the configuration names it. */
enum parse_file_kind {
	PARSE_FILE_KEY,
	PARSE_FILE_CERTIFICATE,
	PARSE_FILE_AUTHORITIES,
};

struct parse_file {
	enum parse_file_kind kind;
	struct place place;
	char *name; /* of the pki or ca */
	char *path;
};

struct parse {
	struct problems problems;
	struct lexer *lexer;
	struct config *config;
	struct draft draft;
	struct table_note *notes; /* one for each of config->tables */
	struct table_reference *references;
	size_t reference_count;
	struct place *action_places;   /* one for each of config->actions */
	char **host_tables;            /* of each: its table of smarthosts, or NULL */
	struct place *rule_places;     /* one for each of config->rules */
	struct place *listener_places; /* and so on */
	struct place *pki_places;
	struct parse_file *files;
	size_t file_count;
	struct place settings[PARSE_SETTING_MAX]; /* where each was set; line 0: not yet */
	struct place bounce_place;
	char *smtp_ciphers; /* NULL until given */
	size_t anonymous_count;
	char previous[64]; /* the word before the lookahead, for a syntax error's words */
	char word[64];     /* the lookahead */
	int last_token;
	unsigned brace_depth;
};

#define PARSE_COUNT(array) (sizeof(array) / sizeof((array)[0]))

void parse_init(struct parse *, parse_report_fn, void *arg);
/* Frees all but the config. */
void parse_free(struct parse *);

/* Sets `config->what` from its word; errors: unknown, twice, not a value of its kind, out of range.
 * `name` as the manual has it: "queue ttl". See parse_settings.c. */
void setting_set(struct parse *, struct place, const char *name, char *value);
/* "smtp limit": one word after the other, and what can be told only behind the last. */
void limits_add(struct parse *, struct place, char *word);
void limits_finish(struct parse *);
void setting_set_mta(
    struct parse *, struct place, char *word, struct place value_place, char *value);
/* "history WORD", and a value or NULL. */
void setting_set_history(
    struct parse *, struct place, char *word, struct place value_place, char *value);
/* Where it was set; line 0 when it wasn't. */
struct place setting_place(const struct parse *, const char *name);
/* "1h30m" in seconds, a bare number being seconds. */
bool duration_from_word(const char *word, uint64_t *seconds);

/* Begins a statement, forgetting the last one's draft. */
void draft_begin(struct parse *, struct place);
void draft_clear(struct parse *);
/* A name of ours, for an action or a tag (`what`): if it isn't one, reported. */
bool action_name_fits(struct parse *, struct place, const char *what, const char *name);
void given_twice(struct parse *, struct place, const char *word);
/* An option of the statement, which may be given once. */
void option_string(struct parse *, struct place, const char *word, char **field, char *value);
void option_flag(struct parse *, struct place, const char *word, bool *field);

void listen_finish(struct parse *);
/* An address, or each address of what `draft.where` calls an interface or a group of them, becomes a
 * listener like the draft; those from `first` on are of the same statement. False when there is no
 * such interface. */
void listener_add_inet(struct parse *, const struct sockaddr *, uint16_t port, size_t first);
bool listen_on_interface(struct parse *, uint16_t port, size_t first);
/* After the last statement: "listen on socket" without a path gets it, and is added when it wasn't
 * given: programs of this machine can always submit. */
void listen_local_socket(struct parse *);
/* After the last statement: names the sockets that "metrics on socket" left without a path. */
void metrics_check(struct parse *);
/* "auth" and its kin, and what must go with them (parse_auth.c). */
void listen_auth(struct parse *, struct place, enum listener_auth, char *table);
void listen_senders(struct parse *, struct place, char *table, bool masquerade);
bool listen_auth_fits(struct parse *);
void listen_access(struct parse *, struct place, enum listener_protocol);
bool listen_access_fits(struct parse *);
void action_finish(struct parse *);
/* parse_rules.c: conditions, whose patterns' tables are taken over, and what can be seen of all rules
 * together. A pattern may be NULL. */
void rule_from(struct parse *, struct place, bool negated, enum match_from, const struct pattern *);
void rule_for(struct parse *, struct place, bool negated, enum match_for, const struct pattern *);
void rule_auth(struct parse *, struct place, bool negated, const struct pattern *);
void rule_tls(struct parse *, struct place, bool negated);
void rule_pattern(
    struct parse *, struct place, bool negated, enum rule_pattern, const struct pattern *);
void rule_finish(struct parse *, char *action);
void rules_check(struct parse *);
/* parse_reach.c: warns of rules that nothing can reach. */
void reach_check(struct parse *);
void bounce_add(struct parse *, struct place, char *interval);
void bounce_finish(struct parse *, struct place);

/* parse_tls.c: statements, options of listeners, and checks. A `name` that is NULL is the one that
 * the statement had before. */
void pki_set(struct parse *, struct place, char *name, char *word, char *path);
void ca_set(struct parse *, struct place, char *name, char *word, char *path);
void listen_tls(struct parse *, struct place, enum listener_tls, bool verify);
void listen_pki(struct parse *, struct place, char *name);
void listen_ciphers(struct parse *, struct place, char *);
void smtp_ciphers(struct parse *, struct place, char *);
void listen_protocols(struct parse *, struct place, char *);
/* The same of actions that relay. */
void relay_ciphers(struct parse *, struct place, char *);
void relay_protocols(struct parse *, struct place, char *);
bool listen_tls_fits(struct parse *);
void tls_check(struct parse *);

/* parse_files.c: notes a file, and looks at all that were noted. */
void files_note(
    struct parse *, enum parse_file_kind, struct place, const char *name, const char *path);
void files_check(struct parse *);
void files_forget(struct parse *);

/* parse_relay.c: options of actions that relay, `mta limit`, and checks. */
void relay_host(struct parse *, struct place, char *url);
void relay_host_table(struct parse *, struct place, char *table);
/* The method "lmtp": where the action delivers to. */
void lmtp_destination(struct parse *, struct place, char *destination);
void relay_tls(struct parse *, struct place, enum relay_tls);
void relay_backup(struct parse *, struct place, char *word, char *name);
/* An option of the draft that is for relays and isn't in one, or NULL. */
/* The %{...} of the draft's path and command. */
bool action_templates_fit(struct parse *);
void wrapper_set(struct parse *, struct place, char *name, char *command);
void wrappers_check(struct parse *);
/* Warns where all addresses of a domain have one mailbox and the path looks as if each had its own. */
void paths_check(struct parse *);
const char *relay_misplaced(const struct draft *);
bool relay_fits(struct parse *);
void relay_check(struct parse *);
/* "for WORD NAME", where the word is no keyword; taken over. */
void limit_is_for_mx(struct parse *, struct place, char *word);
/* `name` may be NULL: for all; and so may `value`, behind "inet4" and "inet6". */
void mta_limit(struct parse *, struct place, bool of_domain, char *name, char *word, char *value);

char *parse_copy(const char *);
/* Names of pki and ca are compared without regard to case, as host names are. */
void parse_lowercase(char *);
/* An array with room for one more, zeroed element behind the `count` that it has. */
void *parse_grow(void *array, size_t count, size_t size);

/* A table's content goes into the draft; then it becomes a table called `name`, or an anonymous
 * one (NULL), whose name is returned (NULL on an error). */
void table_begin(struct parse *, struct place);
void table_add(struct parse *, struct place, char *key, char *value);
void table_set_source(struct parse *, struct place, char *source);
char *table_finish(struct parse *, struct place, char *name);
/* Notes that `name` (lent, may be NULL after an error) is used so. */
void table_refer(struct parse *, struct place, const char *name, enum table_use);

/* After the last statement: what was referred to exists and fits. */
void parse_check(struct parse *);
/* Whether a static table's key may stand in a table used so. */
bool table_key_fits(const char *key, enum table_use);

#endif
