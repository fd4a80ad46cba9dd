/*
 * The grammar of smtpd.conf, OpenSMTPD 7's as far as Postern has what it speaks of. This is the
 * only place where the language is defined; its manual is smtpd.conf.5. What a statement does is in
 * parse_build.c, what a setting may be in parse_settings.c, and what a word is in parse_lex.c.
 *
 * A word that stands quoted is never a keyword. Words of OpenSMTPD that name something we don't have
 * are keywords too, which no rule takes: their use is an error that says so.
 */
%{
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "smtpd/parse.h"
#include "smtpd/parse_build.h"

#define YYLLOC_DEFAULT(Current, Rhs, N) ((Current) = (N) ? YYRHSLOC(Rhs, 1) : YYRHSLOC(Rhs, 0))
%}

%code requires {
#include "smtpd/parse_build.h"
}

%code {
static int yylex(YYSTYPE *, YYLTYPE *, struct parse *);
static void yyerror(YYLTYPE *, struct parse *, const char *);
}

%define api.pure full
%define api.prefix {conf}
%define api.location.type {struct place}
%define parse.error custom
%define parse.lac full
%locations
%param { struct parse *parse }
%initial-action { @$ = (struct place) { "", 0 }; }

%union {
	char *string;
	bool flag;
	struct pattern pattern;
}
%destructor { free($$); } <string>
%destructor { free($$.table); } <pattern>

%token ACTION "action" ALIAS "alias" ANY "any" AUTH "auth" BOUNCE "bounce" DIRECTORY "directory"
%token DOMAIN "domain" EXPAND_ONLY "expand-only" FOR "for" FREE_SPACE "free-space" FROM "from"
%token HELO "helo" HOST "host" HOSTNAME "hostname" INCLUDE "include" INET4 "inet4" INET6 "inet6"
%token LIMIT "limit" LINE_ENDS "line-ends" LISTEN "listen" LMTP "lmtp" LOCAL "local" MAIL "mail"
%token MAIL_FROM "mail-from" MAILDIR "maildir" MASK_SRC "mask-src" MATCH "match"
%token MAX_MESSAGE_SIZE "max-message-size" MDA "mda" NO_DSN "no-dsn" ON "on" PIPES "pipes"
%token PORT "port" POSTMASTER "postmaster" PROXY_V2 "proxy-v2" QUEUE "queue" RCPT_TO "rcpt-to"
%token RESOLVER "resolver" NAMESERVER "nameserver" REJECT "reject" RELAY "relay" RETRY_FIRST "retry-first" RETRY_MAX "retry-max" RUN "run"
%token SEGMENT_SIZE "segment-size" SMTP "smtp" SOCKET "socket" SPOOL "spool" SRC "src"
%token STATE "state" SUB_ADDR_DELIM "sub-addr-delim" TABLE "table" TAG "tag" TTL "ttl" USER "user"
%token USERBASE "userbase" VIRTUAL "virtual" WARN_INTERVAL "warn-interval"
%token IMAP "imap" IMAPS "imaps" POP3 "pop3" POP3S "pop3s" SIEVE "sieve"
%token CA "ca" CIPHERS "ciphers" PKI "pki" PROTOCOLS "protocols" SMTPS "smtps" TLS "tls"
%token TLS_REQUIRE "tls-require" VERIFY "verify" NO_TICKETS "no-tickets"
%token AUTH_CLEARTEXT "auth-cleartext" AUTH_OPTIONAL "auth-optional" MASQUERADE "masquerade"
%token RECEIVED_AUTH "received-auth" SENDERS "senders"
%token HISTORY "history" METRICS "metrics"
%token FORWARD_ONLY "forward-only" JUNK "junk" MBOX "mbox" WRAPPER "wrapper"
%token BACKUP "backup" HELO_SRC "helo-src" MTA "mta" NO_VERIFY "no-verify" TRUST_ANCHOR "trust-anchor"
%token SRS "srs" KEY "key" HOSTNAMES "hostnames"
%token RDNS "rdns" REGEX "regex"
%token ARROW "'=>'" UNSUPPORTED "a keyword"
%token NEWLINE "end of line"
%token <string> STRING "a word"

%type <string> table_use values family
%type <flag> negation verification
%type <pattern> pattern optional_pattern

%%

file:
	  %empty
	| file NEWLINE
	| file statement NEWLINE
	| file error NEWLINE {
		yyerrok;
		draft_clear(parse);
		parse->brace_depth = 0;
	}
	;

statement:
	  include
	| macro
	| table
	| listen
	| metrics
	| history
	| action
	| match
	| queue
	| smtp
	| bounce
	| mda
	| mta
	| mail
	| directory
	| pki
	| CA STRING STRING STRING { ca_set(parse, @3, $2, $3, $4); }
	| RESOLVER NAMESERVER STRING { setting_set(parse, @3, "resolver nameserver", $3); }
	| RESOLVER TRUST_ANCHOR STRING { setting_set(parse, @3, "resolver trust-anchor", $3); }
	| POSTMASTER STRING { setting_set(parse, @2, "postmaster", $2); }
	| SRS KEY STRING { setting_set(parse, @3, "srs key", $3); }
	| SRS KEY BACKUP STRING { setting_set(parse, @4, "srs key backup", $4); }
	| SRS TTL STRING { setting_set(parse, @3, "srs ttl", $3); }
	;

pki:
	  PKI STRING STRING STRING { pki_set(parse, @3, $2, $3, $4); }
	| pki STRING STRING { pki_set(parse, @2, NULL, $2, $3); }
	;

/* The line's end isn't looked at before this action runs: the file begins after it. */
include:
	  INCLUDE STRING { lexer_include(parse->lexer, @2, $2); free($2); }
	;

macro:
	  STRING '=' values {
		lexer_define(parse->lexer, @1, $1, $3);
		free($1);
		free($3);
	}
	;

values:
	  STRING
	| values STRING {
		if (asprintf(&$$, "%s %s", $1, $2) == -1)
			fatal("parse: asprintf");
		free($1);
		free($2);
		if (strlen($$) > LEX_WORD_MAX) {
			problem_error(&parse->problems, @1,
			    "the value that begins with \"%.20s\" is longer than %d bytes", $$,
			    LEX_WORD_MAX);
			free($$);
			$$ = NULL;
			YYERROR;
		}
	}
	;

/* Tables: named, and in the place of a name. */

table:
	  TABLE STRING STRING {
		draft_begin(parse, @1);
		table_set_source(parse, @3, $3);
		free(table_finish(parse, @2, $2));
	}
	| TABLE STRING table_content { free(table_finish(parse, @2, $2)); }
	;

table_content:
	  '{' optional_newlines { table_begin(parse, @1); } entries end_of_entries '}'
	;

entries:
	  entry
	| entries separator entry
	;

entry:
	  STRING { table_add(parse, @1, $1, NULL); }
	| STRING assign STRING { table_add(parse, @1, $1, $3); }
	;

assign:
	  '='
	| ARROW
	;

separator:
	  %empty
	| ',' optional_newlines
	| newlines
	;

end_of_entries:
	  %empty
	| ',' optional_newlines
	| newlines
	;

newlines:
	  NEWLINE
	| newlines NEWLINE
	;

optional_newlines:
	  %empty
	| newlines
	;

table_use:
	  '<' STRING '>' { $$ = $2; }
	| STRING {
		table_begin(parse, @1);
		table_add(parse, @1, $1, NULL);
		$$ = table_finish(parse, @1, NULL);
	}
	| table_content { $$ = table_finish(parse, @1, NULL); }
	;

/* Listeners. */

listen:
	  LISTEN ON { draft_begin(parse, @1); } listen_where listen_options {
		listen_finish(parse);
	}
	;

listen_where:
	  STRING { parse->draft.where = $1; }
	| SOCKET { parse->draft.is_socket = true; }
	| SOCKET STRING {
		parse->draft.is_socket = true;
		parse->draft.where = $2;
	}
	;

listen_options:
	  %empty
	| listen_options listen_option
	;

listen_option:
	  PORT STRING { option_string(parse, @2, "port", &parse->draft.port, $2); }
	| PORT IMAP { option_string(parse, @2, "port", &parse->draft.port, parse_copy("imap2")); }
	| PORT IMAPS { option_string(parse, @2, "port", &parse->draft.port, parse_copy("imaps")); }
	| PORT POP3 { option_string(parse, @2, "port", &parse->draft.port, parse_copy("pop3")); }
	| PORT POP3S { option_string(parse, @2, "port", &parse->draft.port, parse_copy("pop3s")); }
	| PORT SIEVE { option_string(parse, @2, "port", &parse->draft.port, parse_copy("sieve")); }
	| PORT SMTPS { option_string(parse, @2, "port", &parse->draft.port, parse_copy("smtps")); }
	| PORT SMTP { option_string(parse, @2, "port", &parse->draft.port, parse_copy("smtp")); }
	| INET4 { option_string(parse, @1, "inet4", &parse->draft.family, parse_copy("inet4")); }
	| INET6 { option_string(parse, @1, "inet6", &parse->draft.family, parse_copy("inet6")); }
	| HOSTNAME STRING {
		option_string(parse, @2, "hostname", &parse->draft.listener.hostname, $2);
	}
	| HOSTNAMES table_use {
		table_refer(parse, @2, $2, TABLE_USE_HOSTNAMES);
		option_string(parse, @1, "hostnames", &parse->draft.listener.hostnames, $2);
	}
	| TAG STRING { option_string(parse, @2, "tag", &parse->draft.listener.tag, $2); }
	| NO_DSN { option_flag(parse, @1, "no-dsn", &parse->draft.listener.no_dsn); }
	| MASK_SRC { option_flag(parse, @1, "mask-src", &parse->draft.listener.mask_source); }
	| LMTP {
		bool lmtp = parse->draft.listener.protocol != LISTEN_SMTP;

		option_flag(parse, @1, "lmtp", &lmtp);
		parse->draft.listener.protocol = LISTEN_LMTP;
	}
	| TLS verification { listen_tls(parse, @1, LISTEN_TLS_OPTIONAL, $2); }
	| TLS_REQUIRE verification { listen_tls(parse, @1, LISTEN_TLS_REQUIRED, $2); }
	| SMTPS verification { listen_tls(parse, @1, LISTEN_TLS_IMPLICIT, $2); }
	| IMAP { listen_access(parse, @1, LISTEN_IMAP); }
	| POP3 { listen_access(parse, @1, LISTEN_POP3); }
	| SIEVE { listen_access(parse, @1, LISTEN_SIEVE); }
	| IMAPS {
		listen_access(parse, @1, LISTEN_IMAP);
		listen_tls(parse, @1, LISTEN_TLS_IMPLICIT, false);
	}
	| POP3S {
		listen_access(parse, @1, LISTEN_POP3);
		listen_tls(parse, @1, LISTEN_TLS_IMPLICIT, false);
	}
	| PKI STRING { listen_pki(parse, @2, $2); }
	| CA STRING {
		parse_lowercase($2);
		option_string(parse, @2, "ca", &parse->draft.listener.ca, $2);
	}
	| CIPHERS STRING { listen_ciphers(parse, @2, $2); }
	| PROTOCOLS STRING { listen_protocols(parse, @2, $2); }
	| NO_TICKETS {
		option_flag(parse, @1, "no-tickets", &parse->draft.listener.tls_no_tickets);
	}
	| AUTH { listen_auth(parse, @1, LISTEN_AUTH_REQUIRED, NULL); }
	| AUTH table_use { listen_auth(parse, @1, LISTEN_AUTH_REQUIRED, $2); }
	| AUTH_OPTIONAL { listen_auth(parse, @1, LISTEN_AUTH_OPTIONAL, NULL); }
	| AUTH_OPTIONAL table_use { listen_auth(parse, @1, LISTEN_AUTH_OPTIONAL, $2); }
	| AUTH_CLEARTEXT {
		option_flag(
		    parse, @1, "auth-cleartext", &parse->draft.listener.auth_without_tls);
	}
	| SENDERS table_use { listen_senders(parse, @1, $2, false); }
	| SENDERS table_use MASQUERADE { listen_senders(parse, @1, $2, true); }
	| RECEIVED_AUTH {
		option_flag(parse, @1, "received-auth", &parse->draft.listener.received_auth);
	}
	| PROXY_V2 { option_flag(parse, @1, "proxy-v2", &parse->draft.listener.proxy_v2); }
	| PROXY_V2 table_use {
		option_flag(parse, @1, "proxy-v2", &parse->draft.listener.proxy_v2);
		table_refer(parse, @2, $2, TABLE_USE_PROXY);
		option_string(parse, @1, "proxy-v2", &parse->draft.listener.proxy_trusted, $2);
	}
	;

verification:
	  %empty { $$ = false; }
	| VERIFY { $$ = true; }
	;

/* Watching: counters, and what became of messages. */

metrics:
	  METRICS ON {
		draft_begin(parse, @1);
		parse->draft.listener.protocol = LISTEN_METRICS;
	} listen_where metrics_port { listen_finish(parse); }
	;

metrics_port:
	  %empty
	| PORT STRING { option_string(parse, @2, "port", &parse->draft.port, $2); }
	;

history:
	  HISTORY STRING { setting_set_history(parse, @2, $2, @2, NULL); }
	| HISTORY STRING STRING { setting_set_history(parse, @2, $2, @3, $3); }
	;

/* Actions. */

action:
	  action_name action_method action_options { action_finish(parse); }
	;

action_name:
	  ACTION STRING {
		draft_begin(parse, @1);
		parse->draft.action.name = $2;
	}
	;

action_method:
	  MAILDIR { parse->draft.action.method = ACTION_MAILDIR; }
	| MAILDIR STRING {
		parse->draft.action.method = ACTION_MAILDIR;
		parse->draft.action.path = $2;
	}
	| MBOX { parse->draft.action.method = ACTION_MBOX; }
	| MBOX STRING {
		parse->draft.action.method = ACTION_MBOX;
		parse->draft.action.path = $2;
	}
	| MDA STRING {
		parse->draft.action.method = ACTION_MDA;
		parse->draft.action.command = $2;
	}
	| RELAY { parse->draft.action.method = ACTION_RELAY; }
	| EXPAND_ONLY { parse->draft.action.method = ACTION_EXPAND_ONLY; }
	| LMTP STRING { lmtp_destination(parse, @2, $2); }
	| LMTP STRING RCPT_TO {
		lmtp_destination(parse, @2, $2);
		parse->draft.action.lmtp_rcpt_to = true;
	}
	| FORWARD_ONLY { parse->draft.action.method = ACTION_FORWARD_ONLY; }
	;

action_options:
	  %empty
	| action_options action_option
	;

action_option:
	  ALIAS table_use {
		table_refer(parse, @2, $2, TABLE_USE_ALIAS);
		option_string(parse, @1, "alias", &parse->draft.action.alias_table, $2);
	}
	| VIRTUAL table_use {
		table_refer(parse, @2, $2, TABLE_USE_VIRTUAL);
		option_string(parse, @1, "virtual", &parse->draft.action.virtual_table, $2);
	}
	| USERBASE table_use {
		table_refer(parse, @2, $2, TABLE_USE_USERBASE);
		option_string(parse, @1, "userbase", &parse->draft.action.userbase_table, $2);
	}
	| USER STRING { option_string(parse, @2, "user", &parse->draft.action.user, $2); }
	| TTL STRING { option_string(parse, @2, "ttl", &parse->draft.ttl, $2); }
	| HOST STRING { relay_host(parse, @2, $2); }
	| HOST '<' STRING '>' { relay_host_table(parse, @3, $3); }
	| HOST '{' optional_newlines relay_hosts end_of_entries '}'
	| DOMAIN table_use {
		table_refer(parse, @2, $2, TABLE_USE_RELAY_HOSTS);
		option_string(parse, @1, "domain", &parse->draft.action.relay_domains, $2);
	}
	| AUTH table_use {
		table_refer(parse, @2, $2, TABLE_USE_RELAY_AUTH);
		option_string(parse, @1, "auth", &parse->draft.action.relay_auth, $2);
	}
	| TLS { relay_tls(parse, @1, RELAY_TLS_REQUIRED); }
	| TLS NO_VERIFY { relay_tls(parse, @1, RELAY_TLS_REQUIRED_UNVERIFIED); }
	| CA STRING { option_string(parse, @2, "ca", &parse->draft.action.relay_ca, $2); }
	| PKI STRING { option_string(parse, @2, "pki", &parse->draft.action.relay_pki, $2); }
	| CIPHERS STRING { relay_ciphers(parse, @2, $2); }
	| PROTOCOLS STRING { relay_protocols(parse, @2, $2); }
	| HELO STRING { option_string(parse, @2, "helo", &parse->draft.action.relay_helo, $2); }
	| SRC table_use {
		table_refer(parse, @2, $2, TABLE_USE_SOURCE);
		option_string(parse, @1, "src", &parse->draft.action.relay_source, $2);
	}
	| HELO_SRC table_use {
		table_refer(parse, @2, $2, TABLE_USE_HELO_SRC);
		option_string(parse, @1, "helo-src", &parse->draft.action.relay_helo_table, $2);
	}
	| BACKUP { relay_backup(parse, @1, NULL, NULL); }
	| BACKUP STRING STRING { relay_backup(parse, @1, $2, $3); }
	| MAIL_FROM STRING {
		option_string(parse, @2, "mail-from", &parse->draft.action.relay_mail_from, $2);
	}
	| SRS { option_flag(parse, @1, "srs", &parse->draft.action.relay_srs); }
	| PIPES { option_flag(parse, @1, "pipes", &parse->draft.action.allow_pipes); }
	| WRAPPER STRING { option_string(parse, @2, "wrapper", &parse->draft.action.wrapper, $2); }
	| JUNK { option_flag(parse, @1, "junk", &parse->draft.action.junk); }
	;

relay_hosts:
	  STRING { relay_host(parse, @1, $1); }
	| relay_hosts separator STRING { relay_host(parse, @3, $3); }
	;

/* Rules. */

match:
	  MATCH { draft_begin(parse, @1); } conditions verdict
	;

verdict:
	  ACTION STRING { rule_finish(parse, $2); }
	| REJECT { rule_finish(parse, NULL); }
	;

conditions:
	  %empty
	| conditions condition
	;

negation:
	  %empty { $$ = false; }
	| '!' { $$ = true; }
	;

/* What a condition is compared with. */
pattern:
	  table_use { $$ = (struct pattern) { $1, false }; }
	| REGEX table_use { $$ = (struct pattern) { $2, true }; }
	;

optional_pattern:
	  %empty { $$ = (struct pattern) { NULL, false }; }
	| pattern
	;

condition:
	  negation FROM LOCAL { rule_from(parse, @2, $1, MATCH_FROM_LOCAL, NULL); }
	| negation FROM ANY { rule_from(parse, @2, $1, MATCH_FROM_ANY, NULL); }
	| negation FROM SOCKET { rule_from(parse, @2, $1, MATCH_FROM_SOCKET, NULL); }
	| negation FROM AUTH optional_pattern { rule_from(parse, @3, $1, MATCH_FROM_AUTH, &$4); }
	| negation FROM RDNS optional_pattern { rule_from(parse, @3, $1, MATCH_FROM_RDNS, &$4); }
	| negation FROM SRC pattern { rule_from(parse, @3, $1, MATCH_FROM_SOURCE, &$4); }
	| negation FROM MAIL_FROM pattern {
		/* Any client, if the sender is one of these. */
		rule_from(parse, @2, false, MATCH_FROM_ANY, NULL);
		rule_pattern(parse, @3, $1, RULE_MAIL_FROM, &$4);
	}
	| negation FOR LOCAL { rule_for(parse, @2, $1, MATCH_FOR_LOCAL, NULL); }
	| negation FOR ANY { rule_for(parse, @2, $1, MATCH_FOR_ANY, NULL); }
	| negation FOR DOMAIN pattern { rule_for(parse, @3, $1, MATCH_FOR_DOMAIN, &$4); }
	| negation FOR RCPT_TO pattern { rule_for(parse, @3, $1, MATCH_FOR_RCPT, &$4); }
	| negation AUTH optional_pattern { rule_auth(parse, @2, $1, &$3); }
	| negation TLS { rule_tls(parse, @2, $1); }
	| negation TAG pattern { rule_pattern(parse, @2, $1, RULE_TAG, &$3); }
	| negation HELO pattern { rule_pattern(parse, @2, $1, RULE_HELO, &$3); }
	| negation MAIL_FROM pattern { rule_pattern(parse, @2, $1, RULE_MAIL_FROM, &$3); }
	| negation RCPT_TO pattern { rule_pattern(parse, @2, $1, RULE_RCPT_TO, &$3); }
	;

/* Settings. */

queue:
	  QUEUE TTL STRING { setting_set(parse, @3, "queue ttl", $3); }
	| QUEUE RETRY_FIRST STRING { setting_set(parse, @3, "queue retry-first", $3); }
	| QUEUE RETRY_MAX STRING { setting_set(parse, @3, "queue retry-max", $3); }
	| QUEUE FREE_SPACE STRING { setting_set(parse, @3, "queue free-space", $3); }
	| QUEUE SEGMENT_SIZE STRING { setting_set(parse, @3, "queue segment-size", $3); }
	;

smtp:
	  SMTP HOSTNAME STRING { setting_set(parse, @3, "smtp hostname", $3); }
	| SMTP MAX_MESSAGE_SIZE STRING { setting_set(parse, @3, "smtp max-message-size", $3); }
	| SMTP CIPHERS STRING { smtp_ciphers(parse, @3, $3); }
	| SMTP SUB_ADDR_DELIM STRING { setting_set(parse, @3, "smtp sub-addr-delim", $3); }
	| SMTP LINE_ENDS STRING { setting_set(parse, @3, "smtp line-ends", $3); }
	| SMTP LIMIT { draft_begin(parse, @2); } limit_words { limits_finish(parse); }
	;

/* Names and values, in pairs, with "hold" behind the one that has it. */
limit_words:
	  STRING { limits_add(parse, @1, $1); }
	| limit_words STRING { limits_add(parse, @2, $2); }
	;

bounce:
	  BOUNCE WARN_INTERVAL { draft_begin(parse, @1); } intervals { bounce_finish(parse, @1); }
	;

intervals:
	  comma_intervals
	| '{' optional_newlines interval_list end_of_entries '}'
	;

comma_intervals:
	  STRING {
		parse->draft.bounce_none = strcmp($1, "none") == 0;
		if (parse->draft.bounce_none)
			free($1);
		else
			bounce_add(parse, @1, $1);
	}
	| comma_intervals ',' STRING {
		if (parse->draft.bounce_none)
			problem_error(
			    &parse->problems, @3, "\"none\" stands alone, without \"%.40s\"", $3);
		bounce_add(parse, @3, $3);
	}
	;

interval_list:
	  STRING { bounce_add(parse, @1, $1); }
	| interval_list separator STRING { bounce_add(parse, @3, $3); }
	;

mda:
	  MDA LIMIT STRING STRING {
		char name[64];

		strlcpy(name, "mda limit ", sizeof(name));
		strlcat(name, $3, sizeof(name));
		free($3);
		setting_set(parse, @3, name, $4);
	}
	| MDA WRAPPER STRING STRING { wrapper_set(parse, @3, $3, $4); }
	;

mta:
	  MTA STRING STRING { setting_set_mta(parse, @2, $2, @3, $3); }
	| MTA LIMIT STRING STRING { mta_limit(parse, @3, false, NULL, $3, $4); }
	| MTA LIMIT family { mta_limit(parse, @3, false, NULL, $3, NULL); }
	| MTA LIMIT FOR DOMAIN STRING STRING STRING { mta_limit(parse, @5, true, $5, $6, $7); }
	| MTA LIMIT FOR DOMAIN STRING family { mta_limit(parse, @5, true, $5, $6, NULL); }
	| MTA LIMIT FOR STRING STRING STRING STRING {
		limit_is_for_mx(parse, @4, $4);
		mta_limit(parse, @5, false, $5, $6, $7);
	}
	| MTA LIMIT FOR STRING STRING family {
		limit_is_for_mx(parse, @4, $4);
		mta_limit(parse, @5, false, $5, $6, NULL);
	}
	;

family:
	  INET4 { $$ = parse_copy("inet4"); }
	| INET6 { $$ = parse_copy("inet6"); }
	;

mail:
	  MAIL USER STRING { setting_set(parse, @3, "mail user", $3); }
	| MAIL DIRECTORY STRING { setting_set(parse, @3, "mail directory", $3); }
	;

directory:
	  DIRECTORY SPOOL STRING { setting_set(parse, @3, "directory spool", $3); }
	| DIRECTORY STATE STRING { setting_set(parse, @3, "directory state", $3); }
	| DIRECTORY RUN STRING { setting_set(parse, @3, "directory run", $3); }
	;

%%

/*
 * Words that are ours and not OpenSMTPD's are keywords only where they can mean something, behind a
 * token: an OpenSMTPD configuration may use them as names.
 */
struct keyword {
	const char *word;
	int token;
	int behind; /* 0: anywhere; NEWLINE: at the start of a statement */
};

/* In the order of strcmp(). */
static const struct keyword keywords[] = {
	{ "action", ACTION, 0 },
	{ "admd", UNSUPPORTED, 0 },
	{ "alias", ALIAS, 0 },
	{ "any", ANY, 0 },
	{ "auth", AUTH, 0 },
	{ "auth-cleartext", AUTH_CLEARTEXT, 0 },
	{ "auth-optional", AUTH_OPTIONAL, 0 },
	{ "backup", BACKUP, 0 },
	{ "bounce", BOUNCE, 0 },
	{ "ca", CA, 0 },
	{ "ciphers", CIPHERS, 0 },
	{ "compression", UNSUPPORTED, 0 },
	{ "directory", DIRECTORY, NEWLINE },
	{ "domain", DOMAIN, 0 },
	{ "encryption", UNSUPPORTED, 0 },
	{ "expand-only", EXPAND_ONLY, 0 },
	{ "filter", UNSUPPORTED, 0 },
	{ "for", FOR, 0 },
	{ "forward-only", FORWARD_ONLY, 0 },
	{ "free-space", FREE_SPACE, QUEUE },
	{ "from", FROM, 0 },
	{ "helo", HELO, 0 },
	{ "helo-src", HELO_SRC, 0 },
	{ "history", HISTORY, NEWLINE },
	{ "host", HOST, 0 },
	{ "hostname", HOSTNAME, 0 },
	{ "hostnames", HOSTNAMES, 0 },
	{ "imap", IMAP, 0 },
	{ "imaps", IMAPS, 0 },
	{ "include", INCLUDE, 0 },
	{ "inet4", INET4, 0 },
	{ "inet6", INET6, 0 },
	{ "junk", JUNK, 0 },
	{ "key", KEY, SRS },
	{ "limit", LIMIT, 0 },
	{ "line-ends", LINE_ENDS, SMTP },
	{ "listen", LISTEN, 0 },
	{ "lmtp", LMTP, 0 },
	{ "local", LOCAL, 0 },
	{ "mail", MAIL, NEWLINE },
	{ "mail-from", MAIL_FROM, 0 },
	{ "maildir", MAILDIR, 0 },
	{ "mask-src", MASK_SRC, 0 },
	{ "masquerade", MASQUERADE, 0 },
	{ "match", MATCH, 0 },
	{ "max-message-size", MAX_MESSAGE_SIZE, 0 },
	{ "mbox", MBOX, 0 },
	{ "mda", MDA, 0 },
	{ "metrics", METRICS, NEWLINE },
	{ "mta", MTA, 0 },
	{ "nameserver", NAMESERVER, RESOLVER },
	{ "no-dsn", NO_DSN, 0 },
	{ "no-tickets", NO_TICKETS, 0 },
	{ "no-verify", NO_VERIFY, TLS },
	{ "on", ON, 0 },
	{ "pipes", PIPES, 0 },
	{ "pki", PKI, 0 },
	{ "pop3", POP3, 0 },
	{ "pop3s", POP3S, 0 },
	{ "port", PORT, 0 },
	{ "postmaster", POSTMASTER, NEWLINE },
	{ "proc", UNSUPPORTED, 0 },
	{ "proc-exec", UNSUPPORTED, 0 },
	{ "protocols", PROTOCOLS, 0 },
	{ "proxy-v2", PROXY_V2, 0 },
	{ "queue", QUEUE, 0 },
	{ "rcpt-to", RCPT_TO, 0 },
	{ "rdns", RDNS, 0 },
	{ "received-auth", RECEIVED_AUTH, 0 },
	{ "regex", REGEX, 0 },
	{ "reject", REJECT, 0 },
	{ "relay", RELAY, 0 },
	{ "resolver", RESOLVER, NEWLINE },
	{ "retry-first", RETRY_FIRST, QUEUE },
	{ "retry-max", RETRY_MAX, QUEUE },
	{ "run", RUN, DIRECTORY },
	{ "scheduler", UNSUPPORTED, 0 },
	{ "segment-size", SEGMENT_SIZE, QUEUE },
	{ "senders", SENDERS, 0 },
	{ "sieve", SIEVE, 0 },
	{ "smtp", SMTP, 0 },
	{ "smtps", SMTPS, 0 },
	{ "socket", SOCKET, 0 },
	{ "spool", SPOOL, DIRECTORY },
	{ "src", SRC, 0 },
	{ "srs", SRS, 0 },
	{ "state", STATE, DIRECTORY },
	{ "sub-addr-delim", SUB_ADDR_DELIM, 0 },
	{ "table", TABLE, 0 },
	{ "tag", TAG, 0 },
	{ "tls", TLS, 0 },
	{ "tls-require", TLS_REQUIRE, 0 },
	{ "trust-anchor", TRUST_ANCHOR, RESOLVER },
	{ "ttl", TTL, 0 },
	{ "user", USER, 0 },
	{ "userbase", USERBASE, 0 },
	{ "verify", VERIFY, 0 },
	{ "virtual", VIRTUAL, 0 },
	{ "warn-interval", WARN_INTERVAL, 0 },
	{ "wrapper", WRAPPER, 0 },
};

static int
keyword_compare(const void *word, const void *keyword)
{
	return strcmp(word, ((const struct keyword *)keyword)->word);
}

static bool
begins_statement(int token)
{
	static const int tokens[] = { ACTION, BOUNCE, CA, DIRECTORY, HISTORY, INCLUDE, LISTEN, MAIL,
		MATCH, MDA, METRICS, MTA, PKI, POSTMASTER, QUEUE, RESOLVER, SMTP, SRS, TABLE,
		UNSUPPORTED };

	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		if (tokens[i] == token)
			return true;
	}
	return false;
}

/* The keyword's token, or STRING when the word is none here. */
static int
token_of(const struct parse *parse, const char *word)
{
	const struct keyword *keyword = bsearch(word, keywords,
	    sizeof(keywords) / sizeof(keywords[0]), sizeof(keywords[0]), keyword_compare);
	bool in_list = parse->brace_depth > 0;

	if (keyword == NULL)
		return STRING;
	if (parse->last_token == MAIL && keyword->token == DIRECTORY)
		return DIRECTORY;
	/* A macro may have any name that doesn't begin a statement. */
	if (parse->last_token == NEWLINE && !in_list && !begins_statement(keyword->token))
		return STRING;
	if (keyword->behind != 0 && (in_list || keyword->behind != parse->last_token))
		return STRING;
	return keyword->token;
}

static int
read_token(YYSTYPE *value, YYLTYPE *place, struct parse *parse)
{
	enum lex_kind kind;
	char *text, mark;
	int token;

	kind = lexer_next(parse->lexer, &text, &mark, place);
	strlcpy(parse->previous, parse->word, sizeof(parse->previous));
	if (text != NULL)
		strlcpy(parse->word, text, sizeof(parse->word));
	else if (kind == LEX_ARROW)
		strlcpy(parse->word, "=>", sizeof(parse->word));
	else
		snprintf(parse->word, sizeof(parse->word), "%c", mark);
	switch (kind) {
	case LEX_END:
		return CONFEOF;
	case LEX_NEWLINE:
		return NEWLINE;
	case LEX_ARROW:
		return ARROW;
	case LEX_MARK:
		if (mark == '{')
			parse->brace_depth++;
		else if (mark == '}' && parse->brace_depth > 0)
			parse->brace_depth--;
		return mark;
	case LEX_BAD:
		return CONFerror;
	case LEX_WORD:
		token = token_of(parse, text);
		if (token != STRING) {
			free(text);
			return token;
		}
		break;
	case LEX_STRING:
		break;
	}
	value->string = text;
	return STRING;
}

static int
yylex(YYSTYPE *value, YYLTYPE *place, struct parse *parse)
{
	parse->last_token = read_token(value, place, parse);
	return parse->last_token;
}

/* Never called: with parse.error custom, bison calls the function below. */
static void
yyerror(YYLTYPE *place, struct parse *parse, const char *words)
{
	problem_error(&parse->problems, *place, "\"%s\": %s", parse->word, words);
}

/* Lists what could have come, as far as it is short. */
static void
describe_expected(const yypcontext_t *context, char *text, size_t size)
{
	yysymbol_kind_t expected[16];
	int count = yypcontext_expected_tokens(context, expected, 16), i;

	*text = '\0';
	for (i = 0; i < count; i++) {
		const char *name = yysymbol_name(expected[i]);
		bool literal = *name == '\'' ||
		    (expected[i] != YYSYMBOL_STRING && expected[i] != YYSYMBOL_NEWLINE &&
		        expected[i] != YYSYMBOL_YYEOF);

		strlcat(text, i == 0 ? ", expected " : i == count - 1 ? " or " : ", ", size);
		strlcat(text, literal && *name != '\'' ? "\"" : "", size);
		strlcat(text, name, size);
		strlcat(text, literal && *name != '\'' ? "\"" : "", size);
	}
}

static bool
is_expected(const yypcontext_t *context, yysymbol_kind_t wanted)
{
	yysymbol_kind_t expected[YYNTOKENS];
	int count = yypcontext_expected_tokens(context, expected, YYNTOKENS);

	for (int i = 0; i < count; i++) {
		if (expected[i] == wanted)
			return true;
	}
	return false;
}

/* Keywords of ours that OpenSMTPD has in places where we don't. */
static bool
is_elsewhere_in_opensmtpd(yysymbol_kind_t token)
{
	return token == YYSYMBOL_AUTH || token == YYSYMBOL_MDA ||
	    token == YYSYMBOL_SRC || token == YYSYMBOL_HELO || token == YYSYMBOL_DOMAIN ||
	    token == YYSYMBOL_USER || token == YYSYMBOL_MAIL_FROM || token == YYSYMBOL_CA ||
	    token == YYSYMBOL_PKI || token == YYSYMBOL_TLS || token == YYSYMBOL_SMTPS;
}

/* What began a statement of OpenSMTPD until 2018: there are still many guides that have it. */
static bool
is_former_grammar(const char *word)
{
	static const char *const former[] = { "accept", "reject", "limit", "expire", "bounce-warn",
		"map", "hostname", "max-message-size", "ciphers", "subaddressing-delimiter" };

	for (size_t i = 0; i < PARSE_COUNT(former); i++) {
		if (strcmp(former[i], word) == 0)
			return true;
	}
	return false;
}

static int
yyreport_syntax_error(const yypcontext_t *context, struct parse *parse)
{
	struct place place = *yypcontext_location(context);
	yysymbol_kind_t token = yypcontext_token(context);
	yysymbol_kind_t only[2];
	char expected[400], word[96];

	describe_expected(context, expected, sizeof(expected));
	if (token == YYSYMBOL_NEWLINE || token == YYSYMBOL_YYEOF)
		snprintf(word, sizeof(word), "end of line after \"%s\"", parse->previous);
	else
		snprintf(word, sizeof(word), "\"%s\"", parse->word);
	/* A word alone begins a macro, so all that could come is its "=". */
	if (yypcontext_expected_tokens(context, only, 2) == 1 && strstr(expected, "'='") != NULL &&
	    is_former_grammar(parse->previous))
		problem_error(&parse->problems, place,
		    "\"%s\" begins a statement of OpenSMTPD before 6.4; since then there are "
		    "\"action\" and \"match\", \"smtp\", \"queue\" and \"bounce\"",
		    parse->previous);
	else if (yypcontext_expected_tokens(context, only, 2) == 1 &&
	    strstr(expected, "'='") != NULL)
		problem_error(&parse->problems, place,
		    "\"%s\" begins no statement, and no '=' makes it a macro", parse->previous);
	else if (token != YYSYMBOL_STRING && token != YYSYMBOL_NEWLINE && token != YYSYMBOL_YYEOF &&
	    *yysymbol_name(token) != '\'' && is_expected(context, YYSYMBOL_STRING) &&
	    !(token == YYSYMBOL_UNSUPPORTED && is_expected(context, YYSYMBOL_NEWLINE)) &&
	    !is_expected(context, YYSYMBOL_TABLE))
		problem_error(&parse->problems, place,
		    "%s is a keyword: quote it to use it as a word%s", word, expected);
	else if (token == YYSYMBOL_UNSUPPORTED)
		problem_error(&parse->problems, place, "%s is not supported%s", word, expected);
	else if (is_elsewhere_in_opensmtpd(token))
		problem_error(&parse->problems, place, "%s is not supported here%s", word, expected);
	else
		problem_error(&parse->problems, place, "unexpected %s%s", word, expected);
	return 0;
}

static struct config *
parse_run(struct parse *parse, bool opened, bool with_files)
{
	struct config *config;

	if (opened) {
		/* Bison's own memory running out is an error that it doesn't report elsewhere. */
		if (yyparse(parse) == 2)
			fatalx("parse: out of memory");
		if (!problem_too_many(&parse->problems))
			parse_check(parse);
		if (with_files && parse->problems.errors == 0)
			files_check(parse);
	}
	config = parse->config;
	parse_free(parse);
	if (parse->problems.errors > 0) {
		config_free(config);
		config = NULL;
	}
	return config;
}

struct config *
parse_config_file(const char *path, parse_report_fn report, void *arg)
{
	struct parse parse;

	parse_init(&parse, report, arg);
	parse.last_token = NEWLINE;
	return parse_run(&parse, lexer_open_file(parse.lexer, path), false);
}

struct config *
parse_config_and_files(const char *path, parse_report_fn report, void *arg)
{
	struct parse parse;

	parse_init(&parse, report, arg);
	parse.last_token = NEWLINE;
	return parse_run(&parse, lexer_open_file(parse.lexer, path), true);
}

struct config *
parse_config_text(
    const char *name, const char *text, size_t length, parse_report_fn report, void *arg)
{
	struct parse parse;

	parse_init(&parse, report, arg);
	parse.last_token = NEWLINE;
	return parse_run(&parse, lexer_open_text(parse.lexer, name, text, length), false);
}

void
parse_report_to_file(bool is_error, const char *text, void *arg)
{
	(void)is_error;
	fprintf(arg, "%s\n", text);
}
