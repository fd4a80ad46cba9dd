/* What smtpctl prints of envelopes, accounts and counters, in its three forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtpctl/show_account.h"
#include "smtpctl/show_dkim.h"
#include "smtpctl/show_queue.h"
#include "smtpctl/show_relays.h"
#include "smtpctl/show_shape.h"
#include "smtpctl/show_stats.h"
#include "smtpctl/text.h"

#define NOW 1700000600

static struct transaction transaction;
static struct envelope envelope;
static struct output output;

static int
set_up(void **state)
{
	(void)state;
	transaction = (struct transaction){
		.message_id = 0x12345678,
		.created_us = 1700000000123456,
		.sender = { "erin", "client.test" },
		.client_family = CLIENT_INET4,
		.client = "192.0.2.1",
		.client_name = "client.test",
		.helo = "client.test",
		.size = 1234,
	};
	envelope = (struct envelope){
		.id = 0x1234567800000001,
		.kind = ENVELOPE_MAILDIR,
		.rcpt = { "info", "example.test" },
		.dest = { "alice", "example.test" },
		.action = "in",
		.state = ENVELOPE_PENDING,
		.tries = 2,
		.expires = 1700345600,
		.last_try = 1700000100,
		.next_try = 1700000900,
	};
	reply_set(&envelope.last_reply, 452, "4.2.2", "mailbox full");
	buf_init(&output.buf, 1024 * 1024);
	output.format = OUTPUT_LINES;
	output.width = 80;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	buf_free(&output.buf);
	return 0;
}

/* What has been put out since the last call. */
static const char *
shown(void)
{
	static char text[65536];

	assert_true(buf_ok(&output.buf));
	assert_true(output.buf.length < sizeof(text));
	if (output.buf.length > 0)
		memcpy(text, output.buf.data, output.buf.length);
	text[output.buf.length] = '\0';
	buf_clear(&output.buf);
	return text;
}

/* The columns of the widest line, when all of it is ASCII. */
static size_t
widest(const char *text)
{
	size_t widest_line = 0, length = 0;

	for (; *text != '\0'; text++) {
		length = *text == '\n' ? 0 : length + 1;
		if (length > widest_line)
			widest_line = length;
	}
	return widest_line;
}

static void
test_a_queue_line_has_fourteen_fields(void **state)
{
	(void)state;
	show_queue_line(&output.buf, &transaction, &envelope, NOW);
	assert_string_equal(shown(),
	    "1234567800000001|inet4|mda||erin@client.test|info@example.test|alice@example.test|"
	    "1700000000|1700345600|1700000100|2|pending|300|452 4.2.2 mailbox full\n");
	/* Due already, and nobody there to try it. */
	envelope.next_try = NOW - 5;
	show_queue_line(&output.buf, &transaction, &envelope, NOW);
	assert_non_null(strstr(shown(), "|pending|0|452 "));
}

static void
test_a_queue_line_knows_the_null_sender_flags_and_states(void **state)
{
	(void)state;
	memset(&transaction.sender, 0, sizeof(transaction.sender));
	transaction.client_family = CLIENT_INTERNAL;
	transaction.is_bounce = true;
	strcpy(transaction.auth_user, "u");
	envelope.kind = ENVELOPE_RELAY;
	envelope.state = ENVELOPE_HELD;
	envelope.last_reply.code = 0;
	show_queue_line(&output.buf, &transaction, &envelope, NOW);
	assert_string_equal(shown(),
	    "1234567800000001|local|mta|bounce,auth,internal,suspend|@|info@example.test|"
	    "alice@example.test|1700000000|1700345600|1700000100|2|pending|300|\n");
	envelope.state = ENVELOPE_INFLIGHT;
	envelope.next_try = NOW - 500; /* when it began */
	transaction.client_family = CLIENT_INET6;
	transaction.is_bounce = false;
	transaction.auth_user[0] = '\0';
	show_queue_line(&output.buf, &transaction, &envelope, NOW);
	assert_string_equal(shown(),
	    "1234567800000001|inet6|mta||@|info@example.test|"
	    "alice@example.test|1700000000|1700345600|1700000100|2|inflight|500|\n");
}

static void
make_hostile(void)
{
	strcpy(transaction.sender.local, "a|b\"\\\r\n\033[2J\xff");
	strcpy(transaction.helo, "h\"\n");
	strcpy(envelope.rcpt.local, "|/bin/sh \xc3\xa9");
	strcpy(envelope.dest.local, "\t\x01\x7f'{}");
	strcpy(envelope.command, "|\"x\"\n");
	strcpy(envelope.last_reply.text, "no | \" \\ quote");
}

static void
test_hostile_addresses_stay_in_their_fields(void **state)
{
	const char *text;
	size_t fields = 1;

	(void)state;
	make_hostile();
	show_queue_line(&output.buf, &transaction, &envelope, NOW);
	text = shown();
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	for (const char *byte = text; *byte != '\0'; byte++) {
		fields += *byte == '|';
		assert_true(*byte == '\n' || (unsigned char)*byte >= 0x20);
	}
	assert_int_equal(fields, 14);
}

static void
test_json_of_hostile_addresses_is_one_valid_line(void **state)
{
	const char *text;
	bool quoted = false;
	uint32_t character;
	size_t length;

	(void)state;
	make_hostile();
	show_queue_json(&output.buf, &transaction, &envelope, "");
	text = shown();
	assert_memory_equal(text, "{\"id\":\"1234567800000001\",\"message\":\"12345678\",", 46);
	for (; *text != '\n'; text += length) {
		length = text_next(text, &character);
		assert_int_not_equal(length, 0);
		assert_true(character >= 0x20 && character != 0x7f);
		if (quoted && character == '\\') {
			/* An escape: a quote, a backslash, or u and four digits. */
			text += length;
			assert_non_null(strchr("\"\\u", *text));
			length = *text == 'u' ? 5 : 1;
		} else if (character == '"')
			quoted = !quoted;
	}
	assert_false(quoted);
	assert_string_equal(text - 1, "}\n");
}

static void
test_json_names_every_part(void **state)
{
	(void)state;
	envelope.last_try = 0;
	show_queue_json(&output.buf, &transaction, &envelope, "");
	assert_string_equal(shown(),
	    "{\"id\":\"1234567800000001\",\"message\":\"12345678\",\"source\":\"inet4\","
	    "\"agent\":\"mda\",\"flags\":[],\"client\":\"192.0.2.1\",\"client_name\":\"client."
	    "test\","
	    "\"helo\":\"client.test\",\"tag\":\"\",\"user\":\"\",\"from\":\"erin@client.test\","
	    "\"to\":\"info@example.test\",\"dest\":\"alice@example.test\",\"command\":\"\","
	    "\"action\":\"in\",\"size\":1234,\"created\":1700000000,\"expires\":1700345600,"
	    "\"last_try\":null,\"next_try\":1700000900,\"tries\":2,\"state\":\"pending\","
	    "\"error\":\"452 4.2.2 mailbox full\",\"host\":\"\"}\n");
}

static void
test_a_table_fits_its_width_whatever_is_in_it(void **state)
{
	static const size_t widths[] = { 80, 120, 200 };

	(void)state;
	for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
		set_up(NULL);
		show_queue_table_head(&output.buf, widths[i]);
		show_queue_table_row(&output.buf, &transaction, &envelope, NOW, widths[i]);
		memset(transaction.sender.local, 's', ADDRESS_LOCAL_MAX);
		memset(envelope.dest.domain, 'd', ADDRESS_DOMAIN_MAX);
		memset(envelope.last_reply.text, 'e', REPLY_TEXT_MAX);
		envelope.tries = UINT32_MAX;
		envelope.next_try = INT64_MAX;
		transaction.created_us = 0;
		show_queue_table_row(&output.buf, &transaction, &envelope, NOW, widths[i]);
		envelope.state = ENVELOPE_HELD;
		show_queue_table_row(&output.buf, &transaction, &envelope, NOW, widths[i]);
		assert_in_range(widest(shown()), 60, widths[i]);
		buf_free(&output.buf);
	}
	set_up(NULL);
	make_hostile();
	show_queue_table_row(&output.buf, &transaction, &envelope, NOW, 80);
	assert_null(strpbrk(shown(), "\033\r\t\x01\x7f"));
}

static void
test_a_table_row_reads_well(void **state)
{
	(void)state;
	show_queue_table_head(&output.buf, 80);
	show_queue_table_row(&output.buf, &transaction, &envelope, NOW, 80);
	assert_string_equal(shown(),
	    "ENVELOPE         STATE     AGE TRIES NEXT FROM               TO\n"
	    "1234567800000001 pending   10m     2 300s erin@client.test   alice@example.test\n"
	    "                 452 4.2.2 mailbox full\n");
}

static void
test_an_envelope_is_shown_as_keys_and_values(void **state)
{
	(void)state;
	transaction.dsn_return = DSN_RETURN_HEADERS;
	envelope.dsn_notify = DSN_NOTIFY_SUCCESS | DSN_NOTIFY_DELAY;
	strcpy(envelope.dsn_orcpt, "rfc822;x\n");
	show_envelope(&output.buf, &transaction, &envelope, "");
	assert_string_equal(shown(),
	    "version: 3\ndispatcher: in\ntype: mda\nhelo: client.test\nhostname: client.test\n"
	    "errorline: 452 4.2.2 mailbox full\nsockaddr: 192.0.2.1\nsender: erin@client.test\n"
	    "rcpt: info@example.test\ndest: alice@example.test\nctime: 1700000000\n"
	    "last-try: 1700000100\nnext-try: 1700000900\nexpire: 1700345600\nretry: 2\n"
	    "dsn-notify: SUCCESS,DELAY\ndsn-ret: HDRS\ndsn-orcpt: rfc822;x\\012\n"
	    "esc-class: 4\nesc-code: 2.2\nstate: pending\nsize: 1234\nflags: \n");
}

static void
test_what_another_host_said_is_shown_with_its_envelope(void **state)
{
	const char *dialogue = "mx: >>> MAIL\nmx: <<< 451 \033[2J|\n", *text;

	(void)state;
	strcpy(envelope.last_host, "mx.far.test");
	show_envelope(&output.buf, &transaction, &envelope, dialogue);
	text = shown();
	assert_non_null(strstr(text, "\nerrorhost: mx.far.test\n"));
	assert_non_null(
	    strstr(text, "\ndialogue: mx: >>> MAIL\ndialogue: mx: <<< 451 \\033[2J\\174\n"));
	buf_clear(&output.buf);
	show_queue_json(&output.buf, &transaction, &envelope, dialogue);
	assert_non_null(strstr(
	    shown(), ",\"host\":\"mx.far.test\",\"dialogue\":\"mx: >>> MAIL\\u000amx: <<< 451 "));
}

static struct ipc_destination
make_destination(void)
{
	struct ipc_destination destination = {
		.to = "far.test",
		.action = "out",
		.state = DESTINATION_PUT_OFF,
		.queued = 1000000,
		.waiting = 999990,
		.in_flight = 1,
		.window = 1,
		.failures = 3,
		.next_try = NOW + 900,
		.last_failure = NOW - 60,
		.host = "mx.far.test",
	};

	reply_set(&destination.reply, 451, "4.4.1", "no answer from mx.far.test");
	return destination;
}

static void
test_destinations_are_listed_in_three_forms(void **state)
{
	struct ipc_destination destination = make_destination();

	(void)state;
	output.format = OUTPUT_LINES;
	show_relays_head(&output);
	show_relays_row(&output, &destination, NOW);
	assert_string_equal(shown(),
	    "far.test|out|put-off|1000000|1|1|3|900|1700000540|mx.far.test|"
	    "451 4.4.1 no answer from mx.far.test\n");
	buf_clear(&output.buf);
	output.format = OUTPUT_JSON;
	show_relays_row(&output, &destination, NOW);
	assert_string_equal(shown(),
	    "{\"to\":\"far.test\",\"action\":\"out\",\"state\":\"put-off\",\"queued\":1000000,"
	    "\"ready\":999990,\"in_flight\":1,\"window\":1,\"failures\":3,"
	    "\"next_try\":1700001500,\"last_failure\":1700000540,\"host\":\"mx.far.test\","
	    "\"error\":\"451 4.4.1 no answer from mx.far.test\"}\n");
	buf_clear(&output.buf);
	output.format = OUTPUT_TABLE;
	show_relays_head(&output);
	show_relays_row(&output, &destination, NOW);
	assert_string_equal(shown(),
	    "TO                                   ACTION   STATE    WAITING SENT WINDOW NEXT\n"
	    "far.test                             out      put-off  1000000    1      1  15m\n"
	    "    451 4.4.1 no answer from mx.far.test\n");
}

static void
test_a_table_of_destinations_fits_its_width(void **state)
{
	struct ipc_destination destination = make_destination();

	(void)state;
	memset(destination.to, 'd', sizeof(destination.to) - 1);
	memset(destination.action, 'a', sizeof(destination.action) - 1);
	memset(destination.reply.text, 'r', sizeof(destination.reply.text) - 1);
	output.format = OUTPUT_TABLE;
	show_relays_head(&output);
	show_relays_row(&output, &destination, NOW);
	assert_int_equal(widest(shown()), 80);
}

static bool
show_row(enum output_format format, enum account_verb verb, const char *line)
{
	char text[512];

	strcpy(text, line);
	output.format = format;
	return show_account_row(&output, verb, text);
}

static void
test_users_are_listed_in_three_forms(void **state)
{
	const char *text;

	(void)state;
	assert_true(show_row(OUTPUT_LINES, ACCOUNT_USER_LIST, "a@b.test\t1073741824\t10000"));
	assert_string_equal(shown(), "a@b.test|1073741824|10000\n");
	assert_true(show_row(OUTPUT_JSON, ACCOUNT_USER_LIST, "a\"@b.test\t1073741824\t0"));
	assert_string_equal(shown(),
	    "{\"address\":\"a\\\"@b.test\",\"quota_bytes\":1073741824,\"quota_messages\":0}\n");
	output.format = OUTPUT_TABLE;
	show_account_head(&output, ACCOUNT_USER_LIST);
	assert_true(show_row(OUTPUT_TABLE, ACCOUNT_USER_LIST, "a@b.test\t1073741824\t10000"));
	assert_true(show_row(OUTPUT_TABLE, ACCOUNT_USER_LIST, "c@b.test\t0\t0"));
	assert_true(show_row(OUTPUT_TABLE, ACCOUNT_USER_LIST,
	    "c@b.test\t18446744073709551615\t18446744073709551615"));
	text = shown();
	assert_int_equal(widest(text), 80);
	assert_non_null(strstr(text, "        1G      10000\n"));
	assert_false(show_row(OUTPUT_LINES, ACCOUNT_USER_LIST, "a@b.test\t1"));
	(void)shown();
}

static void
test_tls_results_are_listed_in_three_forms(void **state)
{
	static const char line[] = "2026-01-31\tfar.test\tsts\t12\t3\tcertificate-expired\t2\t"
	                           "validation-failure\t1";
	const char *text;

	(void)state;
	assert_true(show_row(OUTPUT_LINES, ACCOUNT_TLS_RESULT_LIST, line));
	assert_string_equal(
	    shown(), "2026-01-31|far.test|sts|12|3|certificate-expired|2|validation-failure|1\n");
	assert_true(show_row(OUTPUT_JSON, ACCOUNT_TLS_RESULT_LIST, line));
	assert_string_equal(shown(),
	    "{\"day\":\"2026-01-31\",\"domain\":\"far.test\",\"policy\":\"sts\","
	    "\"successes\":12,\"failures\":3,\"kinds\":{\"certificate-expired\":2,"
	    "\"validation-failure\":1}}\n");
	output.format = OUTPUT_TABLE;
	show_account_head(&output, ACCOUNT_TLS_RESULT_LIST);
	assert_true(show_row(OUTPUT_TABLE, ACCOUNT_TLS_RESULT_LIST, line));
	assert_true(show_row(OUTPUT_TABLE, ACCOUNT_TLS_RESULT_LIST,
	    "2026-01-31\ta.very.long.name.that.\x1b[2J.somebody.mailed.example.org\t"
	    "no-policy-found\t1\t0"));
	text = shown();
	assert_true(widest(text) <= 80);
	assert_null(strchr(text, '\x1b'));
	assert_non_null(strstr(text, "\n    certificate-expired 2\n    validation-failure 1\n"));
	assert_false(show_row(OUTPUT_JSON, ACCOUNT_TLS_RESULT_LIST, "d\tx\tsts\t1"));
	assert_false(show_row(OUTPUT_JSON, ACCOUNT_TLS_RESULT_LIST, "d\tx\tsts\t1\t2\tkind"));
	assert_false(show_row(OUTPUT_JSON, ACCOUNT_TLS_RESULT_LIST, "d\tx\tsts\t1\t2\tkind\t}"));
	(void)shown();
}

static void
test_who_is_slow_is_listed_in_three_forms(void **state)
{
	static const char line[] = "network\t192.0.2.0/24\t31\t2000\t5";
	const char *text;

	(void)state;
	assert_true(show_row(OUTPUT_LINES, ACCOUNT_SLOW_LIST, line));
	assert_string_equal(shown(), "network|192.0.2.0/24|31|2000|5\n");
	assert_true(show_row(OUTPUT_JSON, ACCOUNT_SLOW_LIST, line));
	assert_string_equal(shown(),
	    "{\"kind\":\"network\",\"name\":\"192.0.2.0/24\",\"failures\":31,"
	    "\"apart_ms\":2000,\"last_s\":5}\n");
	output.format = OUTPUT_TABLE;
	show_account_head(&output, ACCOUNT_SLOW_LIST);
	assert_true(show_row(OUTPUT_TABLE, ACCOUNT_SLOW_LIST, line));
	assert_true(show_row(OUTPUT_TABLE, ACCOUNT_SLOW_LIST,
	    "account\ta\x1b[2Jvery.long.name.that.somebody.typed.in@very.long.domain.example.org\t"
	    "99999\t250\t3600"));
	text = shown();
	assert_int_equal(widest(text), 80);
	assert_null(strchr(text, '\x1b'));
	assert_non_null(strstr(text, "network          31     2000ms         5s 192.0.2.0/24\n"));
	assert_false(show_row(OUTPUT_LINES, ACCOUNT_SLOW_LIST, "network\tx\t1\t2"));
	assert_false(show_row(OUTPUT_JSON, ACCOUNT_SLOW_LIST, "network\tx\t1}\t2\t3"));
	(void)shown();
}

static void
test_aliases_and_domains_are_listed_in_three_forms(void **state)
{
	(void)state;
	assert_true(show_row(OUTPUT_LINES, ACCOUNT_ALIAS_LIST, "a@b.test\tc@d.test\t|cat"));
	assert_string_equal(shown(), "a@b.test|c@d.test|\\174cat\n");
	assert_true(show_row(OUTPUT_JSON, ACCOUNT_ALIAS_LIST, "a@b.test\tc@d.test\te@f.test"));
	assert_string_equal(
	    shown(), "{\"address\":\"a@b.test\",\"targets\":[\"c@d.test\",\"e@f.test\"]}\n");
	assert_true(show_row(OUTPUT_TABLE, ACCOUNT_ALIAS_LIST, "a@b.test\tc@d.test\te@f.test"));
	assert_string_equal(shown(),
	    "a@b.test                                c@d.test\n"
	    "                                        e@f.test\n");
	assert_true(show_row(OUTPUT_LINES, ACCOUNT_DOMAIN_LIST, "b.test"));
	assert_true(show_row(OUTPUT_JSON, ACCOUNT_DOMAIN_LIST, "b.test"));
	assert_string_equal(shown(), "b.test\n{\"domain\":\"b.test\"}\n");
}

static void
test_counters_are_sorted_and_have_both_uptimes(void **state)
{
	struct show_stats stats = { .uptime = 93784 };
	const char *text;

	(void)state;
	stats.values[STATS_DELIVERY_OK] = 42;
	show_stats(&output, &stats);
	text = shown();
	assert_non_null(strstr(text, "\nscheduler.delivery.ok=42\n"));
	assert_non_null(strstr(text, "\nuptime=93784\nuptime.human=1d2h3m4s\n"));
	output.format = OUTPUT_JSON;
	show_stats(&output, &stats);
	text = shown();
	assert_non_null(strstr(text, ",\"uptime\":93784,\"uptime.human\":\"1d2h3m4s\"}\n"));
	output.format = OUTPUT_TABLE;
	show_stats(&output, &stats);
	assert_in_range(widest(shown()), 40, 80);
}

/* One envelope of each age, and one of the other domain. */
static void
show_shape(bool senders)
{
	static const int64_t minutes[] = { 0, 4, 5, 19, 20, 1279, 1280, 100000 };
	struct shape *shape = shape_new(senders);

	for (size_t i = 0; i < sizeof(minutes) / sizeof(minutes[0]); i++) {
		transaction.created_us = (NOW - minutes[i] * 60) * INT64_C(1000000);
		shape_count(shape, &transaction, &envelope, NOW);
	}
	strcpy(envelope.dest.domain, "Other|.test");
	*transaction.sender.local = *transaction.sender.domain = '\0';
	transaction.created_us = (NOW + 3600) * INT64_C(1000000); /* by a clock that was ahead */
	shape_count(shape, &transaction, &envelope, NOW);
	shape_show(shape, &output);
	shape_free(shape);
}

static void
test_the_shape_of_the_queue_has_domains_by_age(void **state)
{
	(void)state;
	show_shape(false);
	assert_string_equal(shown(),
	    "TOTAL|9|3|1|1|1|0|0|0|0|1|2\n"
	    "example.test|8|2|1|1|1|0|0|0|0|1|2\n"
	    "other\\174.test|1|1|0|0|0|0|0|0|0|0|0\n");
	buf_free(&output.buf);
	set_up(NULL);
	show_shape(true);
	assert_string_equal(shown(),
	    "TOTAL|9|3|1|1|1|0|0|0|0|1|2\n"
	    "client.test|8|2|1|1|1|0|0|0|0|1|2\n"
	    "<>|1|1|0|0|0|0|0|0|0|0|0\n");
	buf_free(&output.buf);
	set_up(NULL);
	output.format = OUTPUT_JSON;
	show_shape(false);
	assert_non_null(strstr(shown(),
	    "{\"domain\":\"example.test\",\"envelopes\":8,\"younger_than_minutes\":{\"5\":2,"
	    "\"10\":1,\"20\":1,\"40\":1,\"80\":0,\"160\":0,\"320\":0,\"640\":0,\"1280\":1},"
	    "\"older\":2}\n"));
	buf_free(&output.buf);
	set_up(NULL);
	output.format = OUTPUT_TABLE;
	output.width = 100;
	show_shape(false);
	for (const char *line = shown(); *line != '\0'; line = strchr(line, '\n') + 1)
		assert_in_range(strcspn(line, "\n"), 90, 100);
}

static void
test_stats_of_another_size_are_refused(void **state)
{
	struct show_stats stats;
	struct buf buf;

	(void)state;
	buf_init(&buf, 4096);
	for (uint64_t i = 0; i < STATS_COUNT + 1; i++)
		buf_add_u64(&buf, i);
	assert_true(show_stats_decode(buf.data, buf.length, &stats));
	assert_int_equal(stats.values[1], 1);
	assert_int_equal(stats.uptime, STATS_COUNT);
	assert_false(show_stats_decode(buf.data, buf.length - 1, &stats));
	buf_add_u8(&buf, 0);
	assert_false(show_stats_decode(buf.data, buf.length, &stats));
	buf_free(&buf);
}

static void
test_monitor_shows_gauges_and_growth(void **state)
{
	struct show_stats before = { .uptime = 1 }, now = { .uptime = 2 };
	const char *text;

	(void)state;
	before.values[STATS_SMTP_SESSION] = 7;
	now.values[STATS_SMTP_SESSION] = 5;
	before.values[STATS_DELIVERY_OK] = 100;
	now.values[STATS_DELIVERY_OK] = 103;
	now.values[STATS_BOUNCE] = 1;
	show_monitor(&output, &before, &now, 0);
	text = shown();
	assert_memory_equal(text, "--- client ---  -- envelope --", 30);
	assert_non_null(strstr(text,
	    "\n   5    0    0     0    0    0    3       0       0    0      0      0      1\n"));
	assert_in_range(widest(text), 70, 80);
	show_monitor(&output, &before, &now, 1);
	assert_null(strstr(shown(), "client"));
	show_monitor(&output, &before, &now, MONITOR_HEAD_EVERY);
	assert_memory_equal(shown(), "\n--- client", 11);
	output.format = OUTPUT_JSON;
	show_monitor(&output, &before, &now, 0);
	assert_non_null(strstr(shown(), "{\"client_current\":5,\"client_connected\":0,"));
}

static bool
show_key(enum output_format format, bool as_row, const char *text)
{
	char line[1000];

	strcpy(line, text);
	output.format = format;
	return show_dkim(&output, as_row, line);
}

static void
test_keys_are_listed_and_their_records_are_a_zones(void **state)
{
	static const char key[] = "a.test\ts1\ted25519\tactive\tv=DKIM1; k=ed25519; p=AbC/+=";
	char longer[700], expected[700];

	(void)state;
	assert_true(show_key(OUTPUT_LINES, true, key));
	assert_string_equal(shown(), "a.test|s1|ed25519|active\n");
	assert_true(show_key(OUTPUT_TABLE, true, key));
	assert_string_equal(shown(), "s1               ed25519   active   a.test\n");
	assert_true(show_key(OUTPUT_JSON, false, key));
	assert_string_equal(shown(),
	    "{\"domain\":\"a.test\",\"selector\":\"s1\",\"algorithm\":\"ed25519\","
	    "\"state\":\"active\",\"record\":\"v=DKIM1; k=ed25519; p=AbC/+=\"}\n");
	assert_true(show_key(OUTPUT_TABLE, false, key));
	assert_string_equal(
	    shown(), "s1._domainkey.a.test. IN TXT ( \"v=DKIM1; k=ed25519; p=AbC/+=\" )\n");
	assert_true(show_key(OUTPUT_LINES, false, "a.test\ts1\t-\tunusable\t"));
	assert_string_equal(shown(), "; s1 of a.test is unusable\n");
	(void)snprintf(longer, sizeof(longer), "a.test\ts1\trsa\tinactive\t%0300d", 0);
	(void)snprintf(expected, sizeof(expected),
	    "; not active: smtpctl dkim activate a.test s1\n"
	    "s1._domainkey.a.test. IN TXT ( \"%0250d\"\n\t\"%050d\" )\n",
	    0, 0);
	assert_true(show_key(OUTPUT_LINES, false, longer));
	assert_string_equal(shown(), expected);
	assert_false(show_key(OUTPUT_LINES, false, "a.test\ts1\trsa\tactive"));
	assert_false(show_key(OUTPUT_LINES, false, "a.test\ts1\trsa\tactive\tx\ty"));
	assert_false(show_key(OUTPUT_LINES, false, "a.test\ts1\trsa\tactive\tx\"\ny"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    test_a_queue_line_has_fourteen_fields, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_queue_line_knows_the_null_sender_flags_and_states, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_hostile_addresses_stay_in_their_fields, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_json_of_hostile_addresses_is_one_valid_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_json_names_every_part, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_table_fits_its_width_whatever_is_in_it, NULL, tear_down),
		cmocka_unit_test_setup_teardown(test_a_table_row_reads_well, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_an_envelope_is_shown_as_keys_and_values, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_users_are_listed_in_three_forms, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_aliases_and_domains_are_listed_in_three_forms, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_tls_results_are_listed_in_three_forms, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_who_is_slow_is_listed_in_three_forms, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_keys_are_listed_and_their_records_are_a_zones, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_counters_are_sorted_and_have_both_uptimes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_what_another_host_said_is_shown_with_its_envelope, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_destinations_are_listed_in_three_forms, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_table_of_destinations_fits_its_width, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_the_shape_of_the_queue_has_domains_by_age, set_up, tear_down),
		cmocka_unit_test(test_stats_of_another_size_are_refused),
		cmocka_unit_test_setup_teardown(
		    test_monitor_shows_gauges_and_growth, set_up, tear_down),
	};

	text_use_utf8();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
