/*
 * Match types and comparators (RFC 5228 2.7, RFC 5231). Text without regard to case is compared in
 * a folded copy, made once for each value. Every search is linear but for wildcards, whose steps are
 * counted one by one.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/sieve_run.h"

enum sieve_relation
sieve_find_relation(const char *name)
{
	static const char *const names[RELATION_COUNT] = {
		[RELATION_GT] = "gt",
		[RELATION_GE] = "ge",
		[RELATION_LT] = "lt",
		[RELATION_LE] = "le",
		[RELATION_EQ] = "eq",
		[RELATION_NE] = "ne",
	};
	unsigned i;

	for (i = 0; i < RELATION_COUNT && strcasecmp(names[i], name) != 0; i++)
		;
	return (enum sieve_relation)i;
}

void
sieve_clear_matches(struct sieve_run *run)
{
	memset(run->matches, 0, sizeof(run->matches));
}

void
sieve_set_match(struct sieve_run *run, size_t number, const char *text, size_t length)
{
	if (number < SIEVE_MATCHES_MAX)
		run->matches[number] =
		    sieve_run_copy(run, text, sieve_cut(text, length, SIEVE_STRING_MAX));
}

static void
fold(char *to, const char *from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		to[i] = (char)tolower((unsigned char)from[i]);
}

bool
sieve_match_begin(struct sieve_matcher *matcher, struct sieve_run *run,
    const struct sieve_node *node, const struct sieve_argument *keys)
{
	enum sieve_tag kind = (enum sieve_tag)node->tags[SLOT_MATCH];
	char *folded;

	*matcher = (struct sieve_matcher){
		.run = run,
		.node = node,
		.kind = kind == TAG_NONE ? TAG_IS : kind,
		/* RFC 5173 6: what matched in a body isn't kept. */
		.sets_matches =
		    (run->sieve->extensions & NEEDS(VARIABLES)) != 0 && node->verb != VERB_BODY,
		.keys = sieve_expand_all(run, keys),
		.key_count = keys->count,
	};
	if (matcher->keys == NULL)
		return false;
	if (kind == TAG_COUNT_OF || kind == TAG_VALUE)
		matcher->relation = sieve_find_relation(node->values[SLOT_MATCH]->strings->text);
	if (matcher->kind != TAG_CONTAINS || node->comparator != COMPARATOR_CASEMAP)
		return true;
	for (size_t i = 0; i < matcher->key_count; i++) {
		folded = sieve_run_copy(run, matcher->keys[i], strlen(matcher->keys[i]));
		if (folded == NULL)
			return false;
		fold(folded, folded, strlen(folded));
		matcher->keys[i] = folded;
	}
	return true;
}

/* --- order --- */

/* A number of any size: its digits without leading zeroes. False: no digits, and so the largest of all
 * (RFC 4790 9.1). */
static bool
read_number(const char **text, size_t *length)
{
	size_t digits = 0;

	while (digits < *length && isdigit((unsigned char)(*text)[digits]))
		digits++;
	*length = digits;
	if (digits == 0)
		return false;
	while (*length > 1 && **text == '0') {
		(*text)++;
		(*length)--;
	}
	return true;
}

static int
compare_numbers(const char *a, size_t a_length, const char *b, size_t b_length)
{
	bool has_a = read_number(&a, &a_length), has_b = read_number(&b, &b_length);
	int order;

	if (!has_a || !has_b)
		return (int)has_b - (int)has_a;
	if (a_length != b_length)
		return a_length < b_length ? -1 : 1;
	order = memcmp(a, b, a_length);
	return order < 0 ? -1 : order > 0;
}

/* i;ascii-casemap orders by upper case (RFC 4790 9.2). */
static int
compare_texts(const char *a, size_t a_length, const char *b, size_t b_length, bool fold_case)
{
	size_t common = a_length < b_length ? a_length : b_length;

	for (size_t i = 0; i < common; i++) {
		int left = (unsigned char)a[i], right = (unsigned char)b[i];

		if (fold_case) {
			left = toupper(left);
			right = toupper(right);
		}
		if (left != right)
			return left < right ? -1 : 1;
	}
	return a_length < b_length ? -1 : a_length > b_length;
}

static int
compare(const struct sieve_matcher *matcher, const char *text, size_t length, const char *key)
{
	if (matcher->node->comparator == COMPARATOR_NUMERIC)
		return compare_numbers(text, length, key, strlen(key));
	return compare_texts(
	    text, length, key, strlen(key), matcher->node->comparator == COMPARATOR_CASEMAP);
}

static bool
holds(enum sieve_relation relation, int order)
{
	switch (relation) {
	case RELATION_GT:
		return order > 0;
	case RELATION_GE:
		return order >= 0;
	case RELATION_LT:
		return order < 0;
	case RELATION_LE:
		return order <= 0;
	case RELATION_EQ:
		return order == 0;
	case RELATION_NE:
		return order != 0;
	case RELATION_COUNT:
		break;
	}
	return false;
}

/* --- wildcards --- */

struct wild {
	const char *text;
	size_t length;
	const char *pattern;
	bool fold_case;
	/* What each wildcard stands for. */
	size_t from[SIEVE_MATCHES_MAX];
	size_t to[SIEVE_MATCHES_MAX];
	size_t count; /* of wildcards so far, those without a number too */
};

static void
note(struct wild *wild, size_t from, size_t to)
{
	if (++wild->count < SIEVE_MATCHES_MAX) {
		wild->from[wild->count] = from;
		wild->to[wild->count] = to;
	}
}

static bool
is_same(const struct wild *wild, char a, char b)
{
	return wild->fold_case ? tolower((unsigned char)a) == tolower((unsigned char)b) : a == b;
}

/* One element of the pattern other than "*" against the text at `*at`; moves both. */
static bool
take_element(struct wild *wild, const char **pattern, size_t *at)
{
	const char *p = *pattern;
	size_t from = *at;

	if (from == wild->length)
		return false;
	if (*p == '?') { /* one byte with each of our comparators (RFC 5228 2.7.1) */
		(*at)++;
		note(wild, from, *at);
		*pattern = p + 1;
		return true;
	}
	if (*p == '\\' && p[1] != '\0')
		p++;
	if (!is_same(wild, *p, wild->text[from]))
		return false;
	(*at)++;
	*pattern = p + 1;
	return true;
}

/*
 * "*" takes as little as it can (RFC 5229 3.2). When what is behind one doesn't match, only the last
 * one needs to take more: those before it have found what is between them, and sooner can't harm.
 */
static bool
match_wild(struct sieve_run *run, struct wild *wild)
{
	const char *pattern = wild->pattern, *star = NULL;
	size_t at = 0, star_from = 0, star_to = 0, star_count = 0;

	for (;;) {
		if (!sieve_spend(run, 1))
			return false;
		if (*pattern == '*') {
			star = ++pattern;
			star_from = star_to = at;
			star_count = wild->count;
			note(wild, at, at);
			/* At the end it takes all. */
			if (*pattern == '\0') {
				wild->count = star_count;
				note(wild, at, wild->length);
				return true;
			}
			continue;
		}
		if (*pattern == '\0' ? at == wild->length : take_element(wild, &pattern, &at)) {
			if (*pattern == '\0' && at == wild->length)
				return true;
			continue;
		}
		if (star == NULL || star_to == wild->length)
			return false;
		at = ++star_to;
		pattern = star;
		wild->count = star_count;
		note(wild, star_from, star_to);
	}
}

static bool
matches(struct sieve_matcher *matcher, const char *text, size_t length, const char *key)
{
	struct sieve_run *run = matcher->run;
	struct wild wild = { .text = text, .length = length, .pattern = key };

	wild.fold_case = matcher->node->comparator == COMPARATOR_CASEMAP;
	if (!match_wild(run, &wild))
		return false;
	if (!matcher->sets_matches)
		return true;
	sieve_clear_matches(run);
	sieve_set_match(run, 0, text, length);
	for (size_t i = 1; i < SIEVE_MATCHES_MAX && i <= wild.count; i++)
		sieve_set_match(run, i, text + wild.from[i], wild.to[i] - wild.from[i]);
	return true;
}

/* --- values --- */

static bool
matches_key(struct sieve_matcher *matcher, const char *text, size_t length, const char *key)
{
	size_t key_length = strlen(key);

	if (matcher->kind == TAG_IS)
		return compare(matcher, text, length, key) == 0;
	if (matcher->kind == TAG_VALUE)
		return holds(matcher->relation, compare(matcher, text, length, key));
	if (matcher->kind == TAG_CONTAINS)
		return key_length == 0 || memmem(text, length, key, key_length) != NULL;
	if (matcher->kind == TAG_MATCHES)
		return matches(matcher, text, length, key);
	return sieve_match_regex(matcher, key, text, length);
}

bool
sieve_match_value(struct sieve_matcher *matcher, const char *text, size_t length)
{
	struct sieve_run *run = matcher->run;

	if (matcher->kind == TAG_COUNT_OF) {
		matcher->count++;
		return sieve_spend(run, 1);
	}
	if (!sieve_spend(run, (length / 8 + 2) * (matcher->key_count + 1)))
		return false;
	if (length == 0)
		text = "";
	if (matcher->kind == TAG_CONTAINS && matcher->node->comparator == COMPARATOR_CASEMAP) {
		buf_clear(&run->folded);
		if (length > 0 && !buf_reserve(&run->folded, length)) {
			sieve_run_fail(run, matcher->node->line, "no memory");
			return false;
		}
		if (length > 0) {
			fold((char *)run->folded.data, text, length);
			text = (const char *)run->folded.data;
		}
	}
	for (size_t i = 0; i < matcher->key_count && !matcher->is_match && !run->has_failed; i++)
		matcher->is_match = matches_key(matcher, text, length, matcher->keys[i]);
	return !matcher->is_match && !run->has_failed;
}

bool
sieve_match_text(struct sieve_matcher *matcher, const char *text)
{
	return sieve_match_value(matcher, text, strlen(text));
}

bool
sieve_match_end(struct sieve_matcher *matcher)
{
	char number[24];

	if (matcher->run->has_failed)
		return false;
	if (matcher->kind != TAG_COUNT_OF)
		return matcher->is_match;
	snprintf(number, sizeof(number), "%zu", matcher->count);
	for (size_t i = 0; i < matcher->key_count; i++) {
		if (holds(matcher->relation,
		        compare(matcher, number, strlen(number), matcher->keys[i])))
			return true;
	}
	return false;
}
