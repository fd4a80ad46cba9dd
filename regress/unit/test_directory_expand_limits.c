/*
 * What an alias may lead to: loops end, and so do chains, lists and crowds.
 */
#include <time.h>

#include "regress/unit/test_directory_expand_fixture.h"

static void
lists_in_lists_end(void **state)
{
	char name[20], text[500];

	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "list%u", i);
		snprintf(text, sizeof(text), "%s\n:include:%s/list%u\n", i == 15 ? "bob" : "",
		    test_directory, i + 1);
		write_file(name, text);
	}
	write_file("list30", "carol\n");
	write_file("self", "");
	snprintf(text, sizeof(text), "dave\n:include:%s/self\n", test_directory);
	write_file("self", text);
	snprintf(text, sizeof(text),
	    "a@example.test :include:%s/list0\nb@example.test "
	    ":include:%s/list20\nc@example.test :include:%s/self\nd@example.test bob\n",
	    test_directory, test_directory, test_directory);
	start_virtual(text, users);
	ready();
	assert_string_equal(ask(site, "a@example.test"), "250 maildir:bob@example.test");
	assert_string_equal(ask(site, "b@example.test"), "250 maildir:carol@example.test");
	assert_string_equal(ask(site, "c@example.test"), "250 maildir:dave@example.test");
	finish();
}

static void
loops_of_any_length_are_found(void **state)
{
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	buf_add_text(&text,
	    "one@example.test one@example.test\n"
	    "a@example.test b@example.test\nb@example.test a@example.test\n"
	    "c@example.test d@example.test\nd@example.test c@example.test, bob\n");
	for (unsigned i = 0; i < 100; i++)
		buf_printf(&text, "n%u@example.test n%u@example.test\n", i, (i + 1) % 100);
	buf_add_u8(&text, '\0');
	start_virtual((const char *)text.data, users);
	buf_free(&text);
	ready();
	assert_string_equal(
	    ask(site, "one@example.test"), "550 5.4.6 the alias leads back to itself");
	assert_string_equal(
	    ask(site, "a@example.test"), "550 5.4.6 the alias leads back to itself");
	assert_string_equal(
	    ask(site, "n0@example.test"), "550 5.4.6 the alias leads back to itself");
	assert_string_equal(
	    ask(site, "n57@example.test"), "550 5.4.6 the alias leads back to itself");
	assert_string_equal(ask(site, "c@example.test"), "250 maildir:bob@example.test");
	finish();
}

static void
a_chain_that_never_ends_is_cut_at_the_limit(void **state)
{
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	for (unsigned i = 0; i < 10000; i++)
		buf_printf(&text, "n%u@example.test n%u@example.test\n", i, i + 1);
	buf_add_u8(&text, '\0');
	start_virtual((const char *)text.data, users);
	buf_free(&text);
	ready();
	assert_string_equal(
	    ask(site, "n9990@example.test"), "550 5.1.1 no mailbox behind this alias");
	assert_memory_equal(ask(site, "n0@example.test"), "550 5.5.3", 9);
	finish();
}

static void
a_hundred_thousand_targets_are_refused_in_linear_time(void **state)
{
	struct timespec start, end;
	struct buf text;

	(void)state;
	buf_init(&text, 16 << 20);
	buf_add_text(&text, "all@example.test u0");
	for (unsigned i = 1; i < 100000; i++)
		buf_printf(&text, ", u%u", i);
	buf_add_text(&text, "\nsame@example.test bob");
	for (unsigned i = 1; i < 100000; i++)
		buf_add_text(&text, ",bob");
	buf_add_text(&text, "\n");
	buf_add_u8(&text, '\0');
	start_virtual((const char *)text.data, users);
	buf_free(&text);
	ready();
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned i = 0; i < 10; i++) {
		assert_string_equal(ask(site, "all@example.test"),
		    "550 5.5.3 the alias leads to more than 1000 mailboxes");
		assert_string_equal(ask(site, "same@example.test"), "250 maildir:bob@example.test");
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - start.tv_sec < 10);
	finish();
}

static void
exactly_as_many_targets_as_the_limit_are_taken(void **state)
{
	struct buf virtuals, base;

	(void)state;
	buf_init(&virtuals, 1 << 20);
	buf_init(&base, 1 << 20);
	buf_add_text(&virtuals, "max@example.test u0");
	for (unsigned i = 0; i < 1001; i++)
		buf_printf(&base, "u%u 5000:5000:/v\n", i);
	for (unsigned i = 1; i < 1000; i++)
		buf_printf(&virtuals, ",u%u", i);
	buf_add_text(&virtuals, "\nover@example.test max@example.test, u1000\n");
	buf_add_u8(&virtuals, '\0');
	buf_add_u8(&base, '\0');
	start_virtual((const char *)virtuals.data, (const char *)base.data);
	config->limits.targets = 1000;
	buf_free(&virtuals);
	buf_free(&base);
	ready();
	{
		struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", "max@example.test");
		struct expanded expanded;

		expand_recipient(site, &rcpt, NULL, &expanded);
		assert_int_equal(expanded.reply.code, 250);
		assert_int_equal(expanded.count, 1000);
		assert_int_equal(expanded.mailbox.reply.code, 0);
		expanded_free(&expanded);
	}
	assert_memory_equal(ask(site, "over@example.test"), "550 5.5.3", 9);
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lists_in_lists_end),
		TEST(loops_of_any_length_are_found),
		TEST(a_chain_that_never_ends_is_cut_at_the_limit),
		TEST(a_hundred_thousand_targets_are_refused_in_linear_time),
		TEST(exactly_as_many_targets_as_the_limit_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
