/*
 * Messages: their parts and what IMAP says of them, however they are stored and broken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mime.h"
#include "common/mime_decode.h"
#include "mailbox/mime_structure.h"

#define LIMIT (8 * 1024 * 1024)

static struct buf text;

static int
set_up(void **state)
{
	(void)state;
	buf_init(&text, LIMIT);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	buf_free(&text);
	return 0;
}

static void
assert_written(const char *wanted)
{
	buf_add_u8(&text, 0);
	assert_true(buf_ok(&text));
	assert_string_equal((char *)text.data, wanted);
	buf_clear(&text);
}

static struct mime *
parse(const char *message, size_t length)
{
	struct mime_parser *parser = mime_parser_new();
	struct mime *mime;

	assert_non_null(parser);
	mime_parser_feed(parser, message, length);
	mime = mime_parser_finish(parser);
	assert_non_null(mime);
	return mime;
}

static void
assert_structure(const char *message, const char *body, const char *structure)
{
	struct mime *mime = parse(message, strlen(message));

	mime_write_structure(&text, mime, false);
	assert_written(body);
	mime_write_structure(&text, mime, true);
	assert_written(structure);
	mime_free(mime);
}

static void
assert_envelope(const char *message, const char *wanted)
{
	struct mime *mime = parse(message, strlen(message));

	mime_write_envelope(&text, mime, 0);
	assert_written(wanted);
	mime_free(mime);
}

static void
a_plain_message_is_text_of_us_ascii(void **state)
{
	(void)state;
	assert_structure("Subject: x\n\nhello\nworld\n",
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 14 2)",
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 14 2 NIL NIL NIL "
	    "NIL)");
	assert_structure("", "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)",
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)");
}

static const char nested[] = "Content-Type: multipart/mixed; boundary=\"a b\"; X=\"q\\\"\"\n\n"
                             "preamble\n"
                             "--a b\n"
                             "Content-Type: TEXT/HTML (comment); charset=utf-8\n"
                             "Content-ID: <1@x>\n"
                             "Content-Transfer-Encoding: Quoted-Printable\n"
                             "Content-Disposition: attachment; filename=\"x y\"\n"
                             "Content-Language: en, de\n\n"
                             "one\ntwo\n"
                             "--a b\t\n"
                             "Content-Type: message/rfc822\n\n"
                             "Subject: inner\n\n"
                             "text\n"
                             "--a b--\n"
                             "epilogue\n--a b\n";

static void
parts_within_parts(void **state)
{
	(void)state;
	assert_structure(nested,
	    "((\"text\" \"html\" (\"charset\" \"utf-8\") \"<1@x>\" NIL \"quoted-printable\" 8 1)"
	    "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 22 "
	    "(NIL \"inner\" NIL NIL NIL NIL NIL NIL NIL NIL) "
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 0) 2) \"mixed\")",
	    "((\"text\" \"html\" (\"charset\" \"utf-8\") \"<1@x>\" NIL \"quoted-printable\" 8 1 "
	    "NIL "
	    "(\"attachment\" (\"filename\" \"x y\")) (\"en\" \"de\") NIL)"
	    "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 22 "
	    "(NIL \"inner\" NIL NIL NIL NIL NIL NIL NIL NIL) "
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 0 NIL NIL NIL NIL) "
	    "2 "
	    "NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"a b\" \"x\" \"q\\\"\") NIL NIL NIL)");
}

static void
sections_are_found_by_their_numbers(void **state)
{
	struct mime *mime = parse(nested, strlen(nested));
	struct mime *plain = parse("\nx\n", 3);
	uint32_t part;

	(void)state;
	part = mime_find(mime, (uint32_t[]){ 1 }, 1);
	assert_memory_equal(nested + mime->parts[part].body.offset, "one\ntwo\n--a b\t", 14);
	assert_int_equal(mime->parts[part].end.offset - mime->parts[part].body.offset, 7);
	assert_int_equal(mime_message_of(mime, part, false), MIME_NONE);
	part = mime_find(mime, (uint32_t[]){ 2 }, 1);
	assert_string_equal(
	    mime_field(mime, mime_message_of(mime, part, false), MIME_SUBJECT), "inner");
	part = mime_find(mime, (uint32_t[]){ 2, 1 }, 2);
	assert_memory_equal(nested + mime->parts[part].body.offset, "text\n", 5);
	assert_int_equal(mime_find(mime, (uint32_t[]){ 2, 2 }, 2), MIME_NONE);
	assert_int_equal(mime_find(mime, (uint32_t[]){ 1, 1 }, 2), MIME_NONE);
	assert_int_equal(mime_find(mime, (uint32_t[]){ 3 }, 1), MIME_NONE);
	assert_int_equal(mime_find(plain, (uint32_t[]){ 1 }, 1), 0);
	assert_int_equal(mime_find(plain, (uint32_t[]){ 1, 1 }, 2), MIME_NONE);
	assert_int_equal(mime_message_of(plain, 0, true), 0);
	mime_free(mime);
	mime_free(plain);
}

static void
a_digest_holds_messages(void **state)
{
	static const char digest[] =
	    "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: "
	    "x\r\n\r\nhi\r\n--d--\r\n";

	(void)state;
	assert_structure(digest,
	    "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 16 "
	    "(NIL \"x\" NIL NIL NIL NIL NIL NIL NIL NIL) "
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 2 0) 2) \"digest\")",
	    "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 16 "
	    "(NIL \"x\" NIL NIL NIL NIL NIL NIL NIL NIL) "
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 2 0 NIL NIL NIL NIL) "
	    "2 "
	    "NIL NIL NIL NIL) \"digest\" (\"boundary\" \"d\") NIL NIL NIL)");
}

static void
a_multipart_without_boundary_or_parts_is_something_all_the_same(void **state)
{
	(void)state;
	assert_structure("Content-Type: multipart/mixed\n\nx\n",
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1)",
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1 NIL NIL NIL NIL)");
	assert_structure("Content-Type: multipart/mixed; boundary=z\n\nx\n",
	    "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0) \"mixed\")",
	    "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0) \"mixed\" "
	    "(\"boundary\" \"z\") NIL NIL NIL)");
}

static void
envelopes_have_addresses_as_they_are_written(void **state)
{
	(void)state;
	assert_envelope("Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
	                "Subject: a\r\n folded\r\n\tone\r\n"
	                "From: \"A \\\"B\\\" C\" <\"x y\"@example.org>\r\n"
	                "Reply-To:\r\n"
	                "To: one@a (First (and nested) One), Two Words <@r,@s:two@b>, bare\r\n"
	                "Cc: team: x@y, <z@[192.0.2.1]>;, none:;\r\n"
	                "Bcc: , ,\r\n"
	                "In-Reply-To: <1@x>\r\nMessage-Id:  <2@x> \r\n\r\n",
	    "(\"Mon, 1 Jan 2024 00:00:00 +0000\" \"a folded\tone\" "
	    "((\"A \\\"B\\\" C\" NIL \"x y\" \"example.org\")) "
	    "((\"A \\\"B\\\" C\" NIL \"x y\" \"example.org\")) "
	    "((\"A \\\"B\\\" C\" NIL \"x y\" \"example.org\")) "
	    "((\"First (and nested) One\" NIL \"one\" \"a\")(\"Two Words\" \"@r,@s\" \"two\" \"b\")"
	    "(NIL NIL \"bare\" \"\")) "
	    "((NIL NIL \"team\" NIL)(NIL NIL \"x\" \"y\")(NIL NIL \"z\" \"[192.0.2.1]\")(NIL NIL "
	    "NIL NIL)"
	    "(NIL NIL \"none\" NIL)(NIL NIL NIL NIL)) "
	    "NIL \"<1@x>\" \"<2@x>\")");
	assert_envelope(
	    "Subject: h\xc3\xa9\n\n", "(NIL {3}\r\nh\xc3\xa9 NIL NIL NIL NIL NIL NIL NIL NIL)");
	assert_envelope("Subject: first\nSubject: second\n\n",
	    "(NIL \"first\" NIL NIL NIL NIL NIL NIL NIL NIL)");
}

static void
depth_and_number_of_parts_are_bounded(void **state)
{
	char *message = malloc(LIMIT), *at = message;
	struct mime *mime;
	size_t depth = 0;

	(void)state;
	assert_non_null(message);
	for (int i = 0; i < 5000; i++)
		at += sprintf(at, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
	mime = parse(message, (size_t)(at - message));
	assert_in_range(mime->count, 2, MIME_DEPTH_MAX);
	for (uint32_t part = (uint32_t)mime->count - 1; part != MIME_NONE; depth++)
		part = mime->parts[part].parent;
	assert_in_range(depth, 2, MIME_DEPTH_MAX);
	mime_free(mime);
	at = message + sprintf(message, "Content-Type: multipart/mixed; boundary=b\n\n");
	for (int i = 0; i < 100000; i++)
		at += sprintf(at, "--b\n\nx\n");
	mime = parse(message, (size_t)(at - message));
	assert_int_equal(mime->count, MIME_PARTS_MAX);
	assert_int_equal(mime->parts[0].end.offset, at - message);
	mime_free(mime);
	free(message);
}

static void
a_field_of_megabytes_is_cut(void **state)
{
	char *message = malloc(LIMIT);
	struct mime *mime;
	size_t length = 4 * 1024 * 1024;

	(void)state;
	assert_non_null(message);
	memset(message, 'x', length);
	memcpy(message, "Subject: ", 9);
	memcpy(message + length - 2, "\n\n", 2);
	mime = parse(message, length);
	assert_int_equal(strlen(mime_field(mime, 0, MIME_SUBJECT)), MIME_FIELD_MAX);
	assert_int_equal(mime->parts[0].body.offset, length);
	mime_free(mime);
	free(message);
}

static bool
add(const char *bytes, size_t length, void *arg)
{
	(void)arg;
	buf_add(&text, bytes, length);
	return true;
}

static void
assert_decoded(enum mime_encoding encoding, const char *from, const char *wanted)
{
	struct mime_decoder decoder;

	mime_decoder_init(&decoder, encoding, add, NULL);
	assert_true(mime_decoder_feed(&decoder, from, strlen(from)));
	assert_true(mime_decoder_finish(&decoder));
	assert_written(wanted);
}

static void
transfer_encodings_are_taken_off(void **state)
{
	(void)state;
	assert_decoded(MIME_BASE64, "aGVs\r\nbG8=", "hello");
	assert_decoded(MIME_BASE64, "aGVsbG8", "hello");
	assert_decoded(MIME_BASE64, "aA==!aA==", "hh");
	assert_decoded(MIME_QUOTED_PRINTABLE, "h=C3=a9 =\r\nx \t\r\ny =", "h\xc3\xa9 x\r\ny ");
	assert_decoded(MIME_QUOTED_PRINTABLE, "a=ZZ=4 b= \t\nc", "a=ZZ=4 bc");
	assert_decoded(MIME_IDENTITY, "a=20", "a=20");
}

static void
encoded_words_are_read(void **state)
{
	static const struct {
		const char *field;
		const char *wanted;
	} examples[] = {
		{ "=?utf-8?q?h=C3=A9_l?=", "h\xc3\xa9 l" },
		{ "a =?iso-8859-1?Q?=E9?=  =?UTF-8*fr?B?w6k=?= b", "a \xc3\xa9\xc3\xa9 b" },
		{ "=?utf-8?x?a?= =?utf-8?q?a b?=", "=?utf-8?x?a?= =?utf-8?q?a b?=" },
		{ "=?nowhere?q?a=E9?=", "a\xef\xbf\xbd" },
		{ "=?koi8-r?b?8NLJ18XU?=", "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82" },
		{ "=?", "=?" },
		{ "=?a?b", "=?a?b" },
		{ "raw \xe9", "raw \xef\xbf\xbd" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		mime_decode_words(examples[i].field, &text);
		assert_written(examples[i].wanted);
	}
}

static void
a_charset_gives_the_same_in_any_pieces(void **state)
{
	static const char japanese[] = "\x1b$B$3$s\x1b(B ok"; /* ISO-2022-JP */
	struct mime_charset charset;

	(void)state;
	for (size_t step = 1; step <= sizeof(japanese); step++) {
		assert_true(mime_charset_open(&charset, "ISO-2022-JP", add, NULL));
		for (size_t at = 0; at < sizeof(japanese) - 1; at += step) {
			size_t left = sizeof(japanese) - 1 - at;

			assert_true(
			    mime_charset_feed(&charset, japanese + at, left < step ? left : step));
		}
		mime_charset_close(&charset);
		assert_written("\xe3\x81\x93\xe3\x82\x93 ok");
	}
	assert_false(mime_charset_is_known("utf-8//translit"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    a_plain_message_is_text_of_us_ascii, set_up, tear_down),
		cmocka_unit_test_setup_teardown(parts_within_parts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    sections_are_found_by_their_numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_digest_holds_messages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_multipart_without_boundary_or_parts_is_something_all_the_same, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    envelopes_have_addresses_as_they_are_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    depth_and_number_of_parts_are_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_field_of_megabytes_is_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    transfer_encodings_are_taken_off, set_up, tear_down),
		cmocka_unit_test_setup_teardown(encoded_words_are_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_charset_gives_the_same_in_any_pieces, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
