/*
 * A client may send its ranges in any order, overlapping and turned round; once sorted and joined, a
 * set of 100 KiB costs no more than what it means.
 */
#include <stdlib.h>

#include "mailbox/imap_set.h"

static int
compare(const void *left, const void *right)
{
	const struct imap_range *a = left, *b = right;

	return a->first < b->first ? -1 : a->first > b->first;
}

void
imap_set_resolve(struct imap_set *set, uint32_t largest)
{
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++) {
		struct imap_range range = set->ranges[i];

		if (range.first == IMAP_SET_STAR)
			range.first = largest;
		if (range.last == IMAP_SET_STAR)
			range.last = largest;
		if (range.first > range.last)
			range = (struct imap_range){ range.last, range.first };
		if (range.first == 0) /* only "*" of an empty mailbox */
			range.first = 1;
		if (range.last == 0)
			continue;
		set->ranges[kept++] = range;
	}
	set->count = kept;
	if (kept == 0)
		return;
	qsort(set->ranges, kept, sizeof(set->ranges[0]), compare);
	kept = 0;
	for (size_t i = 1; i < set->count; i++) {
		const struct imap_range *next = &set->ranges[i];
		struct imap_range *last = &set->ranges[kept];

		if (next->first > last->last && next->first - last->last > 1)
			set->ranges[++kept] = *next;
		else if (next->last > last->last)
			last->last = next->last;
	}
	set->count = kept + 1;
}

bool
imap_set_has(const struct imap_set *set, uint32_t number)
{
	size_t low = 0, high = set->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (number < set->ranges[middle].first)
			high = middle;
		else if (number > set->ranges[middle].last)
			low = middle + 1;
		else
			return true;
	}
	return false;
}

void
imap_set_begin(struct imap_set_writer *writer, struct buf *to)
{
	*writer = (struct imap_set_writer){ .to = to };
}

static void
write_range(struct imap_set_writer *writer)
{
	const char *comma = writer->is_begun ? "," : "";

	if (writer->open.first == writer->open.last)
		buf_printf(writer->to, "%s%u", comma, writer->open.first);
	else
		buf_printf(writer->to, "%s%u:%u", comma, writer->open.first, writer->open.last);
	writer->is_begun = true;
}

void
imap_set_add_range(struct imap_set_writer *writer, uint32_t first, uint32_t last)
{
	if (writer->open.first != 0 && first == writer->open.last + 1) {
		writer->open.last = last;
		return;
	}
	if (writer->open.first != 0)
		write_range(writer);
	writer->open = (struct imap_range){ first, last };
}

void
imap_set_add(struct imap_set_writer *writer, uint32_t number)
{
	imap_set_add_range(writer, number, number);
}

bool
imap_set_end(struct imap_set_writer *writer)
{
	if (writer->open.first != 0)
		write_range(writer);
	writer->open = (struct imap_range){ 0 };
	return writer->is_begun;
}
