/*
 * Each struct of the config is described once, as a list of fields; making, freeing, encoding and
 * decoding all walk that list, so that a new field is one line and none of the four can forget it.
 * Nothing is encoded that isn't a field: no pointer, no padding.
 */
#ifndef COMMON_CONFIG_FIELDS_H
#define COMMON_CONFIG_FIELDS_H

#include "common/buf.h"
#include "common/config.h"

enum field_kind {
	FIELD_STRING,
	FIELD_BOOL,
	FIELD_U32,
	FIELD_U64,
	FIELD_ENUM
};

struct field {
	enum field_kind kind;
	size_t offset;
	unsigned count; /* FIELD_ENUM: values below it */
};

struct fields {
	const struct field *list;
	size_t count;
};

extern const struct fields config_fields;
extern const struct fields listener_fields;
extern const struct fields entry_fields;
extern const struct fields table_fields;
extern const struct fields action_fields;
extern const struct fields pki_fields;
extern const struct fields wrapper_fields;
extern const struct fields ca_fields;
extern const struct fields mta_limit_fields;
extern const struct fields rule_fields;

/* Of a struct that has it: a string is a char *, an enum a uint32_t. */
void *field_of(void *base, const struct field *);
/* The strings. */
void fields_free(void *base, const struct fields *);
void fields_encode(struct buf *, const void *base, const struct fields *);
/* Fills `base`, which is all zero; after a failure its strings may be NULL. */
void fields_decode(struct buf_reader *, void *base, const struct fields *);

#endif
