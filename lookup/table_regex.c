/*
 * A list of compiled expressions.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/regular.h"
#include "lookup/table_regex.h"

struct table_regex {
	struct regular **all;
	size_t count;
	size_t steps;
};

struct table_regex *
table_regex_new(void)
{
	return calloc(1, sizeof(struct table_regex));
}

void
table_regex_free(struct table_regex *regex)
{
	if (regex == NULL)
		return;
	for (size_t i = 0; i < regex->count; i++)
		regular_free(regex->all[i]);
	free(regex->all);
	free(regex);
}

bool
table_regex_add(struct table_regex *regex, const char *expression, char *why, size_t size)
{
	struct regular **larger, *one;

	if (regex->count == REGULAR_TABLE_MAX) {
		snprintf(why, size, "more than %d regular expressions", REGULAR_TABLE_MAX);
		return false;
	}
	one = regular_new(expression, why, size);
	if (one == NULL)
		return false;
	regex->steps += regular_steps(one);
	larger = reallocarray(regex->all, regex->count + 1, sizeof(*larger));
	if (larger != NULL)
		regex->all = larger;
	if (larger == NULL || regex->steps > REGULAR_TABLE_STEPS_MAX) {
		snprintf(why, size, "%s",
		    larger == NULL ? "out of memory"
		                   : "all expressions together are too large for one table");
		regular_free(one);
		return false;
	}
	regex->all[regex->count++] = one;
	return true;
}

bool
table_regex_matches(const struct table_regex *regex, const char *text)
{
	for (size_t i = 0; i < regex->count; i++) {
		if (regular_matches(regex->all[i], text))
			return true;
	}
	return false;
}

size_t
table_regex_count(const struct table_regex *regex)
{
	return regex->count;
}
