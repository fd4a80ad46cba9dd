/* The command line: prefixes, filters, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/log.h"
#include "smtpctl/command.h"

static char error[512];

/* Parses a line of words separated by single blanks. */
static bool
parse(const char *line, struct command *command)
{
	static char text[512];
	static char *words[128];
	char *rest = text, *word;
	int count = 0;

	assert_true(strlen(line) < sizeof(text));
	strcpy(text, line);
	while ((word = strsep(&rest, " ")) != NULL)
		words[count++] = word;
	return command_parse(command, count, words, error, sizeof(error));
}

static void
assert_is(const char *line, const char *name)
{
	struct command command;

	if (!parse(line, &command))
		fail_msg("%s: %s", line, error);
	assert_string_equal(command.name, name);
}

static void
assert_refused(const char *line, const char *reason)
{
	struct command command;

	if (parse(line, &command))
		fail_msg("%s is taken for %s", line, command.name);
	if (strstr(error, reason) == NULL)
		fail_msg("%s: the reason is: %s", line, error);
}

static void
test_words_may_be_shortened_to_an_unambiguous_prefix(void **state)
{
	(void)state;
	assert_is("show queue", "show queue");
	assert_is("sh q", "show queue");
	assert_is("show stats", "show stats");
	assert_is("sh sh senders from @x.test", "show shape");
	assert_is("show shape older 1h", "show shape");
	assert_is("show banned", "show banned");
	assert_is("sh statu", "show status");
	assert_is("sc all", "schedule");
	assert_is("m", "monitor");
	assert_is("l v", "log verbose");
	assert_is("us l", "user list");
	assert_is("un all", "untrace");
	assert_is("us q u@example.org 1G", "user quota");
	assert_is("tr imsg", "trace");
	assert_is("tl s 2026-01-31", "tls-report send");
	assert_is("sh t", "show tls-results");
	assert_refused("tls-report send 2026-01-31 2026-02-01", "");
	assert_is("do l", "domain list");
	assert_is("st", "stop");
	assert_is("show hosts", "show hosts");
	assert_is("sh hostst", "show hoststats");
	assert_is("sh ro", "show routes");
	assert_is("expl --to a@example.org", "explain");
}

static void
test_an_ambiguous_or_unknown_word_is_refused(void **state)
{
	(void)state;
	assert_refused("s", "ambiguous command: s (show, schedule, stop, sieve, spool)");
	assert_refused("d list", "ambiguous");
	assert_refused("re", "ambiguous");
	assert_refused("show sta", "ambiguous");
	assert_refused("pause m", "ambiguous");
	assert_refused("showqueue", "unknown");
	assert_refused("show queues", "unknown");
	assert_refused("show host", "ambiguous");
	assert_refused("show hostsx", "unknown");
	assert_refused("show", "incomplete command (queue, shape, message, envelope, ");
	assert_refused("pause nobody", "unknown command: nobody (envelope, mda, mta, smtp)");
	assert_refused("show ", "unknown");
	assert_refused("", "unknown");
}

static void
test_explain_takes_its_addresses_in_any_order(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("explain --from b@example.org --to a@example.net", &command));
	assert_int_equal(command.verb, COMMAND_EXPLAIN);
	assert_string_equal(command.explain.rcpt.local, "a");
	assert_string_equal(command.explain.sender.domain, "example.org");
	assert_int_equal(command.explain.client_family, CLIENT_LOCAL);
	assert_true(parse("explain --to bob --from <>", &command));
	assert_true(address_is_null(&command.explain.sender));
	assert_refused("explain", "--to");
	assert_refused("explain --from b@example.org", "--to");
	assert_refused("explain --to", "missing");
	assert_refused("explain --to a@x.org --to b@x.org", "twice");
	assert_refused("explain --to <>", "not an address");
	assert_refused("explain a@x.org", "no option");
	assert_true(
	    parse("explain --tls --ip 2001:db8::1 --to a@x.org --name c.test --helo h --auth u "
	          "--tag t",
	        &command));
	assert_int_equal(command.explain.client_family, CLIENT_INET6);
	assert_true(command.explain.tls && !command.explain.name_unknown);
	assert_string_equal(command.explain.client_name, "c.test");
	assert_string_equal(command.explain.helo, "h");
	assert_string_equal(command.explain.auth_user, "u");
	assert_string_equal(command.explain.tag, "t");
	assert_true(parse("explain --to a@x.org --ip 192.0.2.1", &command));
	assert_true(command.explain.name_unknown);
	assert_true(parse("explain --to a@x.org --name none --ip 192.0.2.1", &command));
	assert_false(command.explain.name_unknown);
	assert_string_equal(command.explain.client_name, "");
	assert_refused("explain --to a@x.org --ip 192.0.2.256", "IPv4 or IPv6");
	assert_refused("explain --to a@x.org --name x", "--ip");
	assert_refused("explain --to a@x.org --tls --tls", "twice");
	assert_refused("explain --to a@x.org --helo", "missing");
}

static void
test_no_command_at_all_is_refused(void **state)
{
	struct command command;

	(void)state;
	assert_false(command_parse(&command, 0, NULL, error, sizeof(error)));
	assert_string_equal(error, "smtpctl: incomplete command");
}

static void
test_pause_and_resume_name_their_part(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("pause mda", &command));
	assert_int_equal(command.verb, COMMAND_PAUSE);
	assert_true(command.pause.mda && command.pause.paused);
	assert_true(parse("resume mta", &command));
	assert_false(command.pause.mda || command.pause.paused);
	assert_true(parse("pause mta", &command));
	assert_true(!command.pause.mda && command.pause.paused);
	assert_string_equal(command.pause.domain, "");
	assert_true(parse("pause mta for Far.Test.", &command));
	assert_string_equal(command.pause.domain, "far.test");
	assert_false(parse("pause mta far.test", &command));
	assert_false(parse("pause mta for", &command));
	assert_false(parse("pause mta for -", &command));
	assert_false(parse("pause mda for far.test", &command));
	assert_true(parse("show relays", &command));
	assert_int_equal(command.verb, COMMAND_SHOW_RELAYS);
	assert_string_equal(command.filter.to, "");
	assert_true(parse("show relays for far.test", &command));
	assert_string_equal(command.filter.to, "@far.test");
	assert_true(parse("pause smtp", &command));
	assert_int_equal(command.verb, COMMAND_SUPERVISOR);
	assert_int_equal(command.supervisor.verb, CONTROL_PAUSE_SMTP);
	assert_true(parse("resume envelope all", &command));
	assert_int_equal(command.verb, COMMAND_ACT);
	assert_int_equal(command.action, QUEUE_UNHOLD);
}

static void
test_a_filter_has_ids_and_conditions(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("remove 0123abcd", &command));
	assert_true(command.filter.id == 0x0123abcd);
	assert_true(parse("remove 0123abcd00000002", &command));
	assert_true(command.filter.id == 0x0123abcd00000002);
	assert_true(parse("schedule all", &command));
	assert_true(command.filter.id == 0);
	assert_true(parse(
	    "show queue from @example.org to u@example.net older 1h30m state held", &command));
	assert_string_equal(command.filter.from, "@example.org");
	assert_string_equal(command.filter.to, "u@example.net");
	assert_int_equal(command.filter.older, 5400);
	assert_true(command.filter.has_state);
	assert_int_equal(command.filter.state, ENVELOPE_HELD);
	assert_true(parse("expire all older 1d", &command));
	assert_int_equal(command.filter.older, 86400);
	assert_true(parse("show queue from <>", &command));
	assert_string_equal(command.filter.from, "<>");
	assert_true(parse("show queue from @", &command));
	assert_string_equal(command.filter.from, "<>");
	assert_true(parse("show queue", &command));
	assert_false(command.filter.has_state);
}

static void
test_a_bad_filter_is_refused(void **state)
{
	(void)state;
	assert_refused("remove", "which envelopes");
	assert_refused("pause envelope", "which envelopes");
	assert_refused("remove 123", "hex digits");
	assert_refused("remove 00000000", "hex digits");
	assert_refused("remove 0000000000000001", "hex digits");
	assert_refused("remove 0x123456", "hex digits");
	assert_refused("remove -1234567", "hex digits");
	assert_refused("remove 0123abcd 0123abce", "no filter");
	assert_refused("remove from", "missing");
	assert_refused("remove from a@b@c", "not an address");
	assert_refused("remove to <>", "not an address");
	assert_refused("remove older soon", "not a time");
	assert_refused("remove older 0", "not a time");
	assert_refused("remove older -1", "not a time");
	assert_refused("remove older 99999999999", "not a time");
	assert_refused("remove older 99999w", "not a time");
	assert_refused("remove state gone", "not pending");
	assert_refused("remove older 1h older 2h", "given twice");
	assert_refused("remove all everything", "no filter");
}

static void
test_ids_are_of_the_right_kind(void **state)
{
	(void)state;
	assert_is("show message 0123abcd", "show message");
	assert_is("show message 0123abcd00000001", "show message");
	assert_is("show envelope 0123abcd00000001", "show envelope");
	assert_refused("show envelope 0123abcd", "16 hex digits");
	assert_refused("show message", "one argument");
	assert_refused("show message all", "hex digits");
	assert_refused("discover all", "hex digits");
}

static void
test_trace_knows_its_subsystems(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("trace scheduler", &command));
	assert_int_equal(command.supervisor.verb, CONTROL_TRACE);
	assert_int_equal(command.supervisor.argument, LOG_TRACE_SCHEDULER);
	assert_true(parse("untrace all", &command));
	assert_int_equal(command.supervisor.verb, CONTROL_UNTRACE);
	assert_int_equal(command.supervisor.argument, LOG_TRACE_ALL);
	/* OpenSMTPD's word for the same. */
	assert_true(parse("trace mproc", &command));
	assert_int_equal(command.supervisor.argument, LOG_TRACE_IMSG);
	assert_true(parse("trace io", &command));
	assert_int_equal(command.supervisor.argument, LOG_TRACE_IO);
	assert_refused("trace weather", "no subsystem: weather (all, bounce, ");
	assert_refused("trace", "one argument");
}

static void
test_account_commands_take_their_words(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("user add u@example.org", &command));
	assert_true(command.needs_password);
	assert_int_equal(command.word_count, 1);
	assert_true(parse("user add u@example.org no-password", &command));
	assert_false(command.needs_password);
	assert_int_equal(command.word_count, 1);
	assert_true(parse("user passwd u@example.org", &command));
	assert_true(command.needs_password);
	assert_true(parse("alias add info@example.org a@example.org b@example.org", &command));
	assert_int_equal(command.account, ACCOUNT_ALIAS_ADD);
	assert_int_equal(command.word_count, 3);
	assert_string_equal(command.words[2], "b@example.org");
	assert_refused("alias add info@example.org", "missing");
	assert_refused("user add", "missing");
	assert_refused("user add a@example.org secret", "too many");
	assert_refused("domain add a b", "too many");
	assert_refused("domain list x", "no argument");
	assert_refused("domain add ", "empty");
}

static void
test_a_quota_is_a_size_and_a_number(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("user quota u@example.org 1G", &command));
	assert_true(command.quota_bytes == 1ULL << 30 && command.quota_messages == 0);
	assert_true(parse("user quota u@example.org 500M 10000", &command));
	assert_true(command.quota_bytes == 500ULL << 20 && command.quota_messages == 10000);
	assert_int_equal(command.word_count, 1);
	assert_true(parse("user quota u@example.org none", &command));
	assert_true(command.quota_bytes == 0 && command.quota_messages == 0);
	assert_refused("user quota u@example.org", "an address and none");
	assert_refused("user quota u@example.org 1X", "not a size");
	assert_refused("user quota u@example.org 1GB", "not a size");
	assert_refused("user quota u@example.org 99999999T", "not a size");
	assert_refused("user quota u@example.org 1G -3", "not a number");
	assert_refused("user quota u@example.org none 3", "none takes no");
}

static void
test_monitor_takes_a_number_of_lines(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("monitor", &command));
	assert_true(command.count == 0);
	assert_true(parse("monitor 3", &command));
	assert_true(command.count == 3);
	assert_refused("monitor 0", "not a number");
	assert_refused("monitor x", "not a number");
}

static void
test_too_many_words_are_refused(void **state)
{
	char text[512] = "alias add a@example.org";
	struct command command;

	(void)state;
	for (int i = 0; i < ACCOUNT_WORDS_MAX - 1; i++)
		strcat(text, " b@c");
	assert_true(parse(text, &command));
	strcat(text, " b@c");
	assert_refused(text, "too many");
}

static void
test_dkim_takes_a_domain_a_selector_and_an_algorithm(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("dkim add B\xc3\xbc"
	                  "cher.Example ed25519",
	    &command));
	assert_int_equal(command.dkim.verb, DKIM_ADD);
	assert_string_equal(command.dkim.domain, "xn--bcher-kva.example");
	assert_string_equal(command.dkim.selector, "");
	assert_true(command.dkim.has_algorithm);
	assert_int_equal(command.dkim.algorithm, DKIM_ED25519_SHA256);
	assert_true(parse("dkim add example.org s1 rsa", &command));
	assert_string_equal(command.dkim.selector, "s1");
	assert_int_equal(command.dkim.algorithm, DKIM_RSA_SHA256);
	assert_true(parse("dkim add example.org s1", &command));
	assert_false(command.dkim.has_algorithm);
	assert_true(parse("dkim show example.org", &command));
	assert_true(parse("dkim list", &command));
	assert_refused("dkim add", "missing");
	assert_refused("dkim add example.org s1 dsa", "not an algorithm");
	assert_refused("dkim add example.org s1 rsa x", "too many");
	assert_refused("dkim add example.org S1", "not a selector");
	assert_refused("dkim add example.org a.b", "not a selector");
	assert_refused("dkim add [192.0.2.1]", "not a domain");
	assert_refused("dkim add ../x", "not a domain");
	assert_refused("dkim del example.org", "missing");
	assert_refused("dkim activate example.org", "missing");
}

static void
test_sieve_takes_a_user_a_script_and_a_file(void **state)
{
	struct command command;

	(void)state;
	assert_true(parse("sieve put alice@example.org holiday /tmp/x", &command));
	assert_int_equal(command.verb, COMMAND_SIEVE);
	assert_int_equal(command.sieve, SCRIPT_PUT);
	assert_int_equal(command.word_count, 3);
	assert_string_equal(command.words[1], "holiday");
	assert_true(parse("si act alice holiday", &command));
	assert_int_equal(command.sieve, SCRIPT_ACTIVATE);
	assert_true(parse("sieve del alice holiday", &command));
	assert_int_equal(command.sieve, SCRIPT_DELETE);
	assert_true(parse("sieve test alice holiday", &command));
	assert_true(parse("sieve list alice", &command));
	assert_refused("sieve list", "missing");
	assert_refused("sieve get alice", "missing");
	assert_refused("sieve put alice a b c", "too many");
	assert_refused("sieve de alice", "ambiguous");
	assert_refused("sieve get alice ../x", "not a script's name");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_may_be_shortened_to_an_unambiguous_prefix),
		cmocka_unit_test(test_an_ambiguous_or_unknown_word_is_refused),
		cmocka_unit_test(test_explain_takes_its_addresses_in_any_order),
		cmocka_unit_test(test_no_command_at_all_is_refused),
		cmocka_unit_test(test_pause_and_resume_name_their_part),
		cmocka_unit_test(test_a_filter_has_ids_and_conditions),
		cmocka_unit_test(test_a_bad_filter_is_refused),
		cmocka_unit_test(test_ids_are_of_the_right_kind),
		cmocka_unit_test(test_trace_knows_its_subsystems),
		cmocka_unit_test(test_account_commands_take_their_words),
		cmocka_unit_test(test_a_quota_is_a_size_and_a_number),
		cmocka_unit_test(test_monitor_takes_a_number_of_lines),
		cmocka_unit_test(test_dkim_takes_a_domain_a_selector_and_an_algorithm),
		cmocka_unit_test(test_sieve_takes_a_user_a_script_and_a_file),
		cmocka_unit_test(test_too_many_words_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
