/* The text of automatic replies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue/reply_text.h"

static struct ipc_effects effects;

static const char *
build(void)
{
	static const struct address from = { "bob", "b.test" }, to = { "ann", "a.test" };
	struct reply_text reply = { .effects = &effects,
		.from = &from,
		.to = &to,
		.hostname = "mx.b.test",
		.message_id = 0x1234,
		.now = 1700000000 };
	static char text[65536];
	struct buf buf;

	buf_init(&buf, sizeof(text) - 1);
	reply_text_build(&buf, &reply);
	assert_true(buf_ok(&buf));
	memcpy(text, buf.data, buf.length);
	text[buf.length] = '\0';
	buf_free(&buf);
	return text;
}

static int
setup(void **state)
{
	(void)state;
	memset(&effects, 0, sizeof(effects));
	strcpy(effects.reply_subject, "Auto: x");
	strcpy(effects.reply_text, "Away.\nBack soon.");
	return 0;
}

static void
header_says_that_a_machine_replies(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	assert_string_equal(build(),
	    "From: <bob@b.test>\r\nTo: <ann@a.test>\r\nSubject: Auto: x\r\n"
	    "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
	    "Message-ID: <00001234.1700000000@mx.b.test>\r\n"
	    "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=us-ascii\r\n\r\nAway.\r\nBack soon.\r\n");
}

static void
no_text_can_end_its_field(void **state)
{
	(void)state;
	strcpy(effects.reply_subject, "a\r\nBcc: x@x.test");
	strcpy(effects.reply_name, "B\"ob\\\n<x>");
	strcpy(effects.reply_references, "<a@b> x\r\nBcc: <c\001@d> <e@f>");
	assert_null(strstr(build(), "\nBcc"));
	assert_non_null(strstr(build(), "Subject: =?utf-8?b?YQ0KQmNjOiB4QHgudGVzdA==?=\r\n"));
	assert_non_null(
	    strstr(build(), "References: <a@b>\r\n <e@f>\r\nIn-Reply-To: <e@f>\r\nAuto-"));
	strcpy(effects.reply_name, "B\"ob\\");
	assert_non_null(strstr(build(), "From: \"B\\\"ob\\\\\" <bob@b.test>\r\n"));
}

static void
text_that_is_not_ascii_is_encoded(void **state)
{
	(void)state;
	strcpy(effects.reply_subject, "caf\xc3\xa9");
	strcpy(effects.reply_name, "R\xc3\xa9my");
	strcpy(effects.reply_text, "\xc3\xa9");
	assert_non_null(strstr(build(), "Subject: =?utf-8?b?Y2Fmw6k=?=\r\n"));
	assert_non_null(strstr(build(), "From: =?utf-8?b?UsOpbXk=?=\r\n <bob@b.test>\r\n"));
	assert_non_null(strstr(build(), "base64\r\n\r\nw6k=\r\n"));
	/* Words are cut between characters. */
	for (int i = 0; i < 100; i++)
		strcat(effects.reply_subject, "\xc3\xa9");
	for (const char *line = build(); line != NULL; line = strstr(line + 1, "\r\n"))
		assert_true(strcspn(line + 2, "\r\n") <= 76);
	memset(effects.reply_text, 'x', 2000);
	effects.reply_text[2000] = '\0';
	assert_non_null(strstr(build(), "base64\r\n\r\neHh4"));
}

static void
entity_of_the_authors_own_keeps_what_describes_it(void **state)
{
	(void)state;
	effects.reply_is_mime = true;
	strcpy(effects.reply_text,
	    "Content-Type: text/html;\n charset=utf-8\nBcc: x@x.test\n "
	    "y@y.test\nMIME-Version: 1.0\ncontent-language: de\n\nA\nB");
	assert_non_null(strstr(build(),
	    "MIME-Version: 1.0\r\nContent-Type: text/html;\r\n "
	    "charset=utf-8\r\ncontent-language: de\r\n\r\nA\r\nB\r\n"));
	strcpy(effects.reply_text, "\nonly a body\n");
	assert_non_null(strstr(build(), "MIME-Version: 1.0\r\n\r\nonly a body\r\n"));
	strcpy(effects.reply_text, "Content-Type: text/html");
	assert_non_null(strstr(build(), "Content-Type: text/html\r\n\r\n"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(header_says_that_a_machine_replies, setup),
		cmocka_unit_test_setup(no_text_can_end_its_field, setup),
		cmocka_unit_test_setup(text_that_is_not_ascii_is_encoded, setup),
		cmocka_unit_test_setup(entity_of_the_authors_own_keeps_what_describes_it, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
