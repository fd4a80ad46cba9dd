/*
 * A domain's counts are found by a hash of its name; the order comes last. The ages are those of Postfix's
 * qshape(1): each is twice as long as the one before.
 */
#include <ctype.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "smtpctl/show_shape.h"
#include "smtpctl/text.h"

#define AGES         9 /* and the older ones */
#define FIRST_AGE    5 /* minutes */
#define BUCKETS      1024
#define DOMAIN_LEAST 20 /* columns */
#define CELL         6

struct domain {
	struct domain *next;
	uint64_t total;
	uint64_t ages[AGES + 1];
	char name[];
};

struct shape {
	bool senders;
	struct domain *sum;
	struct domain **buckets;
	size_t bucket_count;
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
	struct domain *domain = or_die(calloc(1, sizeof(*domain) + strlen(name) + 1));

	memcpy(domain->name, name, strlen(name) + 1);
	return domain;
}

struct shape *
shape_new(bool senders)
{
	struct shape *shape = or_die(calloc(1, sizeof(*shape)));

	shape->senders = senders;
	shape->sum = new_domain("TOTAL");
	shape->bucket_count = BUCKETS;
	shape->buckets = or_die(calloc(BUCKETS, sizeof(struct domain *)));
	return shape;
}

void
shape_free(struct shape *shape)
{
	for (size_t i = 0; i < shape->bucket_count; i++) {
		struct domain *domain, *next;

		for (domain = shape->buckets[i]; domain != NULL; domain = next) {
			next = domain->next;
			free(domain);
		}
	}
	free(shape->buckets);
	free(shape->sum);
	free(shape);
}

static size_t
hash_name(const char *name)
{
	uint32_t hash = 2166136261U;

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619U;
	return hash;
}

static void
grow(struct shape *shape)
{
	size_t count = 4 * shape->bucket_count;
	struct domain **buckets = or_die(calloc(count, sizeof(*buckets)));

	for (size_t i = 0; i < shape->bucket_count; i++) {
		struct domain *domain, *next;

		for (domain = shape->buckets[i]; domain != NULL; domain = next) {
			size_t at = hash_name(domain->name) % count;

			next = domain->next;
			domain->next = buckets[at];
			buckets[at] = domain;
		}
	}
	free(shape->buckets);
	shape->buckets = buckets;
	shape->bucket_count = count;
}

static struct domain *
find_domain(struct shape *shape, const char *name)
{
	struct domain **bucket = &shape->buckets[hash_name(name) % shape->bucket_count];
	struct domain *domain;

	for (domain = *bucket; domain != NULL; domain = domain->next)
		if (strcmp(domain->name, name) == 0)
			return domain;
	domain = new_domain(name);
	domain->next = *bucket;
	*bucket = domain;
	if (++shape->count > shape->bucket_count)
		grow(shape);
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
	add(find_domain(shape,
	        *name != '\0'                  ? name
	            : address_is_null(address) ? "<>"
	                                       : "-"),
	    minutes);
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
	for (size_t i = 0; i < shape->bucket_count; i++)
		for (struct domain *domain = shape->buckets[i]; domain != NULL;
		     domain = domain->next)
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
