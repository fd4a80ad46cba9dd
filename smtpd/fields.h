/* The fields of a message's header that matter to us, on its way through. */
#ifndef SMTPD_FIELDS_H
#define SMTPD_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"

enum field_state { /* of a header line */
	FIELD_START,
	FIELD_NAME,
	FIELD_NAME_BLANK, /* blanks before the colon */
	FIELD_BODY,       /* after the colon, or in a continuation line */
	FIELD_NOT,        /* this line is no field: the header ends with it */
	FIELD_NONE,       /* the header is over */
};

enum known_field {
	KNOWN_RECEIVED,
	KNOWN_TLS_REQUIRED,
	KNOWN_DELIVERED_TO,
	KNOWN_MESSAGE_ID,
	KNOWN_FIELD_COUNT,
};

enum tls_field {        /* the value of TLS-Required, as read so far */
	TLS_FIELD_NONE, /* another field */
	TLS_FIELD_EMPTY,
	TLS_FIELD_N,
	TLS_FIELD_NO,
	TLS_FIELD_OTHER,
};

#define FIELDS_DELIVERED_MAX 64 /* fields Delivered-To that are remembered */

struct delivered_field {
	bool is_open; /* the field at hand is one */
	size_t length;
	char value[ADDRESS_TEXT_MAX + 4];    /* so far, as much as may be an address */
	uint64_t seen[FIELDS_DELIVERED_MAX]; /* numbers that stand for addresses */
	size_t count;
};
#define FIELDS_ID_MAX 255

/* Zeroed at the start. */
struct fields {
	enum field_state state;
	unsigned name_match[KNOWN_FIELD_COUNT]; /* bytes of those names matched so far */
	uint32_t received;                      /* fields of that name */
	enum tls_field tls_field;
	bool tls_optional; /* a TLS-Required before said so */
	struct delivered_field delivered;
	bool in_message_id;
	size_t message_id_length;
	char message_id[FIELDS_ID_MAX + 1]; /* of the first Message-ID, cut off; as it came */
};

/* Bytes of a line of the header, without its end, in pieces of any size; and its end. */
void fields_text(struct fields *, const char *data, size_t length);
void fields_line_end(struct fields *, bool is_empty);
/* The header is over. */
bool fields_are_over(const struct fields *);
/* There is a field Delivered-To with that address. */
bool fields_were_delivered_to(const struct fields *, const struct address *);
/* There is a field "TLS-Required: No" (RFC 8689 3). */
bool fields_say_tls_optional(const struct fields *);

/* The first Message-ID's value, what is too long cut off; "" without one. */
const char *fields_message_id(const struct fields *);

#endif
