/* The texts of MTA-STS: TXT records, policies, patterns; and answers of web servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/relay_http.h"
#include "deliver/relay_outcome.h"
#include "deliver/relay_sts_policy.h"

static struct ipc_sts_policy policy;
static char why[200];

/* The id of these records, "" none; NULL ends them. */
static const char *
id_of(const char *first, const char *second)
{
	static char id[IPC_STS_ID_MAX + 1];
	static struct ipc_answer answer;

	answer.status = ANSWER_FOUND;
	answer.count = second == NULL ? 1 : 2;
	answer.records[0].data = (const uint8_t *)first;
	answer.records[0].length = (uint16_t)strlen(first);
	if (second != NULL) {
		answer.records[1].data = (const uint8_t *)second;
		answer.records[1].length = (uint16_t)strlen(second);
	}
	assert_true(sts_record_id(&answer, id) == (*id != '\0'));
	return id;
}

static void
test_record(void **state)
{
	static const char *const bad[] = { "", "v=STSv1", "v=STSv1;", "v=STSv2; id=1;",
		"v=STSv1; id=;", "v=STSv1; id=a-b;", "V=STSv1; id=1;", "v=stsv1; id=1;",
		"v=STSv1 id=1;", "id=1; v=STSv1;", "v=STSv1;; id=1;", "v=STSv1; id=1; x",
		"v=STSv1; id=1; x=;", "v=STSv1; id=1; x=a=b;", "v=STSv1; id=1; =a;",
		"v=STSv1; id=123456789012345678901234567890123;", " v=STSv1; id=1;",
		"v=STSv1; id=1 2;", "v=STSv1; ID=1;", "v=STSv1; id=1; -x=1" };

	(void)state;
	assert_string_equal(id_of("v=STSv1; id=20160831085700Z;", NULL), "20160831085700Z");
	assert_string_equal(id_of("v=STSv1;id=aB1", NULL), "aB1");
	assert_string_equal(id_of("v=STSv1 ; \t id=1 ; ", NULL), "1");
	assert_string_equal(id_of("v=STSv1; a.b-c_d=~x!; id=1; id=2;", NULL), "1");
	assert_string_equal(id_of("v=STSv1; id=12345678901234567890123456789012", NULL),
	    "12345678901234567890123456789012");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(id_of(bad[i], NULL), "");
}

static void
test_only_one_record_of_this_version_counts(void **state)
{
	(void)state;
	assert_string_equal(id_of("v=spf1 -all", "v=STSv1; id=1;"), "1");
	assert_string_equal(id_of("v=STSv2; id=2;", "v=STSv1; id=1;"), "1");
	assert_string_equal(id_of("v=STSv1; id=1;", "v=STSv1; id=1;"), "");
	assert_string_equal(id_of("v=STSv1; id=1;", "v=STSv1; junk"), "");
}

static bool
parses(const char *text)
{
	return sts_policy_parse(&policy, text, strlen(text), why, sizeof(why));
}

static void
test_policy(void **state)
{
	(void)state;
	assert_true(parses("version: STSv1\r\nmode: enforce\r\nmx: mail.Example.com\r\n"
	                   "mx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n"));
	assert_int_equal(policy.mode, STS_MODE_ENFORCE);
	assert_int_equal(policy.max_age, 604800);
	assert_string_equal(policy.mx, "mail.example.com *.example.net backupmx.example.com ");
	assert_true(parses("version:STSv1\nmode:\t testing \nmx:a.test\nmax_age:0"));
	assert_int_equal(policy.mode, STS_MODE_TESTING);
	assert_true(parses("max_age: 9999999999\nmode: none\nversion: STSv1\n\n"));
	assert_int_equal(policy.max_age, IPC_STS_MAX_AGE_MAX);
	/* RFC 8461 3.2: others are ignored, and so are all but the first. */
	assert_true(parses("version: STSv1\nversion: 2\nmode: enforce\nmode: none\nmx: a.test\n"
	                   "max_age: 10\nmax_age: x\nsome.thing-else_: \303\244 b: c\n"));
	assert_int_equal(policy.mode, STS_MODE_ENFORCE);
	assert_int_equal(policy.max_age, 10);
}

static void
test_what_is_no_policy(void **state)
{
	static const struct {
		const char *text;
		const char *why;
	} bad[] = {
		{ "", "no version" },
		{ "<html>", "a colon" },
		{ "version: STSv2\nmode: none\nmax_age: 1", "version" },
		{ "mode: none\nmax_age: 1", "no version" },
		{ "version: STSv1\nmax_age: 1", "no mode" },
		{ "version: STSv1\nmode: none", "no max_age" },
		{ "version: STSv1\nmode: Enforce\nmx: a.test\nmax_age: 1", "its mode" },
		{ "version: STSv1\nmode: enforce\nmax_age: 1", "no mx" },
		{ "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1", "its mx" },
		{ "version: STSv1\nmode: enforce\nmx: a.*.test\nmax_age: 1", "its mx" },
		{ "version: STSv1\nmode: enforce\nmx: a..test\nmax_age: 1", "its mx" },
		{ "version: STSv1\nmode: enforce\nmx: a.test b.test\nmax_age: 1", "its mx" },
		{ "version: STSv1\nmode: enforce\nmx: \nmax_age: 1", "its mx" },
		{ "version: STSv1\nmode: enforce\nmx: a_b.test\nmax_age: 1", "its mx" },
		{ "version: STSv1\nmode: none\nmax_age: -1", "max_age" },
		{ "version: STSv1\nmode: none\nmax_age: 12345678901", "max_age" },
		{ "version: STSv1\nmode: none\nmax_age: 1\nx:\001", "control" },
		{ "version: STSv1\nmode: none\nmax_age: 1\n: x", "a colon" },
	};
	static const char with_nul[] = "version: STSv1\nmode: none\nmax_age: 1\nx:\0y";
	char *many = malloc(STS_TEXT_MAX);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		*why = '\0';
		assert_false(parses(bad[i].text));
		if (strstr(why, bad[i].why) == NULL)
			fail_msg("%s: %s", bad[i].text, why);
	}
	assert_false(sts_policy_parse(&policy, with_nul, sizeof(with_nul) - 1, why, sizeof(why)));
	assert_non_null(many);
	strcpy(many, "version: STSv1\nmode: enforce\nmax_age: 1\n");
	for (size_t i = 0, at = strlen(many); i < 1200; i++)
		at += (size_t)sprintf(many + at, "mx: host%05zu.test\n", i);
	assert_false(parses(many));
	assert_non_null(strstr(why, "more mx than can be kept"));
	free(many);
}

static void
test_patterns(void **state)
{
	const char *mx = "mail.example.com *.example.net ";

	(void)state;
	assert_true(sts_mx_has(mx, "mail.example.com"));
	assert_true(sts_mx_has(mx, "MAIL.example.COM"));
	assert_true(sts_mx_has(mx, "a.example.net"));
	assert_false(sts_mx_has(mx, "example.net"));
	assert_false(sts_mx_has(mx, ".example.net"));
	assert_false(sts_mx_has(mx, "a.b.example.net"));
	assert_false(sts_mx_has(mx, "mail.example.com.evil.test"));
	assert_false(sts_mx_has(mx, "xmail.example.com"));
	assert_false(sts_mx_has(mx, "a.example.net."));
	assert_false(sts_mx_has("", "mail.example.com"));
}

static struct http_response response;

/* The answer in pieces of one byte, and whole: what comes of it, and its content. */
static enum http_result
read_answer(const char *text, size_t most, bool has_end)
{
	enum http_result result[2];

	for (size_t turn = 0; turn < 2; turn++) {
		size_t length = strlen(text), piece = turn == 0 ? 1 : length;

		http_response_free(&response);
		http_response_init(&response, most);
		result[turn] = HTTP_MORE;
		for (size_t at = 0; at < length && result[turn] == HTTP_MORE; at += piece)
			result[turn] = http_response_feed(&response, text + at, piece);
		if (has_end && result[turn] == HTTP_MORE)
			result[turn] = http_response_end(&response);
	}
	assert_int_equal(result[0], result[1]);
	return result[0];
}

static void
check_answer(const char *text, unsigned code, const char *content)
{
	assert_int_equal(read_answer(text, 100, true), HTTP_DONE);
	assert_int_equal(response.code, code);
	assert_int_equal(response.content.length, strlen(content));
	if (*content != '\0')
		assert_memory_equal(response.content.data, content, strlen(content));
}

static void
test_answers(void **state)
{
	(void)state;
	check_answer("HTTP/1.1 200 OK\r\nContent-Type: Text/Plain;charset=x\r\n"
	             "Content-Length: 5\r\n\r\nhellobehind",
	    200, "hello");
	assert_string_equal(response.type, "text/plain");
	check_answer("HTTP/1.0 404\ncontent-length:0\n\n", 404, "");
	check_answer("HTTP/1.1 200 OK\r\n\r\nup to the end", 200, "up to the end");
	check_answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 301 Moved\r\nLocation: x\r\n"
	             "Content-Length: 2\r\n\r\nab",
	    301, "ab");
	check_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n"
	             "00A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
	    200, "hello0123456789");
	check_answer("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", 204, "");
	check_answer(
	    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", 200, "ab");
}

static void
test_broken_answers(void **state)
{
	static const char *const bad[] = { "SSH-2.0-OpenSSH\r\n", "HTTP/2 200\r\n",
		"HTTP/1.1 2000\r\n", "HTTP/1.1 099 x\r\n", "HTTP/1.1 600 x\r\n",
		"HTTP/1.1 101 Switching\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n",
		"HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n",
		"HTTP/1.1 200 OK\r\nA: \001\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" };
	char *long_one = malloc(HTTP_HEAD_MAX + 100);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (read_answer(bad[i], 100, true) != HTTP_BROKEN)
			fail_msg("taken: %s", bad[i]);
	/* One that is cut off. */
	assert_int_equal(read_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", 100, true),
	    HTTP_BROKEN);
	assert_non_null(long_one);
	memset(long_one, 'a', HTTP_HEAD_MAX + 100);
	memcpy(long_one, "HTTP/1.1 200 OK\r\nA: ", 20);
	long_one[HTTP_LINE_MAX + 100] = '\0';
	assert_int_equal(read_answer(long_one, 100, false), HTTP_BROKEN);
	strcpy(long_one, "HTTP/1.1 200 OK\r\n");
	while (strlen(long_one) < HTTP_HEAD_MAX)
		strcat(long_one, "Set-Cookie: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n");
	assert_int_equal(read_answer(long_one, 100, false), HTTP_BROKEN);
	free(long_one);
}

static void
test_content_that_is_too_long(void **state)
{
	static const char *const bad[] = { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nabcde",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (read_answer(bad[i], 4, false) != HTTP_TOO_LARGE)
			fail_msg("taken: %s", bad[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_only_one_record_of_this_version_counts),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_what_is_no_policy),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_broken_answers),
		cmocka_unit_test(test_content_that_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
