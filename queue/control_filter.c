/*
 * Filters: what memory can decide (ids, sender, age, state) is decided there; only a recipient
 * makes the journal be read.
 */
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "queue/control.h"

static void
prepare_address(const char *text, char *prepared, size_t size, struct address *address,
    bool *is_domain, bool *impossible)
{
	memset(address, 0, sizeof(*address));
	*is_domain = *text == '@' && text[1] != '\0';
	if (*is_domain) {
		strlcpy(address->domain, text + 1, sizeof(address->domain));
		for (char *at = address->domain; *at != '\0'; at++) {
			if (*at >= 'A' && *at <= 'Z')
				*at = (char)(*at + ('a' - 'A'));
		}
		strlcpy(prepared, address->domain, size);
		return;
	}
	/* "<>" and "@" are the null sender, as listings show it. */
	if (strcmp(text, "<>") == 0 || strcmp(text, "@") == 0) {
		*prepared = '\0';
		return;
	}
	if (address_parse(text, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL, address) !=
	    ADDRESS_OK)
		*impossible = true;
	index_sender_text(address, prepared, size);
}

void
filter_prepare(struct filter *filter, const struct ipc_filter *given)
{
	struct address from;

	memset(filter, 0, sizeof(*filter));
	filter->given = *given;
	filter->now = clock_wall();
	if (*given->from != '\0')
		prepare_address(given->from, filter->from, sizeof(filter->from), &from,
		    &filter->from_domain, &filter->impossible);
	if (*given->to != '\0')
		prepare_address(given->to, filter->to_text, sizeof(filter->to_text), &filter->to,
		    &filter->to_domain, &filter->impossible);
}

bool
filter_message(const struct filter *filter, const struct message *message)
{
	const char *sender = message->sender->text, *domain = strrchr(sender, '@');

	if (filter->impossible)
		return false;
	if (*filter->given.from != '\0') {
		if (filter->from_domain) {
			if (domain == NULL || strcmp(domain + 1, filter->from) != 0)
				return false;
		} else if (strcmp(sender, filter->from) != 0)
			return false;
	}
	return filter->given.older == 0 ||
	    filter->now - (int64_t)message->created >= (int64_t)filter->given.older;
}

bool
filter_entry(const struct filter *filter, struct entry *entry)
{
	enum envelope_state state = entry->state == ENTRY_HELD ? ENVELOPE_HELD
	    : entry->state == ENTRY_INFLIGHT                   ? ENVELOPE_INFLIGHT
	                                                       : ENVELOPE_PENDING;

	if (entry->state == ENTRY_DONE)
		return false;
	if (envelope_id_message(filter->given.id) != 0 && filter->given.id != entry_id(entry))
		return false;
	return !filter->given.has_state || filter->given.state == state;
}

bool
filter_needs_envelope(const struct filter *filter)
{
	return *filter->given.to != '\0';
}

static bool
address_fits(const struct filter *filter, const struct address *address)
{
	if (filter->to_domain)
		return strcasecmp(address->domain, filter->to.domain) == 0;
	return address_equal(address, &filter->to);
}

bool
filter_envelope(const struct filter *filter, const struct envelope *envelope)
{
	return *filter->given.to == '\0' || address_fits(filter, &envelope->rcpt) ||
	    address_fits(filter, &envelope->dest);
}

struct message *
filter_from(const struct filter *filter, const struct index *index, uint64_t number)
{
	struct message *message;
	uint32_t id;

	if (filter->given.id == 0)
		return index_from(index, number);
	id = envelope_id_message(filter->given.id);
	message = index_find(index, id != 0 ? id : (uint32_t)filter->given.id);
	if (message == NULL || index_number(index, message) + message->count <= number)
		return NULL;
	return message;
}

struct message *
filter_next(const struct filter *filter, const struct index *index, const struct message *message)
{
	return filter->given.id == 0 ? index_next(index, message) : NULL;
}
