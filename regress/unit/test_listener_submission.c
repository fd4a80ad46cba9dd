/*
 * The header of a submitted message, put right; the same however it comes in pieces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd/submission.h"

#define DATE  "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
#define ID    "Message-ID: <0.0000002a@mx.test>\r\n"
#define OWN   "Date: today\r\nMessage-ID: <x@y>\r\n"
#define ADDED DATE ID

static char stored[65536];
static size_t stored_length;

static void
store(void *arg, const void *data, size_t length)
{
	(void)arg;
	assert_true(stored_length + length < sizeof(stored));
	memcpy(stored + stored_length, data, length);
	stored_length += length;
	stored[stored_length] = '\0';
}

/* The text, whose lines end with CRLF, in pieces of so many bytes. */
static const char *
pass(const char *text, bool masquerade, size_t piece)
{
	const struct address sender = { "ann", "example.org" };
	const struct submission_options options = { "mx.test", 42, 0, masquerade, &sender };
	struct submission *submission = submission_new(&options, store, NULL);
	const char *end;

	assert_non_null(submission);
	stored_length = 0;
	stored[0] = '\0';
	while (*text != '\0') {
		end = strstr(text, "\r\n");
		assert_non_null(end);
		while (text < end) {
			size_t length = (size_t)(end - text) < piece ? (size_t)(end - text) : piece;

			if (submission_is_over(submission))
				store(NULL, text, length);
			else
				submission_text(submission, text, length);
			text += length;
		}
		if (submission_is_over(submission))
			store(NULL, "\r\n", 2);
		else
			submission_line_end(submission);
		text = end + 2;
	}
	submission_finish(submission);
	assert_true(submission_is_over(submission));
	submission_free(submission);
	return stored;
}

static void
becomes(const char *text, bool masquerade, const char *expected)
{
	static const size_t pieces[] = { 1, 2, 3, 7, 10000 };

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
		assert_string_equal(pass(text, masquerade, pieces[i]), expected);
}

static void
what_is_missing_is_added_at_the_headers_end(void **state)
{
	(void)state;
	becomes("Subject: x\r\n\r\nbody\r\n", false, "Subject: x\r\n" ADDED "\r\nbody\r\n");
	becomes("date: now\r\nSubject: x\r\n\r\n", false, "date: now\r\nSubject: x\r\n" ID "\r\n");
	becomes("MESSAGE-id : <a@b>\r\n\r\n", false, "MESSAGE-id : <a@b>\r\n" DATE "\r\n");
	becomes(OWN "\r\nDate: x\r\nBcc: y\r\n", false, OWN "\r\nDate: x\r\nBcc: y\r\n");
	/* Names that only begin like it. */
	becomes("Dates: x\r\nDat: y\r\n\r\n", false, "Dates: x\r\nDat: y\r\n" ADDED "\r\n");
	/* A continuation is no field. */
	becomes("Subject: x\r\n Date: y\r\n\r\n", false, "Subject: x\r\n Date: y\r\n" ADDED "\r\n");
}

static void
bcc_is_taken_out_with_its_continuations(void **state)
{
	(void)state;
	becomes(OWN "Bcc: a@b,\r\n c@d,\r\n\te@f\r\nTo: g@h\r\n\r\nx\r\n", false,
	    OWN "To: g@h\r\n\r\nx\r\n");
	becomes("bcc:\r\nBCC : x\r\nResent-Bcc: y\r\n" OWN "\r\n", false, OWN "\r\n");
	becomes("X-Bcc: x\r\nBccs: y\r\n" OWN "\r\n", false, "X-Bcc: x\r\nBccs: y\r\n" OWN "\r\n");
	becomes(OWN "Bcc: x\r\n", false, OWN);
}

static void
a_text_without_header_gets_one(void **state)
{
	(void)state;
	becomes("", false, ADDED);
	becomes("\r\n", false, ADDED "\r\n");
	becomes("\r\nDate: x\r\n", false, ADDED "\r\nDate: x\r\n");
	becomes("just text\r\nDate: x\r\n", false, ADDED "\r\njust text\r\nDate: x\r\n");
	becomes("text\r\n", false, ADDED "\r\ntext\r\n");
	becomes("From me Mon 12:00\r\nDate: x\r\n", false,
	    ADDED "\r\nFrom me Mon 12:00\r\nDate: x\r\n");
	becomes(": x\r\n", false, ADDED "\r\n: x\r\n");
	becomes("Subject: x\r\nno field\r\n", false, "Subject: x\r\n" ADDED "\r\nno field\r\n");
	becomes("Subject: x\r\n", false, "Subject: x\r\n" ADDED);
}

static void
from_becomes_the_sender(void **state)
{
	static const struct {
		const char *from;
		const char *becomes;
	} cases[] = {
		{ "From: boss@example.org\r\n", "From: <ann@example.org>\r\n" },
		{ "From: The Boss <boss@example.org>\r\n", "From: The Boss <ann@example.org>\r\n" },
		{ "from: \"B, <oss\\\"\" <b@c.org>\r\n",
		    "From: \"B, <oss\\\"\" <ann@example.org>\r\n" },
		{ "From: The\r\n Boss\r\n\t<b@c.org>\r\n",
		    "From: The Boss\t <ann@example.org>\r\n" },
		{ "From: a@b.org, Boss <b@c.org>\r\n", "From: <ann@example.org>\r\n" },
		{ "From: \"open <b@c.org>\r\n", "From: <ann@example.org>\r\n" },
		{ "From:<b@c.org>\r\n", "From: <ann@example.org>\r\n" },
		{ "From:\r\n", "From: <ann@example.org>\r\n" },
		{ "From: a@b\r\nFrom: c@d\r\n e\r\n", "From: <ann@example.org>\r\n" },
	};
	char text[500], expected[500];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "%s" OWN "\r\nx\r\n", cases[i].from);
		snprintf(expected, sizeof(expected), "%s" OWN "\r\nx\r\n", cases[i].becomes);
		becomes(text, true, expected);
		snprintf(text, sizeof(text), OWN "%s", cases[i].from);
		snprintf(expected, sizeof(expected), OWN "%s", cases[i].becomes);
		becomes(text, true, expected);
		snprintf(text, sizeof(text), "%s" OWN "\r\n", cases[i].from);
		becomes(text, false, text);
	}
	becomes(OWN "\r\nx\r\n", true, OWN "From: <ann@example.org>\r\n\r\nx\r\n");
}

static void
endless_names_and_values_have_their_room(void **state)
{
	static char text[20000], expected[20200];

	(void)state;
	memset(text, 'a', 6000);
	strcpy(text + 6000, ": x\r\n");
	snprintf(expected, sizeof(expected), ADDED "\r\n%s", text);
	becomes(text, false, expected);
	strcpy(text, "From: ");
	memset(text + 6, 'a', 9000);
	strcpy(text + 9006, " <b@c.org>\r\n" OWN "\r\n");
	becomes(text, true, "From: <ann@example.org>\r\n" OWN "\r\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_missing_is_added_at_the_headers_end),
		cmocka_unit_test(bcc_is_taken_out_with_its_continuations),
		cmocka_unit_test(a_text_without_header_gets_one),
		cmocka_unit_test(from_becomes_the_sender),
		cmocka_unit_test(endless_names_and_values_have_their_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
