/*
 * Command lines: what RFC 5321, 1870, 3030, 3461 and 6531 write is understood; everything else is
 * refused with the code they name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd/command.h"

static void
verbs_are_found_in_any_case(void **state)
{
	static const struct {
		const char *line;
		enum verb verb;
		const char *argument;
	} examples[] = {
		{ "MAIL FROM:<a@b>", VERB_MAIL, "FROM:<a@b>" },
		{ "mail from:<a@b>", VERB_MAIL, "from:<a@b>" },
		{ "QUIT", VERB_QUIT, "" },
		{ "QUIT   ", VERB_QUIT, "" },
		{ "NOOP  a  b ", VERB_NOOP, "a  b" },
		{ "NOOPS", VERB_UNKNOWN, "" },
		{ "", VERB_UNKNOWN, "" },
		{ " QUIT", VERB_UNKNOWN, "QUIT" },
		{ "STARTTLS", VERB_STARTTLS, "" },
		{ "GET / HTTP/1.1", VERB_FOREIGN, "/ HTTP/1.1" },
		{ "XCLIENT ADDR=1.2.3.4", VERB_UNKNOWN, "ADDR=1.2.3.4" },
		{ "XFORWARD ADDR=1.2.3.4", VERB_UNKNOWN, "ADDR=1.2.3.4" },
		{ "PROXY TCP4 1.2.3.4 1.2.3.4 1 1", VERB_UNKNOWN, "TCP4 1.2.3.4 1.2.3.4 1 1" },
	};
	struct command command;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		assert_true(command_parse(examples[i].line, strlen(examples[i].line), &command));
		assert_int_equal(command.verb, examples[i].verb);
		assert_int_equal(command.length, strlen(examples[i].argument));
		assert_memory_equal(command.argument, examples[i].argument, command.length);
	}
}

static void
control_characters_make_no_command(void **state)
{
	struct command command;

	(void)state;
	assert_false(command_parse("NOOP a\0b", 8, &command));
	assert_false(command_parse("NOOP \x1b[1m", 9, &command));
	assert_false(command_parse("NOOP \x7f", 6, &command));
	assert_false(command_parse("NOOP\tx", 6, &command));
	assert_false(command_parse("NOOP\r", 5, &command));
	assert_true(command_parse("NOOP \xff", 6, &command));
}

static bool
greets(const char *argument, const char *expected)
{
	char name[HELO_MAX + 1];
	struct reply reply;

	if (!command_parse_greeting(argument, strlen(argument), name, sizeof(name), &reply)) {
		assert_int_equal(reply.code, 501);
		return false;
	}
	assert_string_equal(name, expected);
	return true;
}

static void
a_greeting_names_a_host_or_an_address(void **state)
{
	char *longest = malloc(4097);

	(void)state;
	assert_true(greets("mail.example.org", "mail.example.org"));
	assert_true(greets("localhost", "localhost"));
	assert_true(greets("my_host.", "my_host"));
	assert_true(greets("[192.0.2.1]", "[192.0.2.1]"));
	assert_true(greets("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"));
	assert_false(greets("", NULL));
	assert_false(greets("two words", NULL));
	assert_false(greets("b\xc3\xbc"
	                    "cher.example",
	    NULL));
	assert_false(greets("a(comment)", NULL));
	assert_false(greets("=?utf-8?Q?=0D=0A?=", NULL));
	assert_false(greets("a%0d%0aX:", NULL));
	assert_false(greets("[1.2.3]", NULL));
	memset(longest, 'a', 4096);
	longest[4096] = '\0';
	assert_false(greets(longest, NULL));
	free(longest);
}

static void
check_mail(const char *argument, unsigned code, const char *enhanced)
{
	struct mail_command mail;
	struct reply reply = { 250, "", "" };
	bool taken;

	taken = command_parse_mail(argument, strlen(argument), MAIL_OFFERS_DSN, &mail, &reply);
	if (taken != (code == 250) || reply.code != code ||
	    (!taken && strcmp(reply.enhanced, enhanced) != 0))
		fail_msg("MAIL %s: %u %s %s", argument, reply.code, reply.enhanced, reply.text);
}

static void
mail_parameters_are_checked(void **state)
{
	char many[4000] = "FROM:<a@b>";
	size_t i;

	(void)state;
	check_mail("FROM:<a@b>", 250, "");
	check_mail("from: <a@b>", 250, "");
	check_mail("FROM:<>", 250, "");
	check_mail("FROM:<a@b> SIZE=0 BODY=8BITMIME SMTPUTF8 RET=full ENVID=x", 250, "");
	check_mail("FROM:<j\xc3\xb6@b> SMTPUTF8", 250, "");
	check_mail("FROM:<j\xc3\xb6@b>", 550, "5.6.7");
	check_mail("FROM:<j\xc3@b> SMTPUTF8", 501, "5.1.7");
	check_mail("FROM:a@b", 501, "5.1.7");
	check_mail("FROM:<a@b", 501, "5.1.7");
	check_mail("FROM:<a@b>x", 501, "5.1.7");
	check_mail("FROM:<a>", 501, "5.1.7");
	check_mail("FROM <a@b>", 501, "5.1.7");
	check_mail("TO:<a@b>", 501, "5.1.7");
	check_mail("", 501, "5.1.7");
	check_mail("FROM:<a@b> SIZE=-1", 501, "5.5.4");
	check_mail("FROM:<a@b> SIZE=", 501, "5.5.4");
	check_mail("FROM:<a@b> SIZE", 501, "5.5.4");
	check_mail("FROM:<a@b> SIZE=1x", 501, "5.5.4");
	check_mail("FROM:<a@b> SIZE=1 SIZE=1", 501, "5.5.4");
	check_mail("FROM:<a@b> SIZE=123456789012345678901", 501, "5.5.4");
	check_mail("FROM:<a@b> SIZE=99999999999999999999", 250, ""); /* and then too large */
	check_mail("FROM:<a@b> BODY=JUNK", 501, "5.5.4");
	check_mail("FROM:<a@b> BODY=7BIT BODY=7BIT", 501, "5.5.4");
	check_mail("FROM:<a@b> BODY=BINARYMIME", 504, "5.5.4");
	check_mail("FROM:<a@b> SMTPUTF8=1", 501, "5.5.4");
	check_mail("FROM:<a@b> RET=SOME", 501, "5.5.4");
	check_mail("FROM:<a@b> RET=FULL RET=FULL", 501, "5.5.4");
	check_mail("FROM:<a@b> ENVID=a+0D+0Ab", 501, "5.5.4");
	check_mail("FROM:<a@b> ENVID=a+2", 501, "5.5.4");
	check_mail("FROM:<a@b> ENVID=a+2b", 501, "5.5.4");
	check_mail("FROM:<a@b> ENVID=a=b", 501, "5.5.4");
	check_mail("FROM:<a@b> ENVID=a ENVID=b", 501, "5.5.4");
	check_mail("FROM:<a@b> =x", 501, "5.5.4");
	check_mail("FROM:<a@b> UNKNOWN=x", 555, "5.5.4");
	check_mail("FROM:<a@b> AUTH=<>", 555, "5.5.4");
	check_mail("FROM:<a@b> NOTIFY=NEVER", 555, "5.5.4");
	for (i = 0; i < 100; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), " X%zu=y", i);
	check_mail(many, 555, "5.5.4");
}

/* RFC 4954 5 */
static void
mail_takes_auth_where_logins_are_offered(void **state)
{
	static const struct {
		const char *argument;
		bool taken;
	} cases[] = {
		{ "FROM:<a@b> AUTH=<>", true },
		{ "FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com", true },
		{ "FROM:<a@b> AUTH=<> AUTH=<>", false },
		{ "FROM:<a@b> AUTH", false },
		{ "FROM:<a@b> AUTH=e+3", false },
		{ "FROM:<a@b> AUTH=e=mc2", false },
	};
	struct mail_command mail;
	struct reply reply;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(command_parse_mail(cases[i].argument, strlen(cases[i].argument),
		                     MAIL_OFFERS_AUTH, &mail, &reply),
		    cases[i].taken);
}

static void
requiretls_is_taken_where_it_is_offered(void **state)
{
	static const char *const wrong[] = { "FROM:<a@b> REQUIRETLS=yes",
		"FROM:<a@b> REQUIRETLS REQUIRETLS" };
	static const char text[] = "FROM:<a@b> requiretls SIZE=3";
	struct mail_command mail;
	struct reply reply;

	(void)state;
	assert_true(
	    command_parse_mail(text, sizeof(text) - 1, MAIL_OFFERS_REQUIRETLS, &mail, &reply));
	assert_true(mail.require_tls);
	assert_true(command_parse_mail("FROM:<a@b>", 10, MAIL_OFFERS_REQUIRETLS, &mail, &reply));
	assert_false(mail.require_tls);
	assert_false(command_parse_mail(text, sizeof(text) - 1, MAIL_OFFERS_DSN, &mail, &reply));
	assert_int_equal(reply.code, 555);
	for (size_t i = 0; i < 2; i++) {
		assert_false(command_parse_mail(
		    wrong[i], strlen(wrong[i]), MAIL_OFFERS_REQUIRETLS, &mail, &reply));
		assert_int_equal(reply.code, 501);
	}
}

static void
mail_values_come_out_decoded(void **state)
{
	static const char text[] =
	    "FROM:<a@b> SIZE=18446744073709551616 BODY=8bitmime RET=hdrs ENVID=QQ+2B+3D+20x";
	static const char no_dsn[] = "FROM:<a@b> RET=HDRS";
	struct mail_command mail;
	struct reply reply;

	(void)state;
	assert_true(command_parse_mail(text, sizeof(text) - 1, MAIL_OFFERS_DSN, &mail, &reply));
	assert_true(mail.size_given);
	assert_true(mail.size == UINT64_MAX);
	assert_true(mail.eight_bit);
	assert_false(mail.smtputf8);
	assert_int_equal(mail.dsn_return, DSN_RETURN_HEADERS);
	assert_string_equal(mail.envid, "QQ+= x");
	assert_false(command_parse_mail(no_dsn, sizeof(no_dsn) - 1, 0, &mail, &reply));
	assert_int_equal(reply.code, 555);
}

static void
check_rcpt(const char *argument, bool smtputf8, unsigned code, const char *enhanced)
{
	struct rcpt_command rcpt;
	struct reply reply = { 250, "", "" };
	bool taken;

	taken = command_parse_rcpt(argument, strlen(argument), smtputf8, true, &rcpt, &reply);
	if (taken != (code == 250) || reply.code != code ||
	    (!taken && strcmp(reply.enhanced, enhanced) != 0))
		fail_msg("RCPT %s: %u %s %s", argument, reply.code, reply.enhanced, reply.text);
}

static void
rcpt_parameters_are_checked(void **state)
{
	char text[700];

	(void)state;
	check_rcpt("TO:<a@b>", false, 250, "");
	check_rcpt("TO:<@x,@y:a@b>", false, 250, "");
	check_rcpt("TO:<PostMaster>", false, 250, "");
	check_rcpt("TO:<root>", false, 501, "5.1.3");
	check_rcpt("TO:<>", false, 501, "5.1.3");
	check_rcpt("TO:<j\xc3\xb6@b>", true, 250, "");
	check_rcpt("TO:<j\xc3\xb6@b>", false, 553, "5.6.7");
	check_rcpt("TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a+40b", false, 250, "");
	check_rcpt("TO:<a@b> NOTIFY=success,Delay,FAILURE", false, 250, "");
	check_rcpt("TO:<a@b> NOTIFY=NEVER,SUCCESS", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> NOTIFY=SUCCESS,", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> NOTIFY=", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> NOTIFY", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> ORCPT=a@b", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> ORCPT=;a", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> ORCPT=rfc822;a+0D+0AX:", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> ORCPT=rfc822;a+00", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> ORCPT=rfc822;\xff", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> ORCPT=utf-8;j\xc3\xb6@b", false, 250, "");
	check_rcpt("TO:<a@b> ORCPT=utf-8;j\xc3@b", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> ORCPT=utf-8;j\xc2\x85@b", false, 501, "5.5.4");
	check_rcpt("TO:<a@b> SIZE=1", false, 555, "5.5.4");
	snprintf(text, sizeof(text), "TO:<a@b> ORCPT=rfc822;%0493d", 0); /* RFC 3461 4.2: 500 */
	check_rcpt(text, false, 250, "");
	snprintf(text, sizeof(text), "TO:<a@b> ORCPT=rfc822;%0494d", 0);
	check_rcpt(text, false, 501, "5.5.4");
}

static void
orcpt_is_kept_as_it_came_or_made_ascii(void **state)
{
	static const char kept[] = "TO:<a@b> ORCPT=rfc822;A+40B";
	static const char embedded[] = "TO:<a@b> ORCPT=UTF-8;j\xc3\xb6\xf0\x9f\x93\xae\\x{E9}@b";
	struct rcpt_command rcpt;
	struct reply reply;

	(void)state;
	assert_true(command_parse_rcpt(kept, sizeof(kept) - 1, false, true, &rcpt, &reply));
	assert_string_equal(rcpt.orcpt, "rfc822;A+40B");
	assert_true(command_parse_rcpt(embedded, sizeof(embedded) - 1, true, true, &rcpt, &reply));
	assert_string_equal(rcpt.orcpt, "UTF-8;j\\x{F6}\\x{1F4EE}\\x{E9}@b");
}

static void
check_bdat(const char *argument, bool taken, uint64_t size, bool last)
{
	struct reply reply;
	uint64_t got = 1;
	bool got_last = false;

	if (command_parse_bdat(argument, strlen(argument), &got, &got_last, &reply) != taken)
		fail_msg("BDAT %s", argument);
	if (!taken) {
		assert_int_equal(reply.code, 501);
		return;
	}
	assert_true(got == size);
	assert_int_equal(got_last, last);
}

static void
chunk_sizes_are_digits(void **state)
{
	(void)state;
	check_bdat("0", true, 0, false);
	check_bdat("100", true, 100, false);
	check_bdat("0 LAST", true, 0, true);
	check_bdat("86 last", true, 86, true);
	check_bdat("99999999999999999999", true, UINT64_MAX, false);
	check_bdat("", false, 0, false);
	check_bdat("-1", false, 0, false);
	check_bdat("+1", false, 0, false);
	check_bdat("0x10", false, 0, false);
	check_bdat("LAST", false, 0, false);
	check_bdat("1 LAST LAST", false, 0, false);
	check_bdat("1 2", false, 0, false);
	check_bdat("100000000000000000000", false, 0, false);
}

static void
what_follows_auth_is_kept_from_the_log(void **state)
{
	static const struct {
		const char *line;
		size_t length;
	} lines[] = {
		{ "", 0 },
		{ "MAIL FROM:<a@b>", 15 },
		{ "AUTHOR x y", 10 },
		{ "AUTH", 4 },
		{ "AUTH LOGIN", 10 },
		{ "auth plain AGJvYgBzZWNyZXQ=", 10 },
		{ "  Auth\tPLAIN\tAGJvYgBzZWNyZXQ=", 12 },
		{ "XAUTH x secret", 7 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(
		    command_loggable_length(lines[i].line, strlen(lines[i].line)), lines[i].length);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verbs_are_found_in_any_case),
		cmocka_unit_test(control_characters_make_no_command),
		cmocka_unit_test(a_greeting_names_a_host_or_an_address),
		cmocka_unit_test(mail_parameters_are_checked),
		cmocka_unit_test(mail_takes_auth_where_logins_are_offered),
		cmocka_unit_test(requiretls_is_taken_where_it_is_offered),
		cmocka_unit_test(mail_values_come_out_decoded),
		cmocka_unit_test(rcpt_parameters_are_checked),
		cmocka_unit_test(orcpt_is_kept_as_it_came_or_made_ascii),
		cmocka_unit_test(chunk_sizes_are_digits),
		cmocka_unit_test(what_follows_auth_is_kept_from_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
