/*
 * What rules say in plain English.
 */
#include <stdlib.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

/* A rule's sentence, as smtpd -n -v prints it. */
static void
says(const char *rule, const char *sentence)
{
	static const char rest[] = "action in maildir virtual <accounts>\n"
	                           "action out relay\n"
	                           "action names expand-only alias { a = b }\n"
	                           "table many { a.org, b.org, c.org, d.org, e.org, f.org }\n"
	                           "table f file:/etc/hosts\n";
	char text[1024], *printed = NULL, *at, *end;
	struct config *config;
	size_t size;
	FILE *file = open_memstream(&printed, &size);

	snprintf(text, sizeof(text), "%smatch %s\n", rest, rule);
	config = good(text);
	assert_non_null(file);
	parse_print_config(file, config);
	assert_int_equal(fclose(file), 0);
	at = strstr(printed, "# 1. Mail from ");
	assert_non_null(at);
	at += strlen("# 1. Mail from ");
	end = strchr(at, '\n');
	*end = '\0';
	assert_string_equal(at, sentence);
	/* The rule itself follows. */
	assert_int_equal(strncmp(end + 1, "match ", 6), 0);
	free(printed);
	config_free(config);
}

static void
each_rule_is_a_sentence(void **state)
{
	(void)state;
	says("from any for rcpt-to alice@a.org action in",
	    "anybody for alice@a.org is delivered into Maildirs by action \"in\".");
	says("action in",
	    "this machine for users of this host is delivered into Maildirs by action \"in\".");
	says("from any for domain <accounts> action names",
	    "anybody for the domains of the accounts database goes where its aliases lead by "
	    "action \"names\".");
	says("from src { 192.0.2.0/24, ::1 } for domain <many> reject",
	    "192.0.2.0/24 or ::1 for the domains a.org, b.org, c.org, d.org or 2 more is refused.");
	says("! from src <f> ! for domain a.org reject",
	    "anywhere but the addresses in table <f> for anywhere but the domain a.org is "
	    "refused.");
	says("from auth for any action out",
	    "users who have logged in for anybody is sent to other hosts by action \"out\".");
	says("from rdns regex \"^dyn\" for any tls reject",
	    "the hosts matching \"^dyn\" for anybody is refused if it comes by TLS.");
	says("!from rdns \"*.isp.org\" for any reject",
	    "hosts with a name in DNS, but not the host *.isp.org for anybody is "
	    "refused.");
	says("!from rdns for any !mail-from \"<>\" helo regex { a, b } reject",
	    "hosts without a name in DNS for anybody is refused if the client's HELO matches "
	    "\"a\" or \"b\" and the sender isn't <>.");
	says("!auth from any for any rcpt-to <f> reject",
	    "anybody for anybody is refused if the recipient is in table <f> and nobody has logged "
	    "in.");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rule_is_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
