/*
 * SMTP command lines (RFC 5321 4.1.1) and their parameters: text in, values out. Nothing here
 * knows of sessions; every function reads only the line that it is given.
 */
#ifndef SMTPD_COMMAND_H
#define SMTPD_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/reply.h"

enum verb {
	VERB_HELO,
	VERB_EHLO,
	VERB_LHLO,
	VERB_MAIL,
	VERB_RCPT,
	VERB_DATA,
	VERB_BDAT,
	VERB_RSET,
	VERB_NOOP,
	VERB_QUIT,
	VERB_STARTTLS,
	VERB_VRFY,
	VERB_EXPN,
	VERB_HELP,
	VERB_AUTH,
	VERB_UNIMPLEMENTED, /* of SMTP, but not offered here */
	VERB_FOREIGN,       /* of another protocol: HTTP */
	VERB_UNKNOWN,
};

struct command {
	enum verb verb;
	const char *argument; /* within the line; blanks around it left out */
	size_t length;
	const char *line; /* the whole, for the log */
	size_t line_length;
};

/* Splits a line, its end already cut off. False when it holds a control character (tabs as well) or
 * NUL: no command has one. */
bool command_parse(const char *line, size_t length, struct command *);

/* How much of a command's line may be written to a log: what follows AUTH's mechanism is a password
 * more often than not (RFC 4954 4). */
size_t command_loggable_length(const char *line, size_t length);

/* The client's name in HELO, EHLO and LHLO (RFC 5321 4.1.1.1): a domain or an address literal, in
 * the form that address_domain_is_valid() takes. False and a reply when it is neither. */
bool command_parse_greeting(
    const char *argument, size_t length, char *name, size_t size, struct reply *);

struct mail_command {
	struct address sender;
	bool size_given;
	uint64_t size;
	bool eight_bit;
	bool smtputf8;
	bool require_tls; /* RFC 8689 */
	enum dsn_return dsn_return;
	char envid[DSN_ENVID_MAX + 1]; /* decoded */
};
/* Extensions whose parameters are taken with MAIL. */
#define MAIL_OFFERS_DSN        0x01
#define MAIL_OFFERS_AUTH       0x02
#define MAIL_OFFERS_REQUIRETLS 0x04
/* What follows "MAIL". `offers`: MAIL_OFFERS_*. False and the reply to give. AUTH= (RFC 4954 5) is
 * checked and forgotten: no client is trusted to say who somebody else is. */
bool command_parse_mail(
    const char *argument, size_t length, unsigned offers, struct mail_command *, struct reply *);

struct rcpt_command {
	struct address rcpt; /* the domain empty only for the bare "postmaster" */
	uint8_t notify;      /* DSN_NOTIFY_*, 0 when not given */
	char orcpt[DSN_ORCPT_MAX + 1];
};
/* What follows "RCPT". `smtputf8`: MAIL had it. */
bool command_parse_rcpt(const char *argument, size_t length, bool smtputf8, bool dsn,
    struct rcpt_command *, struct reply *);

/* What follows "BDAT" (RFC 3030 2). False and a reply: then where the chunk ends isn't known. */
bool command_parse_bdat(
    const char *argument, size_t length, uint64_t *size, bool *last, struct reply *);

/* Decodes xtext (RFC 3461 4) into printable ASCII of at most size - 1 bytes. */
bool command_decode_xtext(const char *text, size_t length, char *decoded, size_t size);

#endif
