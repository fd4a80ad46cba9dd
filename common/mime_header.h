/*
 * Values of header fields: tokens, parameters (RFC 2045 5.1) and addresses (RFC 5322 3.4), read one
 * by one from an unfolded field. Comments are skipped however deeply they nest, without recursion;
 * what is not as the grammar has it is taken as far as it makes sense, since mail is what it is.
 */
#ifndef COMMON_MIME_HEADER_H
#define COMMON_MIME_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

struct mime_value {
	const char *at;
	const char *end;
};

void mime_value_init(struct mime_value *, const char *field);
/* Skips blanks and comments. */
void mime_value_skip(struct mime_value *);

#define MIME_TOKEN_MAX 128
/* The next token in lower case; false when there is none or it is too long. */
bool mime_value_token(struct mime_value *, char token[MIME_TOKEN_MAX + 1]);
/* "text/plain": false when it isn't that. */
bool mime_value_type(
    struct mime_value *, char type[MIME_TOKEN_MAX + 1], char subtype[MIME_TOKEN_MAX + 1]);
/* The next "; name=value", the value without quotes in `value`, which is cleared first. False when
 * there is none. */
bool mime_value_parameter(struct mime_value *, char name[MIME_TOKEN_MAX + 1], struct buf *value);

enum mime_address_kind {
	MIME_ADDRESS_MAILBOX,
	MIME_ADDRESS_GROUP, /* begins; its name is in `local` */
	MIME_ADDRESS_GROUP_END,
	MIME_ADDRESS_END, /* there are no more */
};
/* Parts of an address, as text without quotes and comments; has_…: it is there. */
struct mime_address {
	enum mime_address_kind kind;
	bool has_name;
	bool has_route;
	bool has_domain;
	struct buf name;
	struct buf route;
	struct buf local;
	struct buf domain;
};
struct mime_addresses {
	struct mime_value value;
	bool in_group;
};
void mime_address_init(struct mime_address *);
void mime_address_free(struct mime_address *);
void mime_addresses_init(struct mime_addresses *, const char *field);
/* The next address. A mailbox without "@" has no domain. */
enum mime_address_kind mime_addresses_next(struct mime_addresses *, struct mime_address *);

#endif
