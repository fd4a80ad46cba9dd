/*
 * The message that a script is run for, as its tests see it: fields, addresses, dates and the body.
 * Private to common/sieve_*.c. What is given out lies in the run's arena.
 */
#ifndef COMMON_SIEVE_MESSAGE_H
#define COMMON_SIEVE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/sieve_script.h"

#define SIEVE_FIELDS_MAX 2000 /* of a header; more aren't seen */
#define SIEVE_VALUES_MAX 4000 /* that one test compares */

struct sieve_field {
	const char *name; /* in the message */
	size_t name_length;
	const char *value; /* behind the colon, folded as it is */
	size_t length;
	/* What tests have asked for, made once. */
	char *text;
	char *words;
};

struct sieve_view {
	const struct sieve_message *message;
	struct sieve_arena *arena;
	size_t body; /* offset */
	struct sieve_field *fields;
	size_t field_count;
	struct mime *mime; /* once the body was asked for */
	struct buf scratch;
};

/* False without memory. */
bool sieve_view_init(struct sieve_view *, const struct sieve_message *, struct sieve_arena *);
void sieve_view_free(struct sieve_view *);

/* A field's name (RFC 5322 2.2). */
bool sieve_field_name_is_valid(const char *name);
/* The index of the next field of that name from `from` on, field_count: there is none. */
size_t sieve_find_field(const struct sieve_view *, const char *name, size_t from);
/* Its value, unfolded, without blanks around it; NULL without memory. */
char *sieve_field_text(struct sieve_view *, size_t field);
/* The same with encoded words read, as UTF-8. */
char *sieve_field_words(struct sieve_view *, size_t field);
/* The first field of that name, in the same way; NULL: there is none, or no memory. */
char *sieve_first_text(struct sieve_view *, const char *name);

/* One address of a field: text of `part` (TAG_ALL, …), until the next one is asked for. NULL when it has
 * none such, or without memory (`scratch` says so). */
char *sieve_address_part(
    struct sieve_view *, const char *local, const char *domain, enum sieve_tag part);

/* Parts of the body, one by one: calls `each` with the text of each; false: enough. */
typedef bool (*sieve_each)(void *arg, const char *text, size_t length);
/* `types` NULL: all text (RFC 5173 5.3), or else those types (5.2). Text is UTF-8. False without
 * memory. */
bool sieve_body_parts(
    struct sieve_view *, char *const *types, size_t type_count, sieve_each each, void *arg);
/* The body as it is. */
const char *sieve_body_raw(const struct sieve_view *, size_t *length);

/* A part of a date (RFC 5260 4.2), in the zone `minutes` east of UTC. False: no such part. */
bool sieve_date_part_is_known(const char *part);
void sieve_date_part(int64_t when, int minutes, const char *part, char *text, size_t size);
/* "+0100"; false when it isn't one. */
bool sieve_read_zone(const char *text, int *minutes);
/* Minutes of the local zone then. */
int sieve_local_zone(int64_t when);

#endif
