/*
 * IMAP commands: the values that come out of what RFC 9051, 3501 and their extensions write, and that
 * everything else is refused with words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mailbox/imap_command.h"

static struct imap_command command;

static void
parse(const char *text)
{
	imap_command_free(&command);
	imap_command_parse(&command, text, strlen(text));
}

static void
parse_good(const char *text)
{
	parse(text);
	if (command.why != NULL)
		fail_msg("%s: %s", text, command.why);
}

static int
tear_down(void **state)
{
	(void)state;
	imap_command_free(&command);
	memset(&command, 0, sizeof(command));
	return 0;
}

static void
assert_text(const struct imap_string *string, const char *wanted)
{
	assert_int_equal(string->length, strlen(wanted));
	assert_memory_equal(string->data, wanted, string->length);
}

static void
names_are_found_in_any_case(void **state)
{
	(void)state;
	parse_good("a1 noop");
	assert_int_equal(command.verb, IMAP_NOOP);
	assert_text(&command.tag, "a1");
	parse_good("x uid search all");
	assert_int_equal(command.verb, IMAP_SEARCH);
	assert_true(command.uid);
	for (int verb = 0; verb < IMAP_VERB_COUNT; verb++)
		assert_non_null(imap_verb_name((enum imap_verb)verb));
}

static void
what_is_not_in_the_grammar_is_refused(void **state)
{
	static const char *const examples[] = {
		"",
		"a",
		"a ",
		"+ NOOP",
		"a+b NOOP",
		"( NOOP",
		"a  NOOP",
		"a NOOP ",
		"a NOOP x",
		"a XYZ",
		"a UID NOOP",
		"a UID",
		"a LOGIN",
		"a LOGIN x",
		"a LOGIN x y z",
		"a LOGIN \"x y",
		"a LOGIN \"x\\y\" z",
		"a LOGIN x {5}\r\nabc",
		"a LOGIN x \xc3\xa4",
		"a SELECT",
		"a SELECT (x)",
		"a SELECT x (QRESYNC (1 1 1:*))",
		"a SELECT x (QRESYNC (0 1))",
		"a SELECT x (FOO)",
		"a LIST \"\"",
		"a LIST (RECURSIVEMATCH) \"\" *",
		"a LIST \"\" () ",
		"a LIST \"\" * RETURN (REMOTE)",
		"a STATUS x",
		"a STATUS x ()",
		"a STATUS x (FOO)",
		"a APPEND x",
		"a APPEND x (\\Seen)",
		"a APPEND x \"hello\"",
		"a APPEND x (\\Recent) {1!}\r\n",
		"a APPEND x \"32-Jan-2026 00:00:00 +0000\" {1!}\r\n",
		"a APPEND x \"29-Feb-2025 00:00:00 +0000\" {1!}\r\n",
		"a APPEND x {1!}\r\nx",
		"a FETCH 1",
		"a FETCH 1 ()",
		"a FETCH 0 FLAGS",
		"a FETCH 1: FLAGS",
		"a FETCH 4294967296 FLAGS",
		"a FETCH 4294967295 FLAGS",
		"a FETCH -1 FLAGS",
		"a FETCH 1,,2 FLAGS",
		"a FETCH 1 (ALL FLAGS)",
		"a FETCH 1 BODY[1.]",
		"a FETCH 1 BODY[MIME]",
		"a FETCH 1 BODY[1TEXT]",
		"a FETCH 1 BODY[1.0]",
		"a FETCH 1 BODY[HEADER.FIELDS]",
		"a FETCH 1 BODY[HEADER.FIELDS ()]",
		"a FETCH 1 BODY[]<1>",
		"a FETCH 1 BODY[]<1.0>",
		"a FETCH 1 BINARY[HEADER]",
		"a FETCH 1 BINARY.SIZE[1]<0.1>",
		"a FETCH 1 FLAGS (VANISHED CHANGEDSINCE 1)",
		"a UID FETCH 1 FLAGS (VANISHED)",
		"a STORE 1 FLAGS",
		"a STORE 1 +FLAG (x)",
		"a STORE 1 FLAGS (\\Recent)",
		"a STORE 1 FLAGS (x y",
		"a SEARCH",
		"a SEARCH OR ALL",
		"a SEARCH NOT",
		"a SEARCH (ALL",
		"a SEARCH ALL)",
		"a SEARCH ()",
		"a SEARCH RETURN (FOO) ALL",
		"a SEARCH SINCE 30-Feb-2026",
		"a SEARCH LARGER -1",
		"a SEARCH OLDER 0",
		"a SEARCH HEADER x",
		"a SORT () UTF-8 ALL",
		"a SORT (SIZE) ALL",
		"a THREAD FOO UTF-8 ALL",
		"a UID EXPUNGE",
		"a COPY 1",
		"a ENABLE",
		"a ID (\"x\")",
		"a GETMETADATA x y",
		"a SETMETADATA x (/a)",
		"a NOTIFY SET (selected)",
		"a NOTIFY SET STATUS",
		"a COMPRESS",
		"a NOOP {1}\r\nx",
		"a REPLACE 1 x {1!}\r\n {1!}\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		parse(examples[i]);
		if (command.why == NULL)
			fail_msg("%s was taken", examples[i]);
	}
	parse("( NOOP");
	assert_text(&command.tag, "*");
}

static void
strings_come_as_words_quoted_or_literals(void **state)
{
	(void)state;
	parse_good("a LOGIN {5}\r\na\r\nb) \"p\\\\w\\\"\"");
	assert_text(&command.login.user, "a\r\nb)");
	assert_text(&command.login.password, "p\\w\"");
	parse_good("a LOGIN u] \"\"");
	assert_text(&command.login.user, "u]");
	assert_text(&command.login.password, "");
	parse_good("a AUTHENTICATE PLAIN =");
	assert_true(command.authenticate.has_initial);
	assert_int_equal(command.authenticate.initial.length, 0);
}

static void
sets_are_put_in_order(void **state)
{
	(void)state;
	parse_good("a FETCH 7,3:1,*,5:4,2:3,12:10 FLAGS");
	imap_set_resolve(&command.fetch.set, 20);
	assert_int_equal(command.fetch.set.count, 4);
	assert_int_equal(command.fetch.set.ranges[0].first, 1);
	assert_int_equal(command.fetch.set.ranges[0].last, 5);
	assert_true(imap_set_has(&command.fetch.set, 11));
	assert_true(imap_set_has(&command.fetch.set, 20));
	assert_false(imap_set_has(&command.fetch.set, 8));
	parse_good("a FETCH 100:* FLAGS"); /* RFC 9051 9: includes the last one all the same */
	imap_set_resolve(&command.fetch.set, 20);
	assert_true(imap_set_has(&command.fetch.set, 20));
	parse_good("a FETCH * FLAGS");
	imap_set_resolve(&command.fetch.set, 0);
	assert_int_equal(command.fetch.set.count, 0);
	parse_good("a STORE $ FLAGS ()");
	assert_true(command.store.set.is_saved);
}

static void
sets_are_written_short(void **state)
{
	static const uint32_t numbers[] = { 1, 2, 3, 5, 7, 8 };
	struct imap_set_writer writer;
	struct buf text;

	(void)state;
	buf_init(&text, 100);
	imap_set_begin(&writer, &text);
	assert_false(imap_set_end(&writer));
	imap_set_begin(&writer, &text);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		imap_set_add(&writer, numbers[i]);
	assert_true(imap_set_end(&writer));
	assert_int_equal(text.length, 9);
	assert_memory_equal(text.data, "1:3,5,7:8", 9);
	buf_free(&text);
}

static void
sections_of_fetch(void **state)
{
	const struct imap_fetch_item *items;

	(void)state;
	parse_good(
	    "a UID FETCH 1:* (FLAGS BODY[] BODY.PEEK[1.2.HEADER.FIELDS.NOT (From \"To\")]<5.100> "
	    "BODY BINARY.SIZE[3] BODY[2.MIME] PREVIEW (LAZY) BODYSTRUCTURE) (CHANGEDSINCE 9 "
	    "VANISHED)");
	assert_int_equal(command.fetch.items.count, 8);
	items = command.fetch.items.items;
	assert_int_equal(items[1].item, IMAP_ITEM_SECTION);
	assert_false(items[1].peek);
	assert_int_equal(items[1].section, IMAP_SECTION_WHOLE);
	assert_true(items[2].peek);
	assert_int_equal(items[2].section, IMAP_SECTION_FIELDS_NOT);
	assert_int_equal(items[2].part_count, 2);
	assert_int_equal(items[2].parts[1], 2);
	assert_text(&items[2].fields.strings[1], "To");
	assert_int_equal(items[2].offset, 5);
	assert_int_equal(items[2].length, 100);
	assert_int_equal(items[3].item, IMAP_ITEM_BODY);
	assert_int_equal(items[4].item, IMAP_ITEM_BINARY_SIZE);
	assert_int_equal(items[5].section, IMAP_SECTION_MIME);
	assert_true(items[6].lazy);
	assert_int_equal(command.fetch.changed_since, 9);
	assert_true(command.fetch.vanished);
	parse_good("a FETCH 1 FULL");
	assert_int_equal(command.fetch.items.count, 5);
	parse_good("a FETCH 1 RFC822.HEADER");
	assert_true(command.fetch.items.items[0].peek);
}

static void
search_keys_nest(void **state)
{
	const struct imap_search_key *keys;

	(void)state;
	parse_good("a SEARCH RETURN (MIN SAVE) CHARSET UTF-8 OR (UNSEEN FROM {3}\r\nbob) NOT 1:3 "
	           "SINCE 1-Feb-1970 NEW");
	assert_int_equal(command.search.answer, IMAP_SEARCH_MIN | IMAP_SEARCH_SAVE);
	assert_text(&command.search.charset, "UTF-8");
	keys = command.search.keys;
	assert_int_equal(keys[0].key, IMAP_KEY_AND);
	assert_int_equal(keys[0].children, 3);
	assert_int_equal(keys[1].key, IMAP_KEY_OR);
	assert_int_equal(keys[2].key, IMAP_KEY_AND);
	assert_int_equal(keys[2].parent, 1);
	assert_int_equal(keys[3].key, IMAP_KEY_NOT);
	assert_int_equal(keys[4].key, IMAP_KEY_FLAG);
	assert_int_equal(keys[4].flag, IMAP_FLAG_SEEN);
	assert_int_equal(keys[5].key, IMAP_KEY_HEADER);
	assert_text(&keys[5].field, "From");
	assert_text(&keys[5].text, "bob");
	assert_int_equal(keys[6].key, IMAP_KEY_NOT);
	assert_int_equal(keys[6].parent, 1);
	assert_int_equal(keys[7].key, IMAP_KEY_NUMBERS);
	assert_int_equal(keys[8].key, IMAP_KEY_SINCE);
	assert_int_equal(keys[8].days, 31);
	assert_int_equal(keys[9].key, IMAP_KEY_AND);
	assert_int_equal(command.search.count, 13);
}

static void
a_search_nested_too_deeply_is_refused(void **state)
{
	char text[3000] = "a SEARCH ";
	size_t length = strlen(text);

	(void)state;
	for (size_t i = 0; i < 1000; i++)
		text[length++] = '(';
	parse(text);
	assert_string_equal(command.why, "the search is nested too deeply");
	length = strlen("a SEARCH ");
	for (size_t i = 0; i < 500; i++, length += 4)
		memcpy(text + length, "NOT ", 4);
	memcpy(text + length, "ALL", 4);
	parse(text);
	assert_string_equal(command.why, "the search is nested too deeply");
}

static void
dates_of_appended_messages(void **state)
{
	const struct imap_append *append;

	(void)state;
	parse_good("a APPEND \"Sent\" (\\Seen $Work) \" 1-Jan-1970 01:00:01 +0100\" {5!}\r\n"
	           " \"29-Feb-2024 23:59:60 -0030\" ~{7!}\r\n UTF8 (~{2!}\r\n)");
	append = &command.append;
	assert_text(&append->mailbox, "Sent");
	assert_int_equal(append->message_count, 3);
	assert_int_equal(append->messages[0].date, 1);
	assert_int_equal(append->messages[0].size, 5);
	assert_int_equal(append->messages[0].flags.system, IMAP_FLAG_SEEN);
	assert_text(&append->messages[0].flags.keywords[0], "$Work");
	assert_int_equal(append->messages[1].date, 1709251200 + 1800);
	assert_true(append->messages[1].is_binary);
	assert_true(append->messages[2].is_utf8);
}

static void
a_command_is_understood_so_far(void **state)
{
	static const char text[] = "a APPEND \"S\\\"t\" (\\Seen) {5!}\r\n UTF8 (~{9!}\r\n";

	(void)state;
	imap_command_parse_so_far(&command, text, sizeof(text) - 1);
	assert_null(command.why);
	assert_text(&command.append.mailbox, "S\"t");
	assert_int_equal(command.append.message_count, 2);
	assert_int_equal(command.append.messages[1].size, 9);
}

static void
mailbox_commands(void **state)
{
	(void)state;
	parse_good("a SELECT x (CONDSTORE QRESYNC (5 6 1:4,7 (1,3 5,7)))");
	assert_true(command.select.condstore && command.select.qresync);
	assert_int_equal(command.select.modseq, 6);
	assert_int_equal(command.select.known_uids.count, 2);
	assert_int_equal(command.select.match_uids.ranges[1].first, 7);
	parse_good("a SELECT x (QRESYNC (5 6 (1 5)))");
	assert_false(command.select.has_known);
	assert_true(command.select.has_match);
	parse_good("a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (% \"*\") RETURN (CHILDREN STATUS "
	           "(SIZE UNSEEN))");
	assert_int_equal(command.list.patterns.count, 2);
	assert_int_equal(command.list.answer, IMAP_LIST_CHILDREN | IMAP_LIST_STATUS);
	assert_int_equal(command.list.status_items, IMAP_STATUS_SIZE | IMAP_STATUS_UNSEEN);
	parse_good("a LIST \"\" \"\"");
	assert_false(command.list.is_extended);
	parse_good("a CREATE s (USE (\\Sent \\Archive))");
	assert_int_equal(command.create.use, IMAP_USE_SENT | IMAP_USE_ARCHIVE);
	parse_good("a GETMETADATA (MAXSIZE 5 DEPTH infinity) \"\" (/private/comment /shared)");
	assert_int_equal(command.metadata.depth, IMAP_DEPTH_INFINITY);
	assert_int_equal(command.metadata.count, 2);
	parse_good("a SETMETADATA x (/private/a NIL /private/b \"c\")");
	assert_null(command.metadata.entries[0].value.data);
	assert_text(&command.metadata.entries[1].value, "c");
	parse_good("a NOTIFY SET STATUS (selected (MessageNew (UID FLAGS) MessageExpunge)) "
	           "(subtree (a b) NONE) (inboxes (Foo))");
	assert_int_equal(command.notify.count, 3);
	assert_int_equal(command.notify.groups[0].items.count, 2);
	assert_int_equal(command.notify.groups[1].mailboxes.count, 2);
	assert_int_equal(command.notify.groups[1].events, 0);
	assert_true(command.notify.groups[2].unknown_event);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(names_are_found_in_any_case, tear_down),
		cmocka_unit_test_teardown(what_is_not_in_the_grammar_is_refused, tear_down),
		cmocka_unit_test_teardown(strings_come_as_words_quoted_or_literals, tear_down),
		cmocka_unit_test_teardown(sets_are_put_in_order, tear_down),
		cmocka_unit_test_teardown(sets_are_written_short, tear_down),
		cmocka_unit_test_teardown(sections_of_fetch, tear_down),
		cmocka_unit_test_teardown(search_keys_nest, tear_down),
		cmocka_unit_test_teardown(a_search_nested_too_deeply_is_refused, tear_down),
		cmocka_unit_test_teardown(dates_of_appended_messages, tear_down),
		cmocka_unit_test_teardown(a_command_is_understood_so_far, tear_down),
		cmocka_unit_test_teardown(mailbox_commands, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
