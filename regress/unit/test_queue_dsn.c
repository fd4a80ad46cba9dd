/*
 * The text of delivery status notifications. Each is read back as a MIME reader would: header,
 * parts by their boundary, fields by their lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue/dsn.h"

#define BOUNDARY "=_0123456789abcdef"

static const char text[] = "Received: from client.test\r\n"
                           "Subject: =?utf-8?q?hello?=\r\n"
                           "From: erin@client.test\r\n"
                           "\r\n"
                           "the body\r\n";

struct report {
	struct transaction transaction;
	struct envelope envelopes[2];
	struct reply replies[2];
	struct dsn_recipient recipients[2];
	struct address to;
	struct dsn dsn;
	char *whole; /* NUL-terminated */
	char *part[3];
};

static void
prepare(struct report *report, enum dsn_kind kind)
{
	memset(report, 0, sizeof(*report));
	report->transaction.message_id = 0x11223344;
	report->transaction.created_us = 1700000000000000;
	strcpy(report->transaction.helo, "client.test");
	strcpy(report->to.local, "erin");
	strcpy(report->to.domain, "client.test");
	report->transaction.sender = report->to;
	for (unsigned i = 0; i < 2; i++) {
		report->envelopes[i].id = envelope_id_make(0x11223344, i + 1);
		strcpy(report->envelopes[i].rcpt.local, i == 0 ? "alice" : "bob");
		strcpy(report->envelopes[i].rcpt.domain, "example.test");
		report->envelopes[i].dest = report->envelopes[i].rcpt;
		report->envelopes[i].last_try = 1700000100;
		report->envelopes[i].expires = 1700400000;
		report->recipients[i].envelope = &report->envelopes[i];
		report->recipients[i].reply = &report->replies[i];
	}
	reply_set(&report->replies[0], 550, "5.1.1", "no such user here");
	reply_set(&report->replies[1], 452, "4.2.2", "mailbox is full");
	report->dsn = (struct dsn){ .kind = kind,
		.hostname = "mx.example.test",
		.to = &report->to,
		.message_id = 0xaabbccdd,
		.now = 1700000200,
		.boundary = BOUNDARY,
		.original = &report->transaction,
		.recipients = report->recipients,
		.recipient_count = 1,
		.text = (const uint8_t *)text,
		.text_length = sizeof(text) - 1 };
}

/* Builds it and cuts it into its three parts, checking that there are exactly three. */
static void
make(struct report *report)
{
	const char *const delimiter = "--" BOUNDARY "\r\n";
	const char *const end = "\r\n--" BOUNDARY "--\r\n";
	struct buf buf;
	char *at, *next;

	buf_init(&buf, 1 << 20);
	dsn_build(&buf, &report->dsn);
	assert_true(buf_ok(&buf));
	report->whole = malloc(buf.length + 1);
	assert_non_null(report->whole);
	memcpy(report->whole, buf.data, buf.length);
	report->whole[buf.length] = '\0';
	/* Every line ends with CRLF, and no line has a control character in it. */
	for (size_t i = 0; i < buf.length; i++) {
		if (buf.data[i] == '\n')
			assert_true(i > 0 && buf.data[i - 1] == '\r');
		else if (buf.data[i] == '\r')
			assert_true(i + 1 < buf.length && buf.data[i + 1] == '\n');
		else
			assert_true(buf.data[i] >= ' ' || buf.data[i] == '\t');
	}
	buf_free(&buf);
	at = report->whole;
	for (unsigned i = 0; i < 3; i++) {
		next = strstr(at, delimiter);
		assert_non_null(next);
		at = report->part[i] = next + strlen(delimiter);
	}
	assert_null(strstr(at, delimiter));
	next = strstr(at, end);
	assert_non_null(next);
	assert_string_equal(next, end);
	next[2] = '\0';
	report->part[1][-(ptrdiff_t)strlen(delimiter)] = '\0';
	report->part[2][-(ptrdiff_t)strlen(delimiter)] = '\0';
}

static bool
has(const char *where, const char *what)
{
	return strstr(where, what) != NULL;
}

static void
a_failure_says_all_that_is_known(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_FAILED);
	strcpy(report.transaction.dsn_envid, "QQ314159");
	strcpy(report.envelopes[0].dsn_orcpt, "rfc822;Alice+20A@example.test");
	report.dsn.recipient_count = 2;
	make(&report);
	assert_true(
	    has(report.whole, "From: Mail Delivery System <MAILER-DAEMON@mx.example.test>\r\n"));
	assert_true(has(report.whole, "\r\nTo: <erin@client.test>\r\n"));
	assert_true(has(report.whole, "\r\nAuto-Submitted: auto-replied\r\n"));
	assert_true(has(report.whole,
	    "\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n"
	    "\tboundary=\"" BOUNDARY "\"\r\n"));
	assert_true(has(report.part[0], "Content-Type: text/plain; charset=us-ascii\r\n"));
	assert_true(
	    has(report.part[0], "<alice@example.test>:\r\n    550 5.1.1 no such user here\r\n"));
	assert_true(has(report.part[1],
	    "Content-Type: message/delivery-status\r\n\r\n"
	    "Reporting-MTA: dns; mx.example.test\r\n"
	    "Original-Envelope-Id: QQ314159\r\n"));
	assert_true(has(report.part[1], "\r\nArrival-Date: Tue, 14 Nov 2023 "));
	/* RFC 3464 2.3: a group for each recipient, after an empty line */
	assert_true(has(report.part[1],
	    "\r\n\r\nOriginal-Recipient: rfc822;Alice A@example.test\r\n"
	    "Final-Recipient: rfc822; alice@example.test\r\n"
	    "Action: failed\r\n"
	    "Status: 5.1.1\r\n"
	    "Diagnostic-Code: smtp; 550 5.1.1 no such user here\r\n"
	    "Last-Attempt-Date: "));
	/* The class of the status is that of the action, whatever the last answer was. */
	assert_true(has(report.part[1],
	    "\r\n\r\nFinal-Recipient: rfc822; bob@example.test\r\n"
	    "Action: failed\r\n"
	    "Status: 5.2.2\r\n"
	    "Diagnostic-Code: smtp; 452 4.2.2 mailbox is full\r\n"));
	assert_false(has(report.part[1], "Will-Retry-Until"));
	assert_true(has(report.part[2], "Content-Type: text/rfc822-headers\r\n\r\nReceived:"));
	assert_true(has(report.part[2], "From: erin@client.test\r\n"));
	assert_false(has(report.part[2], "the body"));
	free(report.whole);
}

static void
the_whole_message_comes_back_when_asked_for(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_FAILED);
	report.dsn.is_full = true;
	make(&report);
	assert_true(has(report.part[2], "Content-Type: message/rfc822\r\n\r\nReceived:"));
	assert_true(has(report.part[2], "\r\n\r\nthe body\r\n"));
	free(report.whole);
}

static void
no_envid_and_no_orcpt_make_no_fields(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_FAILED);
	*report.replies[0].enhanced = '\0';
	make(&report);
	/* RFC 3461 6.3 (a), (d), (g) */
	assert_false(has(report.part[1], "Original-Envelope-Id"));
	assert_false(has(report.part[1], "Original-Recipient"));
	assert_true(has(report.part[1], "\r\nStatus: 5.0.0\r\n"));
	free(report.whole);
}

static void
a_delay_says_until_when(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_DELAYED);
	report.recipients[0].reply = &report.replies[1];
	make(&report);
	assert_true(has(report.part[1], "\r\nAction: delayed\r\nStatus: 4.2.2\r\n"));
	assert_true(has(report.part[1], "\r\nWill-Retry-Until: Sun, 19 Nov 2023 "));
	assert_true(has(report.part[0], "    Attempts go on until Sun, 19 Nov 2023 "));
	free(report.whole);
	/* Nothing was tried yet: held up by something else. */
	prepare(&report, DSN_DELAYED);
	report.recipients[0].reply = NULL;
	report.envelopes[0].last_try = 0;
	make(&report);
	assert_true(has(report.part[1], "\r\nStatus: 4.0.0\r\n"));
	assert_false(has(report.part[1], "Diagnostic-Code"));
	assert_false(has(report.part[1], "Last-Attempt-Date"));
	free(report.whole);
}

static void
a_success_is_told_as_one(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_DELIVERED);
	reply_set(&report.replies[0], 250, "2.0.0", "delivered");
	report.dsn.is_full = false;
	make(&report);
	assert_true(has(report.part[1], "\r\nAction: delivered\r\nStatus: 2.0.0\r\n"));
	assert_false(has(report.part[1], "Diagnostic-Code"));
	free(report.whole);
}

static void
smtputf8_mail_gets_the_types_of_rfc_6533(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_FAILED);
	report.transaction.smtputf8 = true;
	strcpy(report.envelopes[0].rcpt.local, "\xc3\xa4lice");
	make(&report);
	assert_true(has(report.whole, "report-type=global-delivery-status;"));
	assert_true(has(report.part[1],
	    "Content-Type: message/global-delivery-status\r\n"
	    "Content-Transfer-Encoding: 8bit\r\n"));
	assert_true(has(report.part[1], "Final-Recipient: utf-8; \xc3\xa4lice@example.test\r\n"));
	assert_true(has(report.part[2], "Content-Type: message/global-headers\r\n"));
	free(report.whole);
}

static void
no_word_of_a_peer_leaves_its_line_or_part(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_FAILED);
	/* None of these passes decoding; the text doesn't rely on that. */
	strcpy(report.replies[0].text, "no\r\n--" BOUNDARY "\r\nX: y\x1b[2J\xff");
	strcpy(report.transaction.helo, "evil\r\nAction: delivered");
	strcpy(report.transaction.dsn_envid, "id\r\nX-Forged: 1");
	strcpy(report.envelopes[0].dsn_orcpt, "rfc822;a+0D+0AX-Forged:+202@b");
	make(&report);
	assert_false(has(report.part[1], "\nX-Forged"));
	assert_false(has(report.part[1], "\nX: y"));
	assert_false(has(report.part[1], "\nAction: delivered"));
	assert_true(has(report.part[1], "Received-From-MTA: dns; evil??Action: delivered\r\n"));
	/* What xtext hides stays hidden. */
	assert_true(has(report.part[1], "Original-Recipient: rfc822;a+0D+0AX-Forged: 2@b\r\n"));
	free(report.whole);
}

static void
headers_end_at_the_first_empty_line(void **state)
{
	static const struct {
		const char *text;
		size_t length;
	} cases[] = {
		{ "A: 1\r\n\r\nbody", 6 },
		{ "A: 1\n\nbody", 5 },
		{ "\r\nbody", 0 },
		{ "\nbody", 0 },
		{ "A: 1\r\nB: 2\r\nC: cut o", 12 },
		{ "only a line that never ends", 27 },
		{ "", 0 },
		{ "A: 1\r\n", 6 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(
		    dsn_header_length((const uint8_t *)cases[i].text, strlen(cases[i].text)),
		    cases[i].length);
}

static void
another_host_s_word_names_it(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_FAILED);
	report.recipients[0].host = "mx.far.test";
	make(&report);
	/* RFC 3464 2.3.5 */
	assert_true(has(report.part[1],
	    "\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.far.test\r\n"
	    "Diagnostic-Code: smtp; 550 5.1.1 no such user here\r\n"));
	free(report.whole);
}

static void
what_was_relayed_is_told_as_that(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_RELAYED);
	reply_set(&report.replies[0], 250, "2.0.0", "taken");
	report.recipients[0].host = "mx.far.test";
	make(&report);
	assert_true(has(report.part[1],
	    "\r\nAction: relayed\r\nStatus: 2.0.0\r\nRemote-MTA: dns; mx.far.test\r\n"));
	assert_false(has(report.part[1], "Diagnostic-Code"));
	free(report.whole);
}

static void
held_mail_is_told_with_what_can_be_done(void **state)
{
	struct report report;

	(void)state;
	prepare(&report, DSN_HELD);
	report.recipients[0].reply = NULL;
	report.envelopes[0].last_try = 0;
	make(&report);
	assert_true(has(report.whole, "Subject: Mail is held\r\n"));
	assert_true(has(report.part[0], "smtpctl release"));
	assert_true(has(report.part[1], "\r\nAction: delayed\r\nStatus: 4.0.0\r\n"));
	assert_false(has(report.part[1], "Will-Retry-Until"));
	free(report.whole);
}

/* make() checks that there are three parts, and lines without control characters. */
static void
a_dialogue_stays_within_its_part(void **state)
{
	static char dialogue[8192];
	struct report report;

	(void)state;
	prepare(&report, DSN_FAILED);
	report.dsn.is_double = true;
	strcpy(
	    dialogue, "mx: <<< 220 hello\r\n--" BOUNDARY " x\n\nmx: <<< 550 \x01\x80 no\nmx: <<< ");
	memset(dialogue + strlen(dialogue), 'x', 2000);
	report.dsn.dialogue = dialogue;
	make(&report);
	assert_true(has(report.part[0],
	    "\r\n    mx: <<< 220 hello\r\n    --" BOUNDARY " x"
	    "\r\n    \r\n    mx: <<< 550 ?? no\r\n    mx: <<< xxx"));
	for (const char *line = report.part[0]; *line != '\0'; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\r") <= 998);
	free(report.whole);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_says_all_that_is_known),
		cmocka_unit_test(the_whole_message_comes_back_when_asked_for),
		cmocka_unit_test(no_envid_and_no_orcpt_make_no_fields),
		cmocka_unit_test(a_delay_says_until_when),
		cmocka_unit_test(a_success_is_told_as_one),
		cmocka_unit_test(smtputf8_mail_gets_the_types_of_rfc_6533),
		cmocka_unit_test(no_word_of_a_peer_leaves_its_line_or_part),
		cmocka_unit_test(another_host_s_word_names_it),
		cmocka_unit_test(what_was_relayed_is_told_as_that),
		cmocka_unit_test(held_mail_is_told_with_what_can_be_done),
		cmocka_unit_test(a_dialogue_stays_within_its_part),
		cmocka_unit_test(headers_end_at_the_first_empty_line),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
