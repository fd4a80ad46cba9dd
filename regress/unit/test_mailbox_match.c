/*
 * SEARCH for texts: what is looked for is found wherever it is, however the message is written and
 * however it is read in pieces.
 */
#include <locale.h>
#include <stdbool.h>

#include "mailbox/imap_command.h"
#include "mailbox/imap_match.h"
#include "test_mailbox_fixture.h"

#define LARGE (300 * 1024)

static char message[LARGE + 1000];

/* Whether the search finds the last message of the folder. */
static bool
finds(struct folder *folder, const char *search)
{
	struct imap_command command = { 0 };
	enum imap_match_problem problem;
	struct imap_matcher *matcher;
	char text[300];
	bool found;

	snprintf(text, sizeof(text), "a SEARCH CHARSET UTF-8 %s", search);
	imap_command_parse(&command, text, strlen(text));
	assert_null(command.why);
	matcher = imap_matcher_new(folder, &command.search, &problem);
	assert_non_null(matcher);
	found = imap_matches(matcher, folder_uid_next(folder) - 1, (uint32_t)folder_length(folder));
	imap_matcher_free(matcher);
	imap_command_free(&command);
	return found;
}

static void
put(struct folder *folder, const char *head, const char *body)
{
	snprintf(message, sizeof(message), "%s\r\n\r\n%s", head, body);
	fixture_append(folder, message, 0);
}

/* `length` bytes that are the beginning of what is looked for again and again, then that. */
static void
put_behind(struct folder *folder, const char *head, size_t length)
{
	int begin = snprintf(message, sizeof(message), "%s\r\n\r\n", head);
	char *at = message + begin;

	for (size_t i = 0; i < length; i++)
		*at++ = i % 61 == 60 ? '\n' : i % 2 == 0 ? 'A' : 'b';
	strcpy(at, "ababABABac and more\r\n");
	fixture_append(folder, message, 0);
}

static void
a_text_is_found_at_the_seams_of_pieces(void **state)
{
	static const size_t seams[] = { 4096, 32768, 65536, 262144 };
	static const char *const heads[] = { "Subject: x",
		"Subject: x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
		"Content-Transfer-Encoding: quoted-printable" };
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");

	for (size_t head = 0; head < 2; head++) {
		for (size_t i = 0; i < sizeof(seams) / sizeof(seams[0]); i++) {
			for (size_t before = 0; before < 12; before++) {
				put_behind(folder, heads[head], seams[i] - before);
				assert_true(finds(folder, "BODY ababababAC"));
				assert_true(finds(folder, "TEXT \"ac and more\""));
				assert_false(finds(folder, "BODY \"acx\""));
			}
		}
	}
	folder_release(folder);
}

static void
texts_are_compared_without_case_in_any_charset(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	const char *const utf8 = "BODY \"STRASSE \xc3\x84\xc3\x96@[`{z\"";

	put(folder, "Subject: x", "in der Strasse \xc3\xa4\xc3\xb6@[`{Z 1\r\n");
	assert_true(finds(folder, utf8));
	assert_false(finds(folder, "BODY \"strasse \xc3\x84\xc3\x96`\""));
	put(folder, "Subject: x\r\nContent-Type: text/plain; charset=ISO-8859-1",
	    "in der Strasse \xe4\xf6@[`{Z 1\r\n");
	assert_true(finds(folder, utf8));
	put(folder,
	    "Subject: x\r\nContent-Type: text/plain; charset=utf-16be\r\n"
	    "Content-Transfer-Encoding: base64",
	    "AFMAdAByAGEAcwBzAGUAIADkAPYAQABbAGAAewBa\r\n");
	assert_true(finds(folder, utf8));
	/* Bytes that are no UTF-8 hide nothing of what is around them. */
	put(folder, "Subject: x", "\xff\xe4 before\xc3 and Behind\r\n");
	assert_true(finds(folder, "BODY before"));
	assert_true(finds(folder, "BODY \" and behind\""));
	folder_release(folder);
}

static void
a_header_is_searched_for_text_only(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");

	put(folder, "Subject: alpha\r\nX-Other: =?utf-8?q?b=C3=A4ta?= two", "gamma\r\n");
	assert_true(finds(folder, "TEXT alpha"));
	assert_true(finds(folder, "TEXT \"b\xc3\x84ta two\""));
	assert_true(finds(folder, "HEADER X-Other \"b\xc3\xa4\""));
	assert_true(finds(folder, "OR BODY alpha BODY gamma"));
	assert_false(finds(folder, "BODY alpha"));
	assert_false(finds(folder, "BODY \"b\xc3\xa4ta\""));
	assert_false(finds(folder, "HEADER X-Other gamma"));
	assert_false(finds(folder, "TEXT alpha BODY alpha"));
	/* What a message within says in its header is the body of this one. */
	put(folder, "Subject: out\r\nContent-Type: message/rfc822",
	    "Subject: within\r\n\r\ntext\r\n");
	assert_true(finds(folder, "BODY within"));
	folder_release(folder);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_text_is_found_at_the_seams_of_pieces),
		TEST(texts_are_compared_without_case_in_any_charset),
		TEST(a_header_is_searched_for_text_only),
	};

	(void)setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
