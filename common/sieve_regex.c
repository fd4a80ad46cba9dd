/*
 * Regular expressions (POSIX extended, draft-murchison-sieve-regex) by the C library's own regcomp(),
 * which copies what is repeated as often as it may be and has no bounds of its own: so an
 * expression's size with all its copies is counted first.
 */
#include <regex.h>
#include <string.h>

#include "common/sieve_run.h"

#define COPIES_MAX 4096 /* atoms with all repetitions written out */
#define GROUPS_MAX 32   /* in each other */

/* Behind the bracket expression that begins at `at`. */
static const char *
bracket_end(const char *at)
{
	at++;
	if (*at == '^')
		at++;
	if (*at == ']')
		at++;
	while (*at != '\0' && *at != ']') {
		if (*at == '[' && at[1] != '\0' && strchr(":.=", at[1]) != NULL) {
			const char stop[] = { at[1], ']', '\0' };
			const char *end = strstr(at + 2, stop);

			at = end == NULL ? at + 1 : end + 2;
		} else {
			at++;
		}
	}
	return *at == ']' ? at + 1 : at;
}

/* How many copies "{n,m}" makes, which begins at `*at`, at most; moves behind it. */
static size_t
read_bound(const char **at)
{
	size_t largest = 0, number = 0;

	for ((*at)++; **at != '}' && **at != '\0'; (*at)++) {
		number = **at >= '0' && **at <= '9' ? number * 10 + (size_t)(**at - '0') : 0;
		if (number > COPIES_MAX)
			number = COPIES_MAX + 1;
		if (number > largest)
			largest = number;
	}
	if (**at == '}')
		(*at)++;
	return largest + 1; /* "{n,}" has one for what may follow */
}

/* Words, or NULL when it is small enough. */
static const char *
check_size(const char *at)
{
	size_t sizes[GROUPS_MAX] = { 0 }, depth = 0, last = 0;

	while (*at != '\0') {
		switch (*at) {
		case '(':
			if (++depth == GROUPS_MAX)
				return "regular expression nested too deeply";
			sizes[depth] = last = 0;
			at++;
			break;
		case ')':
			at++;
			if (depth == 0)
				break;
			last = sizes[depth--] + 1;
			sizes[depth] += last;
			break;
		case '+': /* "a+" is made "aa*" */
		case '{': {
			size_t bound = 2;

			if (*at == '+')
				at++;
			else
				bound = read_bound(&at);

			sizes[depth] += last * (bound - 1);
			last *= bound;
			break;
		}
		case '[':
			at = bracket_end(at);
			sizes[depth] += last = 1;
			break;
		case '\\':
			/* What matched before is looked for again: no bound on time then. */
			if (at[1] >= '1' && at[1] <= '9')
				return "regular expression with a back-reference";
			at += at[1] != '\0' ? 2 : 1;
			sizes[depth] += last = 1;
			break;
		default:
			at++;
			sizes[depth] += last = 1;
			break;
		}
		if (sizes[depth] > COPIES_MAX || last > COPIES_MAX)
			return "regular expression with too many repetitions";
	}
	return NULL;
}

const char *
sieve_check_regex(const char *text)
{
	const char *wrong;
	regex_t regex;

	if (strlen(text) > SIEVE_REGEX_MAX)
		return "regular expression too long";
	wrong = check_size(text);
	if (wrong != NULL)
		return wrong;
	if (regcomp(&regex, text, REG_EXTENDED | REG_NOSUB) != 0)
		return "bad regular expression";
	regfree(&regex);
	return NULL;
}

bool
sieve_match_regex(struct sieve_matcher *matcher, const char *key, const char *text, size_t length)
{
	int flags =
	    REG_EXTENDED | (matcher->node->comparator == COMPARATOR_CASEMAP ? REG_ICASE : 0);
	struct sieve_run *run = matcher->run;
	regmatch_t found[SIEVE_MATCHES_MAX];
	char value[SIEVE_REGEX_VALUE_MAX + 1];
	const char *wrong = sieve_check_regex(key);
	regex_t regex;
	bool is_match;

	if (wrong != NULL) {
		sieve_run_fail(run, matcher->node->line, "%s", wrong);
		return false;
	}
	length = sieve_cut(text, length, SIEVE_REGEX_VALUE_MAX);
	memcpy(value, text, length);
	value[length] = '\0';
	/* It may begin at every byte and go to the end from there. */
	if (!sieve_spend(run, 2000 + length * length / 16 + strlen(key) * 16))
		return false;
	if (regcomp(&regex, key, flags) != 0) {
		sieve_run_fail(run, matcher->node->line, "bad regular expression");
		return false;
	}
	is_match = regexec(&regex, value, SIEVE_MATCHES_MAX, found, 0) == 0;
	regfree(&regex);
	if (!is_match || !matcher->sets_matches)
		return is_match;
	sieve_clear_matches(run);
	for (size_t i = 0; i < SIEVE_MATCHES_MAX; i++) {
		if (found[i].rm_so >= 0)
			sieve_set_match(run, i, value + found[i].rm_so,
			    (size_t)(found[i].rm_eo - found[i].rm_so));
	}
	return true;
}
