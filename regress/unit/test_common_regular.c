/*
 * Regular expressions: what each form means, which are refused and why, that random ones mean what
 * they mean to the C library, and that the worst cost no more than they may.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/regular.h"

static bool
matches(const char *expression, const char *text)
{
	char why[200];
	struct regular *regular = regular_new(expression, why, sizeof(why));
	bool found;

	if (regular == NULL)
		fail_msg("%s: %s", expression, why);
	found = regular_matches(regular, text);
	/* A search leaves nothing behind. */
	assert_int_equal(regular_matches(regular, text), found);
	regular_free(regular);
	return found;
}

static void
each_form_means_what_posix_says(void **state)
{
	static const struct {
		const char *expression, *found, *not_found;
	} cases[] = {
		{ "b", "abc", "acd" },
		{ "^b", "bc", "ab" },
		{ "b$", "ab", "ba" },
		{ "^$", "", "a" },
		{ "a.c", "xabcx", "ac" },
		{ "ab*c", "ac", "adc" },
		{ "ab+c", "abbbc", "ac" },
		{ "^ab?c$", "abc", "abbc" },
		{ "^(ab)*$", "abab", "aba" },
		{ "^(a|bc|d)+$", "abcd", "abd_" },
		{ "a|b", "xb", "xc" },
		{ "^a{2}$", "aa", "aaa" },
		{ "^a{2,}$", "aaaa", "a" },
		{ "^a{2,3}$", "aaa", "aaaa" },
		{ "^a{0,2}$", "", "aaa" },
		{ "^(ab{1,2}){2}$", "ababb", "ab" },
		{ "^a**$", "aaa", "b" },
		{ "^[a-c]+$", "abc", "abd" },
		{ "^[^a-c]+$", "xyz", "xaz" },
		{ "^[]x]$", "]", "a" },
		{ "^[^]x]$", "a", "]" },
		{ "^[a-]$", "-", "b" },
		{ "^[[:digit:].]+$", "1.2.3", "1.a" },
		{ "^[[:upper:]]$", "q", "1" },
		{ "a\\.b", "a.b", "axb" },
		{ "^\\\\\\{\\}$", "\\{}", "{}" },
		{ "EXAMPLE", "x.example.org", "x.exampl.org" },
		{ "^[A-F]$", "e", "g" },
		{ "^[^a]$", "B", "A" },
		{ "^([^@]+@)?(.*\\.)?example\\.(org|net)$", "x@a.EXAMPLE.net", "x@example.com" },
		{ "^(192|198)\\.[0-9]{1,3}\\.", "198.51.100.1", "19.2.0.1" },
		{ "^((a?)*b?)*$", "aabab", "ac" },
		{ "\xc3\xbc",
		    "b\xc3\xbc"
		    "cher",
		    "bucher" },
		{ "(^a|b$)", "zb", "ba" },
		{ "a^b|x$y|z", "z", "a^bx$y" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!matches(cases[i].expression, cases[i].found))
			fail_msg("%s is not in %s", cases[i].expression, cases[i].found);
		if (matches(cases[i].expression, cases[i].not_found))
			fail_msg("%s is in %s", cases[i].expression, cases[i].not_found);
	}
}

static void
what_is_none_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *expression, *why;
	} cases[] = {
		{ "", "empty" },
		{ "(a", "( is not closed" },
		{ "a)", ") has no (" },
		{ ")", ") has no (" },
		{ "()", "nothing" },
		{ "a|", "nothing" },
		{ "|a", "nothing" },
		{ "a||b", "nothing" },
		{ "*a", "nothing before a *" },
		{ "(+a)", "nothing before a +" },
		{ "{2}", "nothing before a {" },
		{ "[a", "[ is not closed" },
		{ "[]", "[ is not closed" },
		{ "[b-a]", "backwards" },
		{ "[[:word:]]", "class" },
		{ "[[:alpha]]", "class" },
		{ "[[.a.]]", "not supported" },
		{ "a{", "{ wants" },
		{ "a{x}", "{ wants" },
		{ "a{,3}", "{ wants" },
		{ "a{1", "not closed" },
		{ "a{1,2", "not closed" },
		{ "a{2,1}", "repetition" },
		{ "a{0}", "repetition" },
		{ "a{256}", "more than 255" },
		{ "a{4294967297}", "more than 255" },
		{ "a\\", "backslash ends" },
		{ "\\d+", "\\d has no meaning" },
		{ "(a)\\1", "\\1 has no meaning" },
		{ "((a{255}){255}){255}", "too large" },
		{ "(a{200}){0,200}", "too large" },
		{ "((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))",
		    "more than 32" },
	};
	char why[200], *longest;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(regular_new(cases[i].expression, why, sizeof(why)));
		if (strstr(why, cases[i].why) == NULL)
			fail_msg("%s: %s", cases[i].expression, why);
	}
	longest = calloc(1, REGULAR_LENGTH_MAX + 2);
	assert_non_null(longest);
	memset(longest, 'a', REGULAR_LENGTH_MAX + 1);
	assert_null(regular_new(longest, why, sizeof(why)));
	longest[REGULAR_LENGTH_MAX] = '\0';
	assert_true(matches(longest, longest));
	free(longest);
}

/* An expression over few letters, of all forms that the two agree on. */
static size_t
make_random(char *to, size_t room, unsigned depth)
{
	static const char *const atoms[] = { "a", "b", "c", ".", "[ab]", "[^b]", "ab", "B",
		"[[:alpha:]]" };
	static const char *const ends[] = { "", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}",
		"{1,3}" };
	size_t length = 0;
	int pieces = 1 + rand() % 3;

	for (int i = 0; i < pieces; i++) {
		const char *atom = atoms[rand() % 9];
		bool group = depth > 0 && rand() % 3 == 0;

		if (length + 60 > room)
			break;
		if (i > 0 && rand() % 5 == 0)
			to[length++] = '|';
		if (group) {
			to[length++] = '(';
			length += make_random(to + length, room - length - 20, depth - 1);
			to[length++] = ')';
		} else
			length += (size_t)sprintf(to + length, "%s", atom);
		length += (size_t)sprintf(to + length, "%s", ends[rand() % 10]);
	}
	to[length] = '\0';
	return length;
}

static void
random_ones_mean_what_they_mean_to_the_c_library(void **state)
{
	unsigned seed = (unsigned)time(NULL), compared = 0;

	(void)state;
	srand(seed);
	for (int i = 0; i < 20000; i++) {
		char expression[400], text[12], why[200];
		struct regular *regular;
		regex_t theirs;

		/* Anchors at the ends alone: glibc finds "(x|^)(^a?){2}" where it isn't. */
		size_t length = (size_t)snprintf(expression, 3, "%s", i % 3 == 0 ? "^" : "");

		length += make_random(expression + length, sizeof(expression) - 10, 2);
		if (i % 4 == 0)
			strcpy(expression + length, "$");
		if (regcomp(&theirs, expression, REG_EXTENDED | REG_NOSUB | REG_ICASE) != 0)
			continue;
		regular = regular_new(expression, why, sizeof(why));
		if (regular == NULL)
			fail_msg("seed %u: %s: %s", seed, expression, why);
		for (int j = 0; j < 10; j++) {
			size_t bytes = (size_t)rand() % sizeof(text);

			for (size_t at = 0; at < bytes; at++)
				text[at] = "abcB"[rand() % 4];
			text[bytes] = '\0';
			if (regular_matches(regular, text) !=
			    (regexec(&theirs, text, 0, NULL, 0) == 0))
				fail_msg("seed %u: \"%s\" in \"%s\"", seed, expression, text);
			compared++;
		}
		regular_free(regular);
		regfree(&theirs);
	}
	assert_true(compared > 10000);
}

/* What is found, and what by each group, as "0-4 1-2 -". */
static const char *
find(const char *expression, bool fold_case, const char *text)
{
	static char places[200];
	struct regular_group groups[REGULAR_GROUPS_MAX];
	uint64_t steps = 100000;
	char why[200] = "";
	struct regular *regular = regular_new_find(expression, fold_case, true, why, sizeof(why));
	enum regular_result result;

	places[0] = '\0';
	if (regular == NULL)
		return strcpy(places, why);
	result = regular_find(regular, text, strlen(text), groups, &steps);
	assert_true(steps < 100000);
	regular_free(regular);
	if (result != REGULAR_FOUND)
		return result == REGULAR_NONE ? "none" : "too much";
	for (size_t i = 0, last = 0; i < REGULAR_GROUPS_MAX; i++) {
		if (groups[i].from == SIZE_MAX)
			continue;
		for (; last < i; last++)
			strcat(places, last == 0 ? "" : "- ");
		last = i + 1;
		sprintf(places + strlen(places), "%zu-%zu ", groups[i].from, groups[i].to);
	}
	return places;
}

static void
groups_say_what_they_found(void **state)
{
	static const struct {
		const char *expression, *text, *places;
	} cases[] = {
		{ "b+", "abbbab", "1-4 " },
		{ "(re|fwd?): *(.*)", "Fwd: hello", "0-10 0-3 5-10 " },
		{ "^\\[([^]]*)\\] (.*)$", "[list] a [b]", "0-12 1-5 7-12 " },
		{ "a|ab|abc", "xabcd", "1-4 " },   /* the longest */
		{ "abcd|bc|c", "abcx", "1-3 " },   /* the first */
		{ ".*(a+)", "xaaa", "0-4 3-4 " },  /* what is before takes what it can */
		{ "(a)|(b)", "b", "0-1 - 0-1 " },  /* no part in it */
		{ "(a|b)*", "abab", "0-4 3-4 " },  /* the last one */
		{ "(a*)*", "b", "0-0 0-0 " },      /* nothing, and no end of it */
		{ "(a*)+b", "aab", "0-3 0-2 " },   /* not once more for nothing */
		{ "x(|y)z", "xz", "0-2 1-1 " },    /* an empty alternative */
		{ "()", "a", "0-0 0-0 " },         /* another one */
		{ "(a){0}b", "ab", "1-2 " },       /* none of it */
		{ "a{,2}$", "aaa", "1-3 " },       /* from none on */
		{ "\\bfoo\\b", "a foo.", "2-5 " }, /* at words' ends */
		{ "\\bfoo\\b", "afoo foob", "none" },
		{ "\\<(\\w+)\\W+(\\w+)\\>", "-ab, c_d-", "1-8 1-3 5-8 " },
		{ "\\S\\s\\S", "a b", "0-3 " },
		{ "o\\B", "foo", "1-2 " },
		{ "\\`a\\'", "a", "0-1 " },
		{ "\\d", "5d", "1-2 " }, /* a letter with nothing of its own */
		{ "(1)(2)(3)(4)(5)(6)(7)(8)(9)(0)", "1234567890",
		    "0-10 0-1 1-2 2-3 3-4 4-5 5-6 6-7 7-8 8-9 " },
		{ "(a)\\1", "aa", "back-references such as \\1 are not supported" },
		{ "(", "", "a ( is not closed" },
		{ "*", "", "there is nothing before a *" },
		{ "", "abc", "0-0 " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *places = find(cases[i].expression, true, cases[i].text);

		if (strcmp(places, cases[i].places) != 0)
			fail_msg("%s in \"%s\": %s", cases[i].expression, cases[i].text, places);
	}
	assert_string_equal(find("A[[:upper:]]", false, "aB AC"), "3-5 ");
	assert_string_equal(find("A[[:upper:]]", true, "aB AC"), "0-2 ");
	assert_string_equal(find("[^A]", true, "aAb"), "2-3 ");
}

static void
what_is_found_is_what_the_c_library_finds(void **state)
{
	unsigned seed = (unsigned)time(NULL), compared = 0;

	(void)state;
	srand(seed);
	for (int i = 0; i < 10000; i++) {
		char expression[400], text[12], why[200];
		struct regular_group groups[REGULAR_GROUPS_MAX];
		bool fold_case = i % 2 == 0;
		struct regular *regular;
		regmatch_t whole;
		regex_t theirs;

		make_random(expression, sizeof(expression) - 10, 2);
		if (regcomp(&theirs, expression, REG_EXTENDED | (fold_case ? REG_ICASE : 0)) != 0)
			continue;
		regular = regular_new_find(expression, fold_case, i % 3 != 0, why, sizeof(why));
		if (regular == NULL)
			fail_msg("seed %u: %s: %s", seed, expression, why);
		for (int j = 0; j < 10; j++) {
			size_t bytes = (size_t)rand() % sizeof(text);
			uint64_t steps = 1000000;
			bool found;

			for (size_t at = 0; at < bytes; at++)
				text[at] = "abcB"[rand() % 4];
			text[bytes] = '\0';
			found = regular_find(regular, text, bytes, groups, &steps) == REGULAR_FOUND;
			if (found != (regexec(&theirs, text, 1, &whole, 0) == 0) ||
			    (found &&
			        ((size_t)whole.rm_so != groups[0].from ||
			            (size_t)whole.rm_eo != groups[0].to)))
				fail_msg("seed %u: \"%s\" in \"%s\"", seed, expression, text);
			compared++;
		}
		regular_free(regular);
		regfree(&theirs);
	}
	assert_true(compared > 10000);
}

static void
a_search_ends_when_its_steps_are_used_up(void **state)
{
	struct regular_group groups[REGULAR_GROUPS_MAX];
	char text[4001], why[200];
	struct regular *regular = regular_new_find("((a?){9}){99}b", true, true, why, sizeof(why));
	struct timespec begin, end;
	uint64_t steps = 1000000;

	(void)state;
	assert_non_null(regular);
	assert_true(regular_steps(regular) <= REGULAR_FIND_STEPS_MAX);
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	assert_int_equal(
	    regular_find(regular, text, strlen(text), groups, &steps), REGULAR_TOO_MUCH);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(end.tv_sec - begin.tv_sec < 2);
	steps = 1000000;
	assert_int_equal(regular_find(regular, "b", 1, groups, &steps), REGULAR_FOUND);
	regular_free(regular);
}

static void
no_expression_takes_long(void **state)
{
	static const char *const worst[] = { "(a|b)*a(a|b){200}x", "((a*)*)*x",
		"(.*a.{255}|.*b.{255})x", "(a?){255}a{255}x", "((a|b)*a(a|b){50}){4}x" };
	struct timespec begin, end;
	char text[2001], why[200];

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = "ab"[rand() % 2];
	text[sizeof(text) - 1] = '\0';
	for (size_t i = 0; i < sizeof(worst) / sizeof(worst[0]); i++) {
		struct regular *regular = regular_new(worst[i], why, sizeof(why));

		assert_non_null(regular);
		assert_true(regular_steps(regular) <= REGULAR_STEPS_MAX);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
		assert_false(regular_matches(regular, text));
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
		assert_true(end.tv_sec - begin.tv_sec < 2);
		regular_free(regular);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form_means_what_posix_says),
		cmocka_unit_test(what_is_none_is_refused_with_the_reason),
		cmocka_unit_test(random_ones_mean_what_they_mean_to_the_c_library),
		cmocka_unit_test(groups_say_what_they_found),
		cmocka_unit_test(what_is_found_is_what_the_c_library_finds),
		cmocka_unit_test(a_search_ends_when_its_steps_are_used_up),
		cmocka_unit_test(no_expression_takes_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
