/*
 * PKIX-TA(0) and PKIX-EE(1) say that a certificate of a public authority is meant; there is no list
 * of those that both sides share, so for SMTP they say nothing. Whether what remains is well-formed
 * is OpenSSL's to find out.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deliver/relay_dane.h"

size_t
dane_names_to_ask(const struct ipc_answer *addresses, const char *host, const char *names[2])
{
	bool is_alias = *addresses->canonical != '\0';

	if (is_alias && addresses->secure) {
		names[0] = addresses->canonical;
		names[1] = host;
		return 2;
	}
	names[0] = host;
	return addresses->secure || (is_alias && addresses->canonical_secure) ? 1 : 0;
}

struct dane *
dane_new(const struct ipc_answer *answer)
{
	struct dane *dane = calloc(1, sizeof(*dane) + answer->count * sizeof(struct dane_record));

	if (dane == NULL)
		return NULL;
	for (uint32_t i = 0; i < answer->count; i++) {
		const struct answer_record *record = &answer->records[i];
		struct dane_record *copy = &dane->records[dane->count];

		if ((record->usage != DANE_USAGE_ANCHOR && record->usage != DANE_USAGE_END) ||
		    record->length == 0)
			continue;
		*copy = (struct dane_record){ .usage = record->usage,
			.selector = record->selector,
			.matching = record->matching,
			.length = record->length };
		copy->data = malloc(record->length);
		if (copy->data == NULL) {
			dane_free(dane);
			return NULL;
		}
		memcpy(copy->data, record->data, record->length);
		dane->count++;
	}
	return dane;
}

bool
dane_add_name(struct dane *dane, const char *name)
{
	for (size_t i = 0; i < dane->name_count; i++)
		if (strcasecmp(dane->names[i], name) == 0)
			return true;
	if (*name == '\0' || dane->name_count == DANE_NAMES_MAX)
		return true;
	dane->names[dane->name_count] = strdup(name);
	return dane->names[dane->name_count] != NULL && ++dane->name_count > 0;
}

void
dane_free(struct dane *dane)
{
	if (dane == NULL)
		return;
	for (size_t i = 0; i < dane->name_count; i++)
		free(dane->names[i]);
	for (size_t i = 0; i < dane->count; i++)
		free(dane->records[i].data);
	free(dane);
}
