/*
 * TLS reports: the sums of a day outlive a restart and are bounded, and nothing that another server
 * said leaves its place in the report.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <cmocka.h>
#include <zlib.h>

#include "common/base64.h"
#include "lookup/tls_report.h"
#include "lookup/tls_rua.h"
#include "lookup/tls_sums.h"

#define DAY   86400
#define TODAY ((int64_t)20421 * DAY)

static char directory[64];

static int
set_up(void **state)
{
	(void)state;
	strlcpy(directory, "/tmp/test_directory_tls.XXXXXX", sizeof(directory));
	return mkdtemp(directory) == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static struct ipc_tls_result
result_of(const char *domain, enum report_result what, uint32_t sessions)
{
	struct ipc_tls_result result = { .result = what, .sessions = sessions };

	strlcpy(result.domain, domain, sizeof(result.domain));
	strlcpy(result.policy_domain, domain, sizeof(result.policy_domain));
	strlcpy(result.rua, "mailto:tls@reports.test", sizeof(result.rua));
	if (what != REPORT_RESULT_SUCCESS)
		strlcpy(result.mx, "mx.far.test", sizeof(result.mx));
	return result;
}

static void
like_results_are_one_sum_and_outlive_a_restart(void **state)
{
	struct ipc_tls_result good = result_of("far.test", REPORT_RESULT_SUCCESS, 2);
	struct ipc_tls_result bad = result_of("far.test", REPORT_RESULT_CERTIFICATE_EXPIRED, 1);
	char after[TLS_SUMS_KEY_MAX + 1] = "";
	struct tls_sums *sums;
	struct tls_day day;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		sums = tls_sums_new(directory);
		tls_sums_add(sums, &good, TODAY + 5);
		tls_sums_add(sums, &bad, TODAY + DAY - 1);
		tls_sums_free(sums);
	}
	sums = tls_sums_new(directory);
	/* The day isn't over. */
	assert_false(tls_sums_next(sums, TODAY / DAY, after, &day));
	assert_true(tls_sums_next(sums, TODAY / DAY + 1, after, &day));
	assert_int_equal(day.day, TODAY / DAY);
	assert_string_equal(day.domain, "far.test");
	assert_string_equal(day.rua, "mailto:tls@reports.test");
	assert_int_equal(day.count, 2);
	assert_int_equal(day.sums[0].sessions, 6);
	assert_int_equal(day.sums[1].sessions, 3);
	assert_int_equal(day.sums[1].result.result, REPORT_RESULT_CERTIFICATE_EXPIRED);
	assert_false(tls_sums_next(sums, TODAY / DAY + 1, after, &(struct tls_day){ 0 }));
	tls_sums_drop(sums, &day);
	tls_day_clear(&day);
	tls_sums_free(sums);
	sums = tls_sums_new(directory);
	*after = '\0';
	assert_false(tls_sums_next(sums, TODAY / DAY + 9, after, &day));
	tls_sums_free(sums);
}

static void
domains_and_days_come_one_by_one(void **state)
{
	static const char *const domains[] = { "a.test", "a.test.b.test", "b.test" };
	char after[TLS_SUMS_KEY_MAX + 1] = "";
	struct tls_sums *sums = tls_sums_new(directory);
	struct ipc_tls_result result;
	struct tls_day day;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		result = result_of(domains[i % 3], REPORT_RESULT_SUCCESS, i + 1);
		tls_sums_add(sums, &result, TODAY + i / 3 * DAY);
	}
	tls_sums_free(sums);
	sums = tls_sums_new(directory);
	for (unsigned i = 0; i < 6; i++) {
		assert_true(tls_sums_next(sums, TODAY / DAY + 2, after, &day));
		assert_int_equal(day.day, TODAY / DAY + i / 3);
		assert_string_equal(day.domain, domains[i % 3]);
		assert_int_equal(day.count, 1);
		assert_int_equal(day.sums[0].sessions, i + 1);
		if (i == 1)
			tls_sums_drop(sums, &day);
		tls_day_clear(&day);
	}
	*after = '\0';
	assert_true(tls_sums_next(sums, TODAY / DAY + 2, after, &day));
	tls_day_clear(&day);
	assert_true(tls_sums_next(sums, TODAY / DAY + 2, after, &day));
	assert_string_equal(day.domain, "b.test");
	tls_day_clear(&day);
	tls_sums_free(sums);
}

/* A server that says something else each time: its particulars end, its number goes on. */
static void
kinds_are_bounded_and_none_is_uncounted(void **state)
{
	char after[TLS_SUMS_KEY_MAX + 1] = "";
	struct tls_sums *sums = tls_sums_new(directory);
	struct ipc_tls_result result;
	uint64_t sessions = 0;
	struct tls_day day;

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		result = result_of("far.test", REPORT_RESULT_VALIDATION_FAILURE, 1);
		snprintf(result.reason, sizeof(result.reason), "reason %u", i);
		snprintf(result.strings, sizeof(result.strings), "3 1 1 %04u\n", i);
		result.policy = REPORT_POLICY_TLSA;
		tls_sums_add(sums, &result, TODAY);
	}
	tls_sums_free(sums);
	sums = tls_sums_new(directory);
	assert_true(tls_sums_next(sums, TODAY / DAY + 1, after, &day));
	assert_int_equal(day.count, TLS_SUMS_KINDS_MAX + 1);
	for (size_t i = 0; i < day.count; i++)
		sessions += day.sums[i].sessions;
	assert_int_equal(sessions, 500);
	tls_sums_drop(sums, &day);
	tls_day_clear(&day);
	assert_false(tls_sums_next(sums, TODAY / DAY + 1, (*after = '\0', after), &day));
	tls_sums_free(sums);
}

/* The JSON of one sum with that reason, its "failure-reason-code" and what follows. */
static void
assert_reason(const char *reason, const char *json)
{
	struct tls_sum sum = { .sessions = 1,
		.result = result_of("far.test", REPORT_RESULT_VALIDATION_FAILURE, 1) };
	struct tls_day day = { .day = TODAY / DAY, .sums = &sum, .count = 1 };
	struct address from = { .local = "tls", .domain = "example.test" };
	struct tls_report report = { .day = &day, .from = &from, .to = &from, .id = "x" };
	char expected[400];
	struct buf buf;

	strlcpy(sum.result.reason, reason, sizeof(sum.result.reason));
	buf_init(&buf, 100000);
	tls_report_json(&buf, &report);
	buf_add_u8(&buf, '\0');
	assert_true(buf_ok(&buf));
	snprintf(expected, sizeof(expected),
	    "\"failure-reason-code\":\"%s\",\"failed-session-count\":1}]}]}\n", json);
	assert_non_null(strstr((const char *)buf.data, expected));
	buf_free(&buf);
}

static void
words_of_others_stay_in_their_string(void **state)
{
	(void)state;
	assert_reason("a\"b\\c", "a\\\"b\\\\c");
	assert_reason("a\r\nb\x01\x7f", "a\\u000d\\u000ab\\u0001\\u007f");
	assert_reason("Gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2 \xf0\x9f\x93\xa7",
	    "Gr\xc3\xbc\xc3\x9f \xe6\xbc\xa2 \xf0\x9f\x93\xa7");
	/* Latin-1, a lone byte, too long a form, a surrogate, beyond Unicode, cut short. */
	assert_reason("Gr\xfc\xdf", "Gr\\ufffd\\ufffd");
	assert_reason("\x80\xc0\xaf", "\\ufffd\\ufffd\\ufffd");
	assert_reason("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd");
	assert_reason("\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd");
	assert_reason("x\xe6\xbc", "x\\ufffd\\ufffd");
}

/* RFC 8460 B, as far as it is ours. */
static void
the_json_is_as_the_rfc_has_it(void **state)
{
	struct tls_sum sums[4];
	struct tls_day day = { .day = TODAY / DAY, .sums = sums, .count = 4 };
	struct address from = { .local = "tls", .domain = "example.test" };
	struct tls_report report = { .day = &day, .from = &from, .to = &from, .id = "r.1" };
	struct buf buf;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		sums[i] = (struct tls_sum){ .sessions = 10 + i,
			.result = result_of("far.test",
			    i == 1 ? REPORT_RESULT_CERTIFICATE_NOT_TRUSTED : REPORT_RESULT_SUCCESS,
			    1) };
	sums[1].result.policy = sums[2].result.policy = REPORT_POLICY_TLSA;
	strlcpy(sums[1].result.sending, "192.0.2.1", sizeof(sums[1].result.sending));
	strlcpy(sums[1].result.receiving, "2001:db8::1", sizeof(sums[1].result.receiving));
	for (unsigned i = 1; i < 3; i++) {
		strlcpy(
		    sums[i].result.strings, "3 1 1 00\n3 1 1 FF\n", sizeof(sums[i].result.strings));
		strlcpy(sums[i].result.policy_domain, "mx.far.test",
		    sizeof(sums[i].result.policy_domain));
	}
	sums[3].result.policy = REPORT_POLICY_STS;
	strlcpy(sums[3].result.patterns, "*.far.test\n", sizeof(sums[3].result.patterns));
	buf_init(&buf, 100000);
	tls_report_json(&buf, &report);
	buf_add_u8(&buf, '\0');
	assert_string_equal((const char *)buf.data,
	    "{\"organization-name\":\"example.test\",\"date-range\":{"
	    "\"start-datetime\":\"2025-11-29T00:00:00Z\",\"end-datetime\":\"2025-11-29T23:59:59Z\"}"
	    ","
	    "\"contact-info\":\"tls@example.test\",\"report-id\":\"r.1\",\"policies\":["
	    "{\"policy\":{\"policy-type\":\"no-policy-found\",\"policy-domain\":\"far.test\"},"
	    "\"summary\":{\"total-successful-session-count\":10,\"total-failure-session-count\":0},"
	    "\"failure-details\":[]},"
	    "{\"policy\":{\"policy-type\":\"tlsa\",\"policy-string\":[\"3 1 1 00\",\"3 1 1 FF\"],"
	    "\"policy-domain\":\"mx.far.test\"},"
	    "\"summary\":{\"total-successful-session-count\":12,\"total-failure-session-count\":11}"
	    ","
	    "\"failure-details\":[{\"result-type\":\"certificate-not-trusted\","
	    "\"sending-mta-ip\":\"192.0.2.1\",\"receiving-mx-hostname\":\"mx.far.test\","
	    "\"receiving-ip\":\"2001:db8::1\",\"failed-session-count\":11}]},"
	    "{\"policy\":{\"policy-type\":\"sts\",\"policy-string\":[],\"policy-domain\":\"far."
	    "test\","
	    "\"mx-host\":[\"*.far.test\"]},"
	    "\"summary\":{\"total-successful-session-count\":13,\"total-failure-session-count\":0},"
	    "\"failure-details\":[]}]}\n");
	buf_free(&buf);
}

static void
the_mail_holds_the_json_compressed(void **state)
{
	struct tls_sum sum = { .sessions = 7,
		.result = result_of("far.test", REPORT_RESULT_SUCCESS, 1) };
	struct tls_day day = { .day = TODAY / DAY, .domain = "far.test", .sums = &sum, .count = 1 };
	struct address from = { .local = "tls", .domain = "example.test" };
	struct address to = { .local = "in box", .domain = "far.test" };
	struct tls_report report = { .day = &day, .from = &from, .to = &to, .id = "r.1", .now = 1 };
	static uint8_t packed[4096], json[4096];
	char *at, *end, *write;
	z_stream stream = { .next_in = packed, .next_out = json, .avail_out = sizeof(json) };
	struct buf buf, expected;
	size_t length;

	(void)state;
	buf_init(&buf, 100000);
	buf_init(&expected, 100000);
	assert_true(tls_report_mail(&buf, &report));
	buf_add_u8(&buf, '\0');
	at = (char *)buf.data;
	assert_non_null(strstr(at, "\r\nTo: <\"in box\"@far.test>\r\n"));
	assert_non_null(strstr(at,
	    "\r\nSubject: Report Domain: far.test\r\n Submitter: example.test\r\n"
	    " Report-ID: <r.1@example.test>\r\n"));
	assert_non_null(strstr(at, "\r\nTLS-Required: No\r\n"));
	assert_non_null(
	    strstr(at, "filename=\"example.test!far.test!1764374400!1764460799.json.gz\""));
	for (char *line = at; (line = strchr(line, '\n')) != NULL; line++)
		assert_true(line > at && line[-1] == '\r');
	at = strstr(strstr(at, ".json.gz"), "\r\n\r\n") + 4;
	end = strstr(at, "\r\n\r\n--");
	assert_non_null(end);
	for (char *read = write = at; read < end; read++)
		if (*read != '\r' && *read != '\n')
			*write++ = *read;
	assert_true(base64_decode(at, (size_t)(write - at), packed, sizeof(packed), &length));
	stream.avail_in = (uInt)length;
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	tls_report_json(&expected, &report);
	assert_int_equal(stream.total_out, expected.length);
	assert_memory_equal(json, expected.data, expected.length);
	(void)inflateEnd(&stream);
	buf_free(&buf);
	buf_free(&expected);
}

static void
places_that_can_be_used_come_in_order(void **state)
{
	char text[TLS_RUA_TEXT_MAX + 1], all[2000];
	struct tls_rua to;
	const char *at;
	static const struct {
		const char *rua, *places; /* each followed by a blank */
	} cases[] = {
		{ "mailto:tls@far.test", "tls@far.test " },
		{ "https://far.test/tls , MAILTO:tls%2Bin@far.test?subject=x",
		    "https://far.test/tls tls+in@far.test " },
		{ "mailto:a@far.test,mailto:b@far.test", "a@far.test b@far.test " },
		{ "mailto:a b@far.test,mailto:b@far.test", "b@far.test " },
		{ "HTTPS://Far.Test", "https://far.test/ " },
		{ "https://far.test:8443?a=b#c,https://far.test:443/x%20y/#z",
		    "https://far.test:8443/?a=b https://far.test/x%20y/ " },
		{ "https://xn--bcher-kva.test/", "https://xn--bcher-kva.test/ " },
		{ "https://far.test/ x,https://far.test/y", "https://far.test/y " },
		/* Addresses, users, and what else is none of this. */
		{ "https://127.0.0.1/,https://[::1]/,https://0x7f.1/,https://2130706433/", "" },
		{ "https://user@far.test/,https://user:pass@far.test/", "" },
		{ "https:/far.test/,https:far.test,https:///x,https://:443/,https://", "" },
		{ "https://far.test:/,https://far.test:0/,https://far.test:65536/,"
		  "https://far.test:00443/,https://far.test:4x/,https://far.test:-1/",
		    "https://far.test/ " },
		{ "https://far..test/,https://far.test%2f/,https://far.test\\@x/", "" },
		{ "http://far.test/,ftp://far.test/,mailto:,mailto:a", "" },
		{ "mailto:a%0d%0aBcc:b@far.test", "" },
		{ "mailto:a%4", "" },
		{ "mailto:a%00@far.test", "" },
		{ ",,,", "" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		*all = '\0';
		for (at = cases[i].rua; tls_rua_next(&at, &to);) {
			tls_rua_format(&to, text);
			strlcat(all, text, sizeof(all));
			strlcat(all, " ", sizeof(all));
		}
		assert_string_equal(all, cases[i].places);
		assert_int_equal(*at, '\0');
	}
}

/* The next times of a day go on from there, and know nothing of other days'. */
static void
times_of_tries_outlive_a_restart(void **state)
{
	struct ipc_tls_result result = result_of("far.test", REPORT_RESULT_SUCCESS, 2);
	char after[TLS_SUMS_KEY_MAX + 1] = "";
	struct tls_sums *sums = tls_sums_new(directory);
	struct tls_day day;

	(void)state;
	tls_sums_add(sums, &result, TODAY);
	tls_sums_add(sums, &result, TODAY + DAY);
	tls_sums_write(sums);
	assert_true(tls_sums_next(sums, TODAY / DAY + 2, after, &day));
	assert_int_equal(day.first_tried, 0);
	assert_int_equal(day.next_try, 0);
	tls_sums_note_try(sums, &day, 1000, 2000);
	tls_day_clear(&day);
	/* Another session doesn't change them. */
	tls_sums_add(sums, &result, TODAY);
	tls_sums_free(sums);
	sums = tls_sums_new(directory);
	*after = '\0';
	assert_true(tls_sums_next(sums, TODAY / DAY + 2, after, &day));
	assert_int_equal(day.first_tried, 1000);
	assert_int_equal(day.next_try, 2000);
	assert_int_equal(day.sums[0].sessions, 4);
	assert_string_equal(day.rua, "mailto:tls@reports.test");
	tls_day_clear(&day);
	assert_true(tls_sums_next(sums, TODAY / DAY + 2, after, &day));
	assert_int_equal(day.first_tried, 0);
	/* What has gone isn't noted. */
	tls_sums_drop(sums, &day);
	tls_sums_free(sums);
	tls_day_clear(&day);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    like_results_are_one_sum_and_outlive_a_restart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    domains_and_days_come_one_by_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    kinds_are_bounded_and_none_is_uncounted, set_up, tear_down),
		cmocka_unit_test(words_of_others_stay_in_their_string),
		cmocka_unit_test(the_json_is_as_the_rfc_has_it),
		cmocka_unit_test(the_mail_holds_the_json_compressed),
		cmocka_unit_test(places_that_can_be_used_come_in_order),
		cmocka_unit_test_setup_teardown(
		    times_of_tries_outlive_a_restart, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
