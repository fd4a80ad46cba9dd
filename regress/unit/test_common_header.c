/*
 * The fields of a header: as they stand in real mail and in mail made to confuse, and what is taken from
 * them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/header.h"
#include "common/memory_file.h"

static char seen[8192];

static bool
add(const char *name, const char *value, void *arg)
{
	(void)arg;
	snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "[%s|%.60s]", name, value);
	return strcmp(name, "Stop") != 0;
}

static const char *
read_text(const char *text, size_t length)
{
	int fd = memory_file_make("message", text, length);

	*seen = '\0';
	header_read(fd, length, add, NULL);
	close(fd);
	return seen;
}

static const char *
fields(const char *text)
{
	return read_text(text, strlen(text));
}

static void
fields_are_read_until_the_header_ends(void **state)
{
	(void)state;
	assert_string_equal(fields("A: b\r\nC:d\r\n\r\nE: f\r\n"), "[A|b][C|d]");
	assert_string_equal(fields("A: b\nC: d \t\n\nE: f\n"), "[A|b][C|d]");
	assert_string_equal(
	    fields("A : b\r\n c\r\n\td\r\nE:\r\n f\r\n\r\n"), "[A|b\r c\r\td][E|f]");
	assert_string_equal(fields("A: b"), "[A|b]");
	assert_string_equal(fields(""), "");
	assert_string_equal(fields("\r\nA: b\r\n"), "");
	assert_string_equal(fields("A: b\r\nno field\r\nC: d\r\n"), "[A|b]");
	assert_string_equal(fields("Stop: b\r\nC: d\r\n"), "[Stop|b]");
	assert_string_equal(read_text("A: b\0c\r\n", 9), "[A|b?c]");
	assert_string_equal(fields(" A: b\r\nC: d\r\n"), "[ A|b][C|d]");
}

static void
long_fields_are_cut_and_long_headers_too(void **state)
{
	size_t size = 3 * HEADER_READ_MAX;
	char *text = malloc(size + 1);

	(void)state;
	memset(text, 'x', size);
	memcpy(text, "A: ", 3);
	memcpy(text + 100000, "\r\nB: c\r\nD: ", 11);
	memcpy(text + HEADER_READ_MAX + 5, "\r\nE: f\r\n", 8);
	text[size] = '\0';
	(void)fields(text);
	assert_memory_equal(seen, "[A|xxx", 6);
	assert_non_null(strstr(seen, "][B|c][D|xxx"));
	assert_null(strstr(seen, "[E|"));
	free(text);
}

static bool
was_delivered_to(const char *text, const char *address)
{
	int fd = memory_file_make("message", text, strlen(text));
	struct address wanted;
	bool found;

	assert_int_equal(
	    address_parse(address, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL, &wanted),
	    ADDRESS_OK);
	found = header_was_delivered_to(fd, strlen(text), &wanted);
	close(fd);
	return found;
}

static void
addresses_of_delivered_to_are_compared(void **state)
{
	static const char text[] =
	    "Received: x\r\nDelivered-To: ann@one.test\r\ndelivered-to: "
	    "<Bob@B\303\274cher.test>\r\nDelivered-To: joe\r\nX-Delivered-To: "
	    "eve@one.test\r\n\r\nDelivered-To: dan@one.test\r\n";

	(void)state;
	assert_true(was_delivered_to(text, "ann@one.test"));
	assert_true(was_delivered_to(text, "ANN@One.test"));
	assert_true(was_delivered_to(text, "bob@xn--bcher-kva.test"));
	assert_false(was_delivered_to(text, "ann@two.test"));
	assert_false(was_delivered_to(text, "dan@one.test"));
	assert_false(was_delivered_to(text, "eve@one.test"));
	assert_false(was_delivered_to(text, "joe"));
	assert_false(was_delivered_to(text, "joe@one.test"));
}

static bool
is_automatic(const char *text)
{
	return header_is_automatic(text, strlen(text));
}

static void
automatic_mail_says_so(void **state)
{
	static const char *const yes[] = { "Auto-Submitted: auto-replied\r\n\r\n",
		"auto-submitted: AUTO-GENERATED; x=y\n\n", "Auto-Submitted:\r\n auto-notified\r\n",
		"Precedence: bulk\r\n", "PRECEDENCE: List\r\n", "Precedence: junk (x)\r\n",
		"From: a\r\nList-Id: <a.b>\r\n", "List-Unsubscribe: <mailto:a@b>\r\n" };
	static const char *const no[] = { "", "From: a\r\n", "Auto-Submitted: no\r\n",
		"Auto-Submitted: No (really)\r\n", "Precedence: first-class\r\n",
		"X-List-Id: a\r\n", "From: a\r\n\r\nList-Id: b\r\n", "Subject: List-Id: x\r\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(is_automatic(yes[i]));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(is_automatic(no[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_read_until_the_header_ends),
		cmocka_unit_test(long_fields_are_cut_and_long_headers_too),
		cmocka_unit_test(addresses_of_delivered_to_are_compared),
		cmocka_unit_test(automatic_mail_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
