/*
 * Mailboxes as SMTP writes them (RFC 5321 4.1.2, RFC 6531 3.3): the one parser of addresses.
 *
 * A struct address is a parsed mailbox. The local part is kept unquoted (what "a b"@d means is a b)
 * and in its own case; the domain in lower case, without a trailing dot, A-labels turned into
 * U-labels only for comparison (address_domain_key()), address literals kept with their brackets.
 * The null sender has both parts empty.
 */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define ADDRESS_LOCAL_MAX  64  /* RFC 5321 4.5.3.1.1 */
#define ADDRESS_DOMAIN_MAX 255 /* RFC 5321 4.5.3.1.2 */
#define ADDRESS_TEXT_MAX   (2 * ADDRESS_LOCAL_MAX + 2 + 1 + ADDRESS_DOMAIN_MAX)

struct address {
	char local[ADDRESS_LOCAL_MAX + 1];
	char domain[ADDRESS_DOMAIN_MAX + 1];
};

enum address_result {
	ADDRESS_OK,
	ADDRESS_SYNTAX,         /* 501 5.1.3 (or 5.1.7 for a sender) */
	ADDRESS_TOO_LONG,       /* a part over its limit */
	ADDRESS_NEEDS_SMTPUTF8, /* non-ASCII where it isn't allowed: 553 5.6.7 */
};

#define ADDRESS_ALLOW_NULL       1 /* "<>" */
#define ADDRESS_ALLOW_UTF8       2 /* SMTPUTF8 was given */
#define ADDRESS_ALLOW_BARE_LOCAL 4 /* "postmaster" without a domain (RFC 5321 4.1.1.3) */

/*
 * Parses a path "<...>" at `text` (at most `length` bytes, no terminator needed), a source route
 * being dropped (RFC 5321 4.1.1.3, appendix C). On ADDRESS_OK `*used` is the number of bytes up to
 * and with the ">".
 */
enum address_result address_parse_path(
    const char *text, size_t length, unsigned allow, struct address *, size_t *used);
/* Parses a whole mailbox without brackets: tables, smtpctl, aliases. */
enum address_result address_parse(const char *text, unsigned allow, struct address *);
/* Writes local@domain, the local part quoted again where it must be; "" for the null sender. */
void address_format(const struct address *, char *text, size_t size);
/* The same mailbox: local parts compared case-insensitively in ASCII, domains as IDNA. */
bool address_equal(const struct address *, const struct address *);
bool address_is_null(const struct address *);
/* [127.0.0.1], [IPv6:::1] */
bool address_is_literal(const struct address *);
/* A valid domain name or address literal, as in EHLO and tables. */
bool address_domain_is_valid(const char *domain, bool utf8);
/* The form domains are compared and looked up in: lower-case A-labels. False when not convertible.
 */
bool address_domain_key(const char *domain, char *key, size_t size);
/* Cuts "+detail" (the first byte of `delimiters` found in the local part after its first byte) off
 * `address` into `detail`; "" when there is none. */
void address_split_detail(struct address *, const char *delimiters, char *detail, size_t size);

/* The length of the UTF-8 character above ASCII at `text`, and which it is; 0 when it is malformed
 * or one that no address may hold (controls, marks and overrides of direction, zero-width ones). */
size_t address_utf8_character(const char *text, size_t length, uint32_t *character);

/* ASCII, or all its characters are such. */
bool address_is_utf8(const char *text);

void address_encode(struct buf *, const struct address *);
bool address_decode(struct buf_reader *, struct address *);

#endif
