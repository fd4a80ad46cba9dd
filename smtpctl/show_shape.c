/*
 * A domain's counts are found by its name; the order comes last. The ages are those of Postfix's
 * qshape(1): each is twice as long as the one before.
 */
#include <ctype.h>
#include <err.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "smtpctl/show_shape.h"
#include "smtpctl/text.h"

#define AGES         9  /* and the older ones */
#define FIRST_AGE    5  /* minutes */
#define DOMAIN_LEAST 20 /* columns */
#define CELL         6

struct domain {
	struct domain *next;
	uint64_t total;
	uint64_t ages[AGES + 1];
	char *name;
};

struct shape {
	bool senders;
	struct domain *sum;
	void *by_name; /* tsearch(3)'s tree of them */
	struct domain *first;
	size_t count;
};

static void *
or_die(void *memory)
{
	if (memory == NULL)
		err(EX_OSERR, "queue");
	return memory;
}

static struct domain *
new_domain(const char *name)
{
	struct domain *domain = or_die(calloc(1, sizeof(*domain)));

	domain->name = or_die(strdup(name));
	return domain;
}

static void
free_domain(struct domain *domain)
{
	free(domain->name);
	free(domain);
}

struct shape *
shape_new(bool senders)
{
	struct shape *shape = or_die(calloc(1, sizeof(*shape)));

	shape->senders = senders;
	shape->sum = new_domain("TOTAL");
	return shape;
}

static int
compare_names(const void *left, const void *right)
{
	const struct domain *a = left, *b = right;

	return strcmp(a->name, b->name);
}

void
shape_free(struct shape *shape)
{
	struct domain *domain;

	while ((domain = shape->first) != NULL) {
		shape->first = domain->next;
		(void)tdelete(domain, &shape->by_name, compare_names);
		free_domain(domain);
	}
	free_domain(shape->sum);
	free(shape);
}

static struct domain *
find_domain(struct shape *shape, char *name)
{
	const struct domain wanted = { .name = name };
	struct domain **found = tfind(&wanted, &shape->by_name, compare_names), *domain;

	if (found != NULL)
		return *found;
	domain = new_domain(name);
	or_die(tsearch(domain, &shape->by_name, compare_names));
	domain->next = shape->first;
	shape->first = domain;
	shape->count++;
	return domain;
}

static void
add(struct domain *domain, int64_t minutes)
{
	int64_t limit = FIRST_AGE;
	size_t age = 0;

	for (; age < AGES - 1 && minutes >= limit; age++)
		limit *= 2;
	if (minutes >= limit)
		age = AGES;
	domain->ages[age]++;
	domain->total++;
}

void
shape_count(struct shape *shape, const struct transaction *transaction,
    const struct envelope *envelope, int64_t now)
{
	const struct address *address = shape->senders ? &transaction->sender : &envelope->dest;
	int64_t minutes = (now - transaction->created_us / 1000000) / 60;
	char name[sizeof(address->domain)];
	size_t i;

	for (i = 0; address->domain[i] != '\0'; i++)
		name[i] = (char)tolower((unsigned char)address->domain[i]);
	name[i] = '\0';
	add(shape->sum, minutes);
	if (*name == '\0')
		strcpy(name, address_is_null(address) ? "<>" : "-");
	add(find_domain(shape, name), minutes);
}

static int
compare(const void *left, const void *right)
{
	const struct domain *a = *(struct domain *const *)left, *b = *(struct domain *const *)right;

	if (a->total != b->total)
		return a->total > b->total ? -1 : 1;
	return strcmp(a->name, b->name);
}

static void
show_json(struct buf *buf, const struct domain *domain, bool is_sum)
{
	int limit = FIRST_AGE;

	buf_add_text(buf, "{\"domain\":");
	if (is_sum)
		buf_add_text(buf, "null");
	else
		text_add_json(buf, domain->name);
	buf_printf(buf, ",\"envelopes\":%" PRIu64 ",\"younger_than_minutes\":{", domain->total);
	for (size_t i = 0; i < AGES - 1; i++, limit *= 2)
		buf_printf(buf, "%s\"%d\":%" PRIu64, i == 0 ? "" : ",", limit, domain->ages[i]);
	buf_printf(buf, ",\"%d\":%" PRIu64 "},\"older\":%" PRIu64 "}\n", limit,
	    domain->ages[AGES - 1], domain->ages[AGES]);
}

static void
show_number(struct output *output, uint64_t number, int width)
{
	if (output->format == OUTPUT_TABLE)
		buf_printf(&output->buf, " %*" PRIu64, width, number);
	else
		buf_printf(&output->buf, "|%" PRIu64, number);
}

static void
show_domain(struct output *output, const struct domain *domain, bool is_sum, size_t width)
{
	struct buf *buf = &output->buf;

	if (output->format == OUTPUT_JSON) {
		show_json(buf, domain, is_sum);
		return;
	}
	if (output->format == OUTPUT_TABLE)
		text_add_cell(buf, domain->name, width);
	else
		text_add_field(buf, domain->name);
	show_number(output, domain->total, CELL);
	for (size_t i = 0; i <= AGES; i++)
		show_number(output, domain->ages[i], CELL - 1);
	buf_add_text(buf, "\n");
}

static void
show_head(struct output *output, size_t width)
{
	int limit = FIRST_AGE;

	buf_printf(&output->buf, "%-*s %*s", (int)width, "", CELL, "TOTAL");
	for (size_t i = 0; i < AGES; i++, limit *= 2)
		buf_printf(&output->buf, " %*d", CELL - 1, limit);
	buf_printf(&output->buf, " %*d+\n", CELL - 2, limit / 2);
}

void
shape_show(struct shape *shape, struct output *output)
{
	size_t width = CELL + 1 + (AGES + 1) * CELL, count = 0;
	struct domain **all = or_die(calloc(shape->count + 1, sizeof(*all)));

	width = output->width > width + DOMAIN_LEAST ? output->width - width : DOMAIN_LEAST;
	for (struct domain *domain = shape->first; domain != NULL; domain = domain->next)
		all[count++] = domain;
	qsort(all, count, sizeof(*all), compare);
	if (output->format == OUTPUT_TABLE)
		show_head(output, width);
	show_domain(output, shape->sum, true, width);
	for (size_t i = 0; i < count; i++) {
		show_domain(output, all[i], false, width);
		output_flush_some(output);
	}
	free(all);
}
