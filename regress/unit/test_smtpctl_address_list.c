/*
 * Lists of mailboxes (RFC 5322 3.4): the RFC's own examples, and what must not be taken for one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtpctl/address_list.h"

/* The mailboxes with a blank between them; "BAD" at the end of what is none. */
static const char *
parse(const char *text)
{
	static char found[65536];
	char address[ADDRESS_TEXT_MAX + 1];
	struct address_list list;
	struct address_list_mailbox mailbox;
	enum address_list_result result;

	found[0] = '\0';
	address_list_init(&list, text, strlen(text));
	while ((result = address_list_next(&list, &mailbox)) == ADDRESS_LIST_MAILBOX) {
		address_format(&mailbox.address, address, sizeof(address));
		if (found[0] != '\0')
			strcat(found, " ");
		strcat(found, address);
	}
	if (result == ADDRESS_LIST_BAD)
		strcat(found, found[0] == '\0' ? "BAD" : " BAD");
	return found;
}

static void
lists_of_the_rfc_give_their_mailboxes(void **state)
{
	(void)state;
	assert_string_equal(parse("Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>"),
	    "mary@x.test jdoe@example.org one@y.test");
	assert_string_equal(
	    parse("<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>"),
	    "boss@nil.test sysservices@example.net");
	assert_string_equal(
	    parse("A Group:Ed Jones <joe@where.test>,joe@x.test,John <jdoe@one.test>;"),
	    "joe@where.test joe@x.test jdoe@one.test");
	assert_string_equal(parse("Undisclosed recipients:;"), "");
	assert_string_equal(parse("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>"),
	    "pete@silly.test");
	assert_string_equal(
	    parse("A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public."
	          "example>,\r\n  joe@example.org,\r\n John <jdoe@one.test> (my dear "
	          "friend); (the end of the group)"),
	    "c@public.example joe@example.org jdoe@one.test");
	assert_string_equal(
	    parse("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;"), "");
	assert_string_equal(
	    parse("Joe Q. Public <john.q.public@example.com>"), "john.q.public@example.com");
	assert_string_equal(
	    parse("Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example"),
	    "mary@example.net jdoe@test.example");
	assert_string_equal(parse("<@a.test,@b.test:c@d.test>"), "c@d.test");
}

static void
names_of_this_machine_and_odd_local_parts_are_taken(void **state)
{
	(void)state;
	assert_string_equal(parse("root"), "root");
	assert_string_equal(parse("root, (me) bob ; "), "root bob");
	assert_string_equal(
	    parse("A <a@b.test>; c@d.test;; g:e@f.test;;h"), "a@b.test c@d.test e@f.test h");
	assert_string_equal(parse("a@b.test c@d.test <e@f.test>, x@y@z <h>"), "e@f.test h");
	assert_string_equal(parse("<>, Nobody <>, <@r:>, a@b.test"), "a@b.test");
	assert_string_equal(parse("Root <root>,\"a b\"@d.test"), "root \"a b\"@d.test");
	assert_string_equal(parse("u@[127.0.0.1], u@[IPv6:::1]"), "u@[127.0.0.1] u@[IPv6:::1]");
	assert_string_equal(parse("J\xc3\xb6rg <j\xc3\xb6rg@b\xc3\xbc"
	                          "cher.test>"),
	    "j\xc3\xb6rg@b\xc3\xbc"
	    "cher.test");
	assert_string_equal(parse(",,a@b.test,,"), "a@b.test");
	assert_string_equal(parse(" \r\n "), "");
}

static void
what_is_no_mailbox_ends_the_list(void **state)
{
	static const char *const bad[] = { "John Smith", "a@b@c", "<a@b", "a@b>", "<<a@b>>",
		"<a@b> c", "\"open", "(open", "a@[open", "a:b:c@d;", "<@r", "a\\b@c", "]", "@", ".",
		"a@b\x01", "g: a@b, John Smith;", "-" };

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(bad) / sizeof(bad[0]); i++)
		if (strstr(parse(bad[i]), "BAD") == NULL)
			fail_msg("\"%s\" gives %s", bad[i], parse(bad[i]));
}

static void
the_end_of_a_mailbox_is_where_its_domain_would_go(void **state)
{
	const char *text = "Root (x) <root (y)>, bob (z), c@d.test";
	struct address_list list;
	struct address_list_mailbox mailbox;

	(void)state;
	address_list_init(&list, text, strlen(text));
	assert_int_equal(address_list_next(&list, &mailbox), ADDRESS_LIST_MAILBOX);
	assert_memory_equal(text + mailbox.end - 4, "root (y)", 8);
	assert_int_equal(address_list_next(&list, &mailbox), ADDRESS_LIST_MAILBOX);
	assert_memory_equal(text + mailbox.end - 3, "bob (z)", 7);
	assert_int_equal(address_list_next(&list, &mailbox), ADDRESS_LIST_MAILBOX);
	assert_int_equal(text[mailbox.end], '\0');
	assert_int_equal(address_list_next(&list, &mailbox), ADDRESS_LIST_END);
}

static void
deep_and_long_texts_take_linear_time(void **state)
{
	size_t size = 1000000;
	char *text = malloc(size + 1);

	(void)state;
	memset(text, '(', size);
	text[size] = '\0';
	assert_string_equal(parse(text), "BAD");
	memset(text + size / 2, ')', size / 2);
	assert_string_equal(parse(text), "");
	memset(text, 'a', size);
	assert_string_equal(parse(text), "BAD");
	memset(text, ',', size);
	assert_string_equal(parse(text), "");
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_of_the_rfc_give_their_mailboxes),
		cmocka_unit_test(names_of_this_machine_and_odd_local_parts_are_taken),
		cmocka_unit_test(what_is_no_mailbox_ends_the_list),
		cmocka_unit_test(the_end_of_a_mailbox_is_where_its_domain_would_go),
		cmocka_unit_test(deep_and_long_texts_take_linear_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
