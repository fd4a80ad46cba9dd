/*
 * Tests of dates: of now, and of header fields (RFC 5260 4).
 */
#include <string.h>

#include "common/mime_date.h"
#include "common/sieve_run.h"

#define DATE_TEXT 64

/* The field's date: what is behind the last ";", for Received (RFC 5260 4). */
static bool
read_date(const char *field, struct mime_date *date)
{
	const char *semicolon = strrchr(field, ';');

	return mime_date_parse(semicolon == NULL ? field : semicolon + 1, date);
}

/* The zone that the test is for, where it names one. False: the run failed. */
static bool
get_zone(struct sieve_run *run, const struct sieve_node *node, bool *given, int *minutes)
{
	char *text;

	*given = node->tags[SLOT_ZONE] == TAG_ZONE;
	if (!*given)
		return true;
	text = sieve_expand_first(run, node->values[SLOT_ZONE]);
	if (text != NULL && sieve_read_zone(text, minutes))
		return true;
	sieve_run_fail(run, node->line, "bad zone");
	return false;
}

static bool
match_date(struct sieve_matcher *matcher, int64_t when, int minutes, const char *part)
{
	char text[DATE_TEXT];

	sieve_date_part(when, minutes, part, text, sizeof(text));
	return sieve_match_text(matcher, text);
}

/* The dates of one field's name; a field that has none doesn't match. */
static void
match_fields(
    struct sieve_matcher *matcher, const char *name, const char *part, bool given, int minutes)
{
	const struct sieve_node *node = matcher->node;
	struct sieve_run *run = matcher->run;
	struct mime_date date;
	size_t at, last;

	if (!sieve_index_fields(run, node, name, &at, &last))
		return;
	/* RFC 5260 4: of several fields the first one. */
	if (node->tags[SLOT_INDEX] == TAG_NONE)
		last = at;
	for (; at <= last; at = sieve_find_field(&run->view, name, at + 1)) {
		char *text = sieve_field_text(&run->view, at);

		if (text == NULL) {
			sieve_run_fail(run, node->line, "too much memory needed");
			return;
		}
		if (!sieve_spend(run, strlen(text) / 8 + 1))
			return;
		if (!read_date(text, &date))
			continue;
		if (node->tags[SLOT_ZONE] == TAG_ORIGINALZONE)
			minutes = date.zone;
		else if (!given)
			minutes = sieve_local_zone(date.when);
		if (!match_date(matcher, date.when, minutes, part))
			return;
	}
}

bool
sieve_test_date(struct sieve_run *run, const struct sieve_node *node)
{
	size_t place = node->verb == VERB_DATE ? 1 : 0;
	char *part = sieve_expand_first(run, node->positions[place]), *name;
	struct sieve_matcher matcher;
	bool given;
	int minutes = 0;

	if (part == NULL || !get_zone(run, node, &given, &minutes) ||
	    !sieve_match_begin(&matcher, run, node, node->positions[place + 1]))
		return false;
	if (node->verb == VERB_CURRENTDATE) {
		if (!given)
			minutes = sieve_local_zone(run->message->now);
		(void)match_date(&matcher, run->message->now, minutes, part);
		return sieve_match_end(&matcher);
	}
	name = sieve_expand_first(run, node->positions[0]);
	if (name == NULL)
		return false;
	match_fields(&matcher, name, part, given, minutes);
	return sieve_match_end(&matcher);
}
