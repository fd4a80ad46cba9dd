/*
 * The parser of command lines. A line is cut into verb and argument, an argument into path and
 * parameters; each parameter has one function that checks its value. A parameter given twice, an
 * unknown one, and a value out of its syntax are refused with the codes that RFC 5321 4.1.1.11 and
 * RFC 3461 5.1 name, before anything of the command has had an effect.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "smtpd/command.h"

#define SIZE_DIGITS_MAX 20 /* RFC 1870 6.1 */

static const struct {
	const char *name;
	enum verb verb;
} verbs[] = {
	{ "MAIL", VERB_MAIL },
	{ "RCPT", VERB_RCPT },
	{ "DATA", VERB_DATA },
	{ "QUIT", VERB_QUIT },
	{ "EHLO", VERB_EHLO },
	{ "HELO", VERB_HELO },
	{ "LHLO", VERB_LHLO },
	{ "BDAT", VERB_BDAT },
	{ "RSET", VERB_RSET },
	{ "NOOP", VERB_NOOP },
	{ "VRFY", VERB_VRFY },
	{ "EXPN", VERB_EXPN },
	{ "HELP", VERB_HELP },
	{ "STARTTLS", VERB_STARTTLS },
	{ "AUTH", VERB_AUTH },
	{ "ETRN", VERB_UNIMPLEMENTED },
	{ "SEND", VERB_UNIMPLEMENTED },
	{ "SOML", VERB_UNIMPLEMENTED },
	{ "SAML", VERB_UNIMPLEMENTED },
	{ "TURN", VERB_UNIMPLEMENTED },
	{ "GET", VERB_FOREIGN },
	{ "POST", VERB_FOREIGN },
	{ "PUT", VERB_FOREIGN },
	{ "HEAD", VERB_FOREIGN },
	{ "OPTIONS", VERB_FOREIGN },
	{ "DELETE", VERB_FOREIGN },
	{ "CONNECT", VERB_FOREIGN },
};

static bool
is_word(const char *text, size_t length, const char *word)
{
	return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

bool
command_parse(const char *line, size_t length, struct command *command)
{
	size_t i, word = 0;

	for (i = 0; i < length; i++) {
		if (iscntrl((unsigned char)line[i]))
			return false;
	}
	while (length > 0 && line[length - 1] == ' ') /* RFC 5321 4.1.1: tolerate trailing blanks */
		length--;
	while (word < length && line[word] != ' ')
		word++;
	command->verb = VERB_UNKNOWN;
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (is_word(line, word, verbs[i].name)) {
			command->verb = verbs[i].verb;
			break;
		}
	}
	while (word < length && line[word] == ' ')
		word++;
	command->argument = line + word;
	command->length = length - word;
	command->line = line;
	command->line_length = length;
	return true;
}

/* The end of the blanks and the word behind them that begin at `at`. */
static size_t
skip_word(const char *line, size_t length, size_t at)
{
	while (at < length && isblank((unsigned char)line[at]))
		at++;
	while (at < length && !isblank((unsigned char)line[at]))
		at++;
	return at;
}

size_t
command_loggable_length(const char *line, size_t length)
{
	size_t end = skip_word(line, length, 0);

	if (end < 4 || !is_word(line + end - 4, 4, "AUTH"))
		return length;
	return skip_word(line, length, end);
}

bool
command_parse_greeting(
    const char *argument, size_t length, char *name, size_t size, struct reply *refusal)
{
	if (length == 0 || length >= size || memchr(argument, '\0', length) != NULL) {
		reply_set(refusal, 501, "5.5.4", "a domain name or address literal must follow");
		return false;
	}
	memcpy(name, argument, length);
	name[length] = '\0';
	if (length > 1 && name[length - 1] == '.')
		name[length - 1] = '\0';
	/* RFC 6531 3.7.1: A-labels only. */
	if (!address_domain_is_valid(name, false)) {
		*name = '\0';
		reply_set(refusal, 501, "5.5.4", "neither a domain name nor an address literal");
		return false;
	}
	return true;
}

bool
command_decode_xtext(const char *text, size_t length, char *decoded, size_t size)
{
	static const char digits[] = "0123456789ABCDEF"; /* upper case only */
	const char *high, *low;
	size_t i, out = 0;
	unsigned byte;

	for (i = 0; i < length; i++) {
		byte = (unsigned char)text[i];
		if (byte < '!' || byte > '~' || byte == '=')
			return false;
		if (byte == '+') {
			if (length - i < 3 || text[i + 1] == '\0' || text[i + 2] == '\0')
				return false;
			high = strchr(digits, text[i + 1]);
			low = strchr(digits, text[i + 2]);
			if (high == NULL || low == NULL)
				return false;
			byte = (unsigned)((high - digits) * 16 + (low - digits));
			i += 2;
		}
		/* RFC 3461 4.2, 4.4: what is encoded must itself be printable ASCII. */
		if (byte < ' ' || byte > '~' || out + 1 >= size)
			return false;
		decoded[out++] = (char)byte;
	}
	decoded[out] = '\0';
	return true;
}

/* Digits only, at most 20 of them; a number beyond 64 bits is the largest one. */
static bool
parse_number(const char *text, size_t length, uint64_t *number)
{
	size_t i;

	if (length == 0 || length > SIZE_DIGITS_MAX)
		return false;
	*number = 0;
	for (i = 0; i < length; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		if (__builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, text[i] - '0', number))
			*number = UINT64_MAX;
	}
	return true;
}

struct parameter {
	const char *key;
	size_t key_length;
	const char *value; /* NULL without "=" */
	size_t value_length;
};

/* Cuts the next "SP keyword [=value]" off; false at the end. A keyword or value out of RFC 5321
 * 4.1.2 gives an empty key. */
static bool
next_parameter(const char **at, size_t *left, struct parameter *parameter)
{
	const char *end, *equals;
	size_t i, length;

	while (*left > 0 && **at == ' ')
		(*at)++, (*left)--;
	if (*left == 0)
		return false;
	end = memchr(*at, ' ', *left);
	length = end == NULL ? *left : (size_t)(end - *at);
	equals = memchr(*at, '=', length);
	parameter->key = *at;
	parameter->key_length = equals == NULL ? length : (size_t)(equals - *at);
	parameter->value = equals == NULL ? NULL : equals + 1;
	parameter->value_length = equals == NULL ? 0 : length - parameter->key_length - 1;
	for (i = 0; i < parameter->key_length; i++) {
		if (!isalnum((unsigned char)parameter->key[i]) &&
		    (i == 0 || parameter->key[i] != '-'))
			parameter->key_length = 0;
	}
	if (equals != NULL &&
	    (parameter->value_length == 0 ||
	        memchr(parameter->value, '=', parameter->value_length) != NULL))
		parameter->key_length = 0;
	*at += length;
	*left -= length;
	return true;
}

static bool
is_key(const struct parameter *parameter, const char *key)
{
	return is_word(parameter->key, parameter->key_length, key);
}

static bool
is_value(const struct parameter *parameter, const char *value)
{
	return parameter->value != NULL &&
	    is_word(parameter->value, parameter->value_length, value);
}

static bool
refuse_syntax(struct reply *refusal, const char *what)
{
	reply_set(refusal, 501, "5.5.4", "syntax error in %s", what);
	return false;
}

static bool
refuse_unknown(struct reply *refusal, const struct parameter *parameter)
{
	/* RFC 5321 4.1.1.11 */
	reply_set(refusal, 555, "5.5.4", "parameter %.*s is not known here",
	    (int)(parameter->key_length > 40 ? 40 : parameter->key_length), parameter->key);
	return false;
}

/* Marks a parameter as seen; false when it was seen before. */
static bool
first_time(unsigned *seen, unsigned bit)
{
	bool first = (*seen & bit) == 0;

	*seen |= bit;
	return first;
}

/* "FROM:" or "TO:", then a path; `*used` bytes in all. */
static enum address_result
parse_path(const char *argument, size_t length, const char *keyword, unsigned allow,
    struct address *address, size_t *used)
{
	size_t at = strlen(keyword), path;
	enum address_result result;

	if (length < at || strncasecmp(argument, keyword, at) != 0)
		return ADDRESS_SYNTAX;
	/* RFC 5321 3.3 allows no blank here, clients that send one are many. */
	while (at < length && argument[at] == ' ')
		at++;
	result = address_parse_path(argument + at, length - at, allow, address, &path);
	*used = at + path;
	if (result == ADDRESS_OK && *used < length && argument[*used] != ' ')
		return ADDRESS_SYNTAX;
	return result;
}

static bool
has_non_ascii(const struct address *address)
{
	const char *at;

	for (at = address->local; *at != '\0'; at++) {
		if (!isascii((unsigned char)*at))
			return true;
	}
	for (at = address->domain; *at != '\0'; at++) {
		if (!isascii((unsigned char)*at))
			return true;
	}
	return false;
}

static bool
take_mail_parameter(const struct parameter *parameter, unsigned offers, unsigned *seen,
    struct mail_command *mail, struct reply *refusal)
{
	bool dsn = (offers & MAIL_OFFERS_DSN) != 0;
	char mailbox[ADDRESS_TEXT_MAX + 1];

	if (is_key(parameter, "SIZE")) {
		if (!first_time(seen, 1) || parameter->value == NULL ||
		    !parse_number(parameter->value, parameter->value_length, &mail->size))
			return refuse_syntax(refusal, "SIZE");
		mail->size_given = true;
	} else if (is_key(parameter, "BODY")) {
		if (!first_time(seen, 2))
			return refuse_syntax(refusal, "BODY");
		if (is_value(parameter, "BINARYMIME")) {
			reply_set(refusal, 504, "5.5.4", "BODY=BINARYMIME is not offered");
			return false;
		}
		mail->eight_bit = is_value(parameter, "8BITMIME");
		if (!mail->eight_bit && !is_value(parameter, "7BIT"))
			return refuse_syntax(refusal, "BODY");
	} else if (is_key(parameter, "SMTPUTF8")) {
		if (!first_time(seen, 4) || parameter->value != NULL)
			return refuse_syntax(refusal, "SMTPUTF8");
		mail->smtputf8 = true;
	} else if (dsn && is_key(parameter, "RET")) {
		if (!first_time(seen, 8))
			return refuse_syntax(refusal, "RET");
		if (is_value(parameter, "FULL"))
			mail->dsn_return = DSN_RETURN_FULL;
		else if (is_value(parameter, "HDRS"))
			mail->dsn_return = DSN_RETURN_HEADERS;
		else
			return refuse_syntax(refusal, "RET");
	} else if (dsn && is_key(parameter, "ENVID")) {
		if (!first_time(seen, 16) || parameter->value == NULL ||
		    parameter->value_length > DSN_ENVID_MAX ||
		    !command_decode_xtext(parameter->value, parameter->value_length, mail->envid,
		        sizeof(mail->envid)))
			return refuse_syntax(refusal, "ENVID");
	} else if ((offers & MAIL_OFFERS_AUTH) != 0 && is_key(parameter, "AUTH")) {
		if (!first_time(seen, 32) || parameter->value == NULL ||
		    !command_decode_xtext(
		        parameter->value, parameter->value_length, mailbox, sizeof(mailbox)))
			return refuse_syntax(refusal, "AUTH");
	} else if ((offers & MAIL_OFFERS_REQUIRETLS) != 0 && is_key(parameter, "REQUIRETLS")) {
		if (!first_time(seen, 64) || parameter->value != NULL)
			return refuse_syntax(refusal, "REQUIRETLS");
		mail->require_tls = true;
	} else if (parameter->key_length == 0)
		return refuse_syntax(refusal, "the parameters");
	else
		return refuse_unknown(refusal, parameter);
	return true;
}

bool
command_parse_mail(const char *argument, size_t length, unsigned offers, struct mail_command *mail,
    struct reply *refusal)
{
	struct parameter parameter;
	unsigned seen = 0;
	size_t used = 0, left;
	const char *at;

	memset(mail, 0, sizeof(*mail));
	switch (parse_path(argument, length, "FROM:", ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_UTF8,
	    &mail->sender, &used)) {
	case ADDRESS_OK:
		break;
	case ADDRESS_TOO_LONG: /* RFC 5321 4.5.3.1.10 */
		reply_set(refusal, 501, "5.1.7", "sender address too long");
		return false;
	case ADDRESS_SYNTAX:
	case ADDRESS_NEEDS_SMTPUTF8:
		reply_set(refusal, 501, "5.1.7", "syntax is MAIL FROM:<address>");
		return false;
	}
	at = argument + used;
	left = length - used;
	while (next_parameter(&at, &left, &parameter)) {
		if (!take_mail_parameter(&parameter, offers, &seen, mail, refusal))
			return false;
	}
	if (!mail->smtputf8 && has_non_ascii(&mail->sender)) { /* RFC 6531 3.5 */
		reply_set(refusal, 550, "5.6.7", "a non-ASCII sender needs SMTPUTF8");
		return false;
	}
	return true;
}

static bool
parse_notify(const char *value, size_t length, uint8_t *notify)
{
	const char *comma;
	size_t word;

	*notify = 0;
	if (is_word(value, length, "NEVER")) {
		*notify = DSN_NOTIFY_NEVER;
		return true;
	}
	for (;;) {
		comma = memchr(value, ',', length);
		word = comma == NULL ? length : (size_t)(comma - value);
		if (is_word(value, word, "SUCCESS"))
			*notify |= DSN_NOTIFY_SUCCESS;
		else if (is_word(value, word, "FAILURE"))
			*notify |= DSN_NOTIFY_FAILURE;
		else if (is_word(value, word, "DELAY"))
			*notify |= DSN_NOTIFY_DELAY;
		else
			return false;
		if (comma == NULL)
			return true;
		value = comma + 1;
		length -= word + 1;
	}
}

/* RFC 6533 3: UTF-8 in an address of type utf-8 is written as "\x{HEX}", so that it is ASCII from
 * here on; the rest stays as it came. */
static bool
embed_utf8(const char *value, size_t length, char *text, size_t size)
{
	uint32_t character;
	size_t out = 0, used;

	while (length > 0) {
		if (isascii((unsigned char)*value)) {
			used = 1;
			if (out + 1 >= size)
				return false;
			text[out++] = *value;
		} else {
			used = address_utf8_character(value, length, &character);
			if (used == 0 || size - out < sizeof("\\x{10FFFF}"))
				return false;
			out += (size_t)snprintf(text + out, size - out, "\\x{%X}", character);
		}
		value += used;
		length -= used;
	}
	text[out] = '\0';
	return true;
}

/* addr-type ";" xtext (RFC 3461 4.2), kept as it came. */
static bool
parse_orcpt(const char *value, size_t length, char *orcpt, size_t size)
{
	char decoded[DSN_ORCPT_MAX + 1];
	const char *semicolon = memchr(value, ';', length);
	const char *at;

	if (semicolon == NULL || semicolon == value || length >= size)
		return false;
	for (at = value; at < semicolon; at++) {
		if (!isalnum((unsigned char)*at) && *at != '-')
			return false;
	}
	if (is_word(value, (size_t)(semicolon - value), "utf-8")) {
		if (!embed_utf8(value, length, orcpt, size))
			return false;
	} else {
		memcpy(orcpt, value, length);
		orcpt[length] = '\0';
	}
	at = orcpt + (semicolon + 1 - value);
	return command_decode_xtext(at, strlen(at), decoded, sizeof(decoded));
}

static bool
take_rcpt_parameter(const struct parameter *parameter, bool dsn, unsigned *seen,
    struct rcpt_command *rcpt, struct reply *refusal)
{
	if (dsn && is_key(parameter, "NOTIFY")) {
		if (!first_time(seen, 1) || parameter->value == NULL ||
		    !parse_notify(parameter->value, parameter->value_length, &rcpt->notify))
			return refuse_syntax(refusal, "NOTIFY");
	} else if (dsn && is_key(parameter, "ORCPT")) {
		if (!first_time(seen, 2) || parameter->value == NULL ||
		    !parse_orcpt(parameter->value, parameter->value_length, rcpt->orcpt,
		        sizeof(rcpt->orcpt)))
			return refuse_syntax(refusal, "ORCPT");
	} else if (parameter->key_length == 0)
		return refuse_syntax(refusal, "the parameters");
	else
		return refuse_unknown(refusal, parameter);
	return true;
}

bool
command_parse_rcpt(const char *argument, size_t length, bool smtputf8, bool dsn,
    struct rcpt_command *rcpt, struct reply *refusal)
{
	unsigned allow = ADDRESS_ALLOW_BARE_LOCAL | ADDRESS_ALLOW_UTF8, seen = 0;
	struct parameter parameter;
	size_t used = 0, left;
	const char *at;

	memset(rcpt, 0, sizeof(*rcpt));
	switch (parse_path(argument, length, "TO:", allow, &rcpt->rcpt, &used)) {
	case ADDRESS_OK:
		break;
	case ADDRESS_TOO_LONG:
		reply_set(refusal, 501, "5.1.3", "recipient address too long");
		return false;
	case ADDRESS_SYNTAX:
	case ADDRESS_NEEDS_SMTPUTF8:
		reply_set(refusal, 501, "5.1.3", "syntax is RCPT TO:<address>");
		return false;
	}
	/* RFC 5321 4.1.1.3 */
	if (*rcpt->rcpt.domain == '\0' && strcasecmp(rcpt->rcpt.local, "postmaster") != 0) {
		reply_set(refusal, 501, "5.1.3", "the address has no domain");
		return false;
	}
	if (!smtputf8 && has_non_ascii(&rcpt->rcpt)) { /* RFC 6531 3.5 */
		reply_set(refusal, 553, "5.6.7", "a non-ASCII recipient needs SMTPUTF8");
		return false;
	}
	at = argument + used;
	left = length - used;
	while (next_parameter(&at, &left, &parameter)) {
		if (!take_rcpt_parameter(&parameter, dsn, &seen, rcpt, refusal))
			return false;
	}
	return true;
}

bool
command_parse_bdat(
    const char *argument, size_t length, uint64_t *size, bool *last, struct reply *refusal)
{
	const char *blank = memchr(argument, ' ', length);
	size_t digits = blank == NULL ? length : (size_t)(blank - argument);

	*last = false;
	if (!parse_number(argument, digits, size))
		return refuse_syntax(refusal, "the chunk's size");
	if (blank == NULL)
		return true;
	while (digits < length && argument[digits] == ' ')
		digits++;
	if (!is_word(argument + digits, length - digits, "LAST"))
		return refuse_syntax(refusal, "BDAT: only LAST may follow the size");
	*last = true;
	return true;
}
