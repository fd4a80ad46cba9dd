/*
 * Regular expressions (POSIX extended, draft-murchison-sieve-regex), by regular_find(): a search takes no
 * more than the run's steps, and an expression is compiled once for a run.
 */
#include <string.h>

#include "common/regular.h"
#include "common/sieve_run.h"

#define COMPILE_STEPS 2000 /* what it costs at least to compile one */
#define SEARCH_STEPS  4    /* what a step of a search costs, which carries all groups */

bool
sieve_check_regex(const char *text, char *why, size_t size)
{
	struct regular *regular = regular_new_find(text, true, true, why, size);

	regular_free(regular);
	return regular != NULL;
}

void
sieve_free_regexes(struct sieve_run *run)
{
	for (size_t i = 0; i < run->regex_count; i++)
		regular_free(run->regexes[i].regular);
	run->regex_count = 0;
	run->regex_steps = 0;
}

/* The expression, compiled; NULL: the run failed. */
static struct regular *
find_regex(struct sieve_matcher *matcher, const char *key)
{
	bool fold_case = matcher->node->comparator == COMPARATOR_CASEMAP;
	struct sieve_run *run = matcher->run;
	struct sieve_regex regex = {
		.key = key, .fold_case = fold_case, .notes_groups = matcher->sets_matches
	};
	char why[100];

	for (size_t i = 0; i < run->regex_count; i++) {
		if (run->regexes[i].fold_case == fold_case &&
		    run->regexes[i].notes_groups == matcher->sets_matches &&
		    strcmp(run->regexes[i].key, key) == 0)
			return run->regexes[i].regular;
	}
	if (!sieve_spend(run, COMPILE_STEPS))
		return NULL;
	regex.regular = regular_new_find(key, fold_case, matcher->sets_matches, why, sizeof(why));
	if (regex.regular == NULL) {
		sieve_run_fail(
		    run, matcher->node->line, "regular expression \"%.100s\": %s", key, why);
		return NULL;
	}
	run->regex_steps += regular_steps(regex.regular);
	if (run->regex_count == SIEVE_REGEXES_MAX || run->regex_steps > SIEVE_REGEXES_STEPS) {
		sieve_free_regexes(run);
		run->regex_steps = regular_steps(regex.regular);
	}
	run->regexes[run->regex_count++] = regex;
	return sieve_spend(run, regular_steps(regex.regular) * 4) ? regex.regular : NULL;
}

bool
sieve_match_regex(struct sieve_matcher *matcher, const char *key, const char *text, size_t length)
{
	struct regular_group groups[REGULAR_GROUPS_MAX];
	struct sieve_run *run = matcher->run;
	struct regular *regular = find_regex(matcher, key);
	enum regular_result result;
	uint64_t steps, before;

	if (regular == NULL)
		return false;
	steps = before = run->steps_left / SEARCH_STEPS;
	length = sieve_cut(text, length, SIEVE_REGEX_VALUE_MAX);
	result = regular_find(regular, text, length, groups, &steps);
	if (!sieve_spend(
	        run, result == REGULAR_TOO_MUCH ? UINT64_MAX : (before - steps) * SEARCH_STEPS) ||
	    result != REGULAR_FOUND)
		return false;
	if (!matcher->sets_matches)
		return true;
	sieve_clear_matches(run);
	for (size_t i = 0; i < SIEVE_MATCHES_MAX; i++) {
		if (groups[i].from != SIZE_MAX)
			sieve_set_match(
			    run, i, text + groups[i].from, groups[i].to - groups[i].from);
	}
	return true;
}
