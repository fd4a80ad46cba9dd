/*
 * dovecot-uidlist, which the mailbox's owner and other programs write: any bytes give ascending uids
 * below the next one or a verdict, and what is written of them reads the same.
 */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/keywords.h"
#include "mailbox/subscriptions.h"
#include "mailbox/uidlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct copy {
	struct buf text;
	uint32_t last;
	size_t count;
};

static void
write_again(void *arg, const struct uidlist_record *record)
{
	struct copy *copy = arg;

	assert(record->uid > copy->last);
	assert(record->name_length > 0 && record->name_length < 256);
	assert(memchr(record->name, '/', record->name_length) == NULL);
	assert(memchr(record->name, '\n', record->name_length) == NULL);
	assert(record->extra_length <= UIDLIST_EXTRA_MAX);
	copy->last = record->uid;
	copy->count++;
	uidlist_format_record(&copy->text, record);
}

static void
count(void *arg, const struct uidlist_record *record)
{
	(void)record;
	++*(size_t *)arg;
}

static void
parse_list(const char *text, size_t size)
{
	struct uidlist_header header, again;
	struct copy copy = { .last = 0 };
	enum uidlist_verdict verdict;
	size_t length, taken, records = 0;

	length = uidlist_parse_header(text, size, &header);
	if (length == 0)
		return;
	assert(length <= size && header.uid_validity != 0 && header.uid_next != 0);
	buf_init(&copy.text, 4 * size + 65536);
	verdict = uidlist_parse_records(
	    text + length, size - length, &header, write_again, &copy, &taken);
	assert(taken <= size - length);
	assert(header.uid_next > copy.last);
	if (verdict != UIDLIST_DAMAGED && buf_ok(&copy.text)) {
		again = header;
		again.version = 3;
		assert(uidlist_parse_records((const char *)copy.text.data, copy.text.length, &again,
		           count, &records, &taken) == UIDLIST_SOUND);
		assert(records == copy.count && again.uid_next == header.uid_next);
	}
	buf_free(&copy.text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct subscriptions subscriptions;
	struct keywords keywords;

	parse_list(text, size);
	keywords_init(&keywords);
	keywords_parse(&keywords, text, size);
	keywords_free(&keywords);
	if (subscriptions_parse(text, size, &subscriptions))
		subscriptions_free(&subscriptions);
	return 0;
}
