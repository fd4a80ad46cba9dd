/*
 * Rules that nothing can reach are warned of, and no others.
 */
#include <stdlib.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

/* Both rules behind some listeners and tables; the second one, which is the last line. */
static bool
is_warned_of(const char *first, const char *second)
{
	static const char before[] = "listen on 127.0.0.1 port 25 tag mx\n"
	                             "listen on 127.0.0.1 port 26 tag \"in-side\"\n"
	                             "table two { a.org, b.org }\n"
	                             "table f file:/etc/passwd\n"
	                             "table g file:/etc/group\n"
	                             "table same file:/etc/passwd\n";
	char text[2048];
	struct reports reports;
	struct config *config;

	snprintf(text, sizeof(text), "%smatch %s reject\nmatch %s reject\n", before, first, second);
	config = parse(text, &reports);
	if (config == NULL)
		fail_msg("refused:\n%s\n%s", text, reports.text);
	config_free(config);
	return strstr(reports.text, "never reached") != NULL;
}

static void
a_rule_that_an_earlier_one_covers_is_warned_of(void **state)
{
	static const struct {
		const char *first, *second;
	} cases[] = {
		{ "from any for any", "" },
		{ "from any for any", "from src 192.0.2.1 for domain a.org tls" },
		{ "", "tls" },
		{ "from any for domain a.org", "from any for domain A.ORG" },
		{ "from any for domain <two>", "from any for domain b.org" },
		{ "from any for domain { b.org, c.org, a.org }", "from any for domain <two>" },
		{ "from any for domain \"*.org\"", "from any for domain <two>" },
		{ "from any for domain \"*.a.org\"", "from any for domain \"*.b.a.org\"" },
		{ "from any for domain a.org", "from any for rcpt-to x@a.org" },
		{ "from any for rcpt-to @a.org", "from any for rcpt-to x@a.org" },
		{ "from any for rcpt-to x@a.org", "from any for domain a.org rcpt-to x@a.org" },
		{ "from any for any rcpt-to @a.org", "from any for rcpt-to x@a.org" },
		{ "from src 192.0.2.0/24 for any",
		    "from src { 192.0.2.7, 192.0.2.128/25 } for any" },
		{ "from src 2001:db8::/32 for any", "from src 2001:db8:1::/48 for any" },
		{ "!from src 192.0.2.7 for any", "!from src 192.0.2.0/24 for any" },
		{ "from local for any", "from socket for any" },
		{ "!from socket for any", "!from local for any" },
		{ "from auth for any", "from auth ann for any" },
		{ "from auth for any", "from any auth { ann } for any" },
		{ "auth from any for any", "from auth for any" },
		{ "!auth ann from any for any", "!auth from any for any" },
		{ "!from auth ann for any", "!from auth for any" },
		{ "from rdns for any", "from rdns a.org for any" },
		{ "from rdns for any", "!from rdns a.org for any" },
		{ "!from rdns a.org for any", "!from rdns { a.org, b.org } for any" },
		{ "from rdns regex \"^dyn\" for any", "from rdns regex \"^dyn\" for any tls" },
		{ "from any for domain <f>", "from any for domain <f> tag mx" },
		{ "from any for domain <f>", "from any for domain <same>" },
		{ "from any for domain <accounts>", "from socket for domain <accounts>" },
		{ "tls from any for any", "tls from any for any helo x.org" },
		{ "!tls from any for any", "!tls from local for any" },
		{ "tag mx from any for any", "tag MX from any for any" },
		{ "tag { mx, \"in-side\" } from any for any", "tag mx from any for any" },
		{ "mail-from @a.org from any for any", "from mail-from x@a.org for any" },
		{ "helo \"*.a.org\" from any for any", "helo x.a.org from any for any" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!is_warned_of(cases[i].first, cases[i].second))
			fail_msg("no warning: %s; %s", cases[i].first, cases[i].second);
	}
}

static void
a_rule_that_something_is_left_for_is_not_warned_of(void **state)
{
	static const struct {
		const char *first, *second;
	} cases[] = {
		{ "for any", "from any for any" },
		{ "from any", "from any for any" },
		{ "from any for any tls", "from any for any" },
		{ "from any for any tls", "from any for any !tls" },
		{ "from any for any auth", "from any for any !auth" },
		{ "from any for any auth", "from any for any tls" },
		{ "from any for domain b.org", "from any for domain <two>" },
		{ "from any for domain \"*.a.org\"", "from any for domain a.org" },
		{ "from any for domain \"*.a.org\"", "from any for domain \"*.org\"" },
		{ "from any for domain \"x*.a.org\"", "from any for domain \"xy.a.org\"" },
		{ "from any for domain a.org", "from any for rcpt-to x" },
		{ "from any for domain a.org", "from any for rcpt-to { x@a.org, x@b.org }" },
		{ "from any for domain a.org", "from any !for rcpt-to x@a.org" },
		{ "from any for domain regex a", "from any for domain a.org" },
		{ "from any for domain a.org", "from any for domain regex \"^a.org$\"" },
		{ "from any for domain regex a", "from any for domain regex ab" },
		{ "from any for rcpt-to x@a.org", "from any for rcpt-to @a.org" },
		{ "from any for rcpt-to x@a.org", "from any for rcpt-to x" },
		{ "!from src 192.0.2.0/24 for any", "!from src 192.0.2.7 for any" },
		{ "from src 192.0.2.0/24 for any", "from src 192.0.0.0/16 for any" },
		{ "from src 192.0.2.0/24 for any", "!from src 192.0.2.0/24 for any" },
		{ "from src 0.0.0.0/0 for any", "from src ::1 for any" },
		{ "from socket for any", "from local for any" },
		{ "!from local for any", "!from socket for any" },
		{ "from auth ann for any", "from auth for any" },
		{ "from auth ann for any", "from auth bob for any" },
		{ "!auth from any for any", "!auth ann from any for any" },
		{ "from rdns a.org for any", "from rdns for any" },
		{ "from rdns for any", "!from rdns for any" },
		{ "!from rdns a.org for any", "!from rdns for any" },
		{ "!from rdns for any", "!from rdns a.org for any" },
		{ "from any for domain <f>", "from any for domain <g>" },
		{ "from any for domain <f>", "from any for domain a.org" },
		{ "from any for domain <accounts>", "from any for domain a.org" },
		{ "from any for rcpt-to <accounts>", "from any for domain <accounts>" },
		{ "tag mx from any for any", "from any for any" },
		{ "tag mx from any for any", "!tag mx from any for any" },
		{ "tag mx from any for any", "tag \"in-side\" from any for any" },
		{ "mail-from \"@\" from any for any", "mail-from \"<>\" from any for any" },
		{ "mail-from x@a.org from any for any", "rcpt-to x@a.org from any for any" },
		{ "from mail-from x@a.org for any", "from mail-from @a.org for any" },
		{ "from local for local", "for domain localhost" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (is_warned_of(cases[i].first, cases[i].second))
			fail_msg("a false warning: %s; %s", cases[i].first, cases[i].second);
	}
}

static void
a_rule_that_nothing_can_be_for_is_warned_of(void **state)
{
	(void)state;
	assert_true(is_warned_of("tls", "!from any for any"));
	assert_true(is_warned_of("tls", "from any !for any"));
	assert_true(is_warned_of("tls", "from any for any tag outside"));
	assert_true(is_warned_of("tls", "from any for any tag regex \"^out\""));
	assert_false(is_warned_of("tls", "from any for any !tag outside"));
	assert_false(is_warned_of("tls", "from any for any tag { outside, mx }"));
	assert_false(is_warned_of("tls", "from any for any tag regex \"^in-\""));
}

static void
the_warning_names_both_lines(void **state)
{
	struct reports reports;
	struct config *config = parse("match for any reject\nmatch from any for any reject\n"
	                              "match from socket for any reject\n",
	    &reports);

	(void)state;
	assert_non_null(config);
	config_free(config);
	assert_int_equal(reports.warnings, 1);
	assert_true(reported(&reports, 3, "line 1 of " NAME));
}

/* More rules than anybody has, each of which must be compared with all before it. */
static void
many_rules_take_no_long_time(void **state)
{
	size_t count = 3000, size = count * 64;
	char *text = malloc(size), *at = text;
	struct reports reports = { .errors = 0 };
	struct config *config;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < count; i++)
		at += sprintf(at, "match from any for domain d%zu.org reject\n", i);
	config = parse_config_text(NAME, text, (size_t)(at - text), gather, &reports);
	assert_non_null(config);
	assert_int_equal(reports.warnings, 0);
	config_free(config);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rule_that_an_earlier_one_covers_is_warned_of),
		cmocka_unit_test(a_rule_that_something_is_left_for_is_not_warned_of),
		cmocka_unit_test(a_rule_that_nothing_can_be_for_is_warned_of),
		cmocka_unit_test(the_warning_names_both_lines),
		cmocka_unit_test(many_rules_take_no_long_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
