/*
 * Who is slowed down by failed logins, and who never is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lookup/throttle.h"

#define LIMIT  10
#define MINUTE 60000

static struct throttle *throttle;
static int64_t now_ms;
static unsigned wait_ms;

static int
set_up(void **state)
{
	(void)state;
	throttle = throttle_new(LIMIT);
	now_ms = 1000;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	throttle_free(throttle);
	return 0;
}

static struct throttle_client
from(unsigned network, unsigned host, const char *account)
{
	return (struct throttle_client){ .family = CLIENT_INET4,
		.address = { 10, (uint8_t)(network >> 8), (uint8_t)network, (uint8_t)host },
		.account = account };
}

static enum throttle_answer
ask(struct throttle_client client)
{
	return throttle_ask(throttle, &client, now_ms, &wait_ms);
}

static void
note(struct throttle_client client, bool right)
{
	throttle_note(throttle, &client, right, now_ms);
	throttle_leave(throttle, &client, now_ms);
}

static void
the_first_failures_cost_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LIMIT; i++) {
		assert_int_equal(ask(from(1, 1, "alice")), THROTTLE_FREE);
		note(from(1, 1, "alice"), false);
	}
	assert_int_equal(ask(from(1, 1, "alice")), THROTTLE_WAIT);
	assert_in_range(wait_ms, 1, 1000);
}

static void
a_network_that_goes_on_waits_longer_and_only_itself(void **state)
{
	char name[16];
	unsigned first;

	(void)state;
	for (unsigned i = 0; i < LIMIT; i++) {
		snprintf(name, sizeof(name), "user%u", i);
		note(from(1, i, name), false);
	}
	assert_int_equal(ask(from(1, 77, "new")), THROTTLE_WAIT);
	first = wait_ms;
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "other%u", i);
		note(from(1, i, name), false);
	}
	now_ms += MINUTE;
	assert_int_equal(ask(from(1, 78, "new")), THROTTLE_WAIT);
	assert_true(wait_ms > first);
	assert_int_equal(ask(from(2, 1, "new")), THROTTLE_FREE);
}

/* However many connections there are, they are looked at one after another. */
static void
a_networks_passwords_stand_in_one_line(void **state)
{
	enum throttle_answer answer;
	unsigned last = 0, count = 0;

	(void)state;
	for (unsigned i = 0; i < 2 * LIMIT; i++)
		note(from(1, i, "x"), false);
	while ((answer = ask(from(1, count % 256, "y"))) == THROTTLE_WAIT) {
		assert_true(wait_ms > last);
		assert_true(wait_ms <= THROTTLE_WAIT_MAX_MS);
		last = wait_ms;
		count++;
		assert_true(count < 100);
	}
	assert_int_equal(answer, THROTTLE_CROWDED);
	assert_true(count >= 5);
}

static void
guesses_from_everywhere_dont_keep_the_owner_out(void **state)
{
	(void)state;
	note(from(500, 1, "alice"), true); /* at home */
	for (unsigned i = 0; i < 10000; i++) {
		assert_int_not_equal(ask(from(1000 + i, 1, "alice")), THROTTLE_CROWDED);
		note(from(1000 + i, 1, "alice"), false);
	}
	assert_int_equal(ask(from(500, 99, "alice")), THROTTLE_KNOWN);
	/* Away from home: slowly. */
	assert_int_equal(ask(from(501, 1, "alice")), THROTTLE_WAIT);
	assert_true(wait_ms <= THROTTLE_WAIT_MAX_MS);
	/* Nobody else is slower for it. */
	assert_int_equal(ask(from(501, 1, "bob")), THROTTLE_FREE);
}

/* None of them is known to be wrong yet. */
static void
many_guesses_at_once_stand_behind_others(void **state)
{
	struct throttle_client last = from(2000, 1, "alice");

	(void)state;
	note(from(500, 1, "alice"), true);
	for (unsigned i = 0; i < LIMIT; i++)
		assert_int_equal(ask(from(1000 + i, 1, "alice")), THROTTLE_FREE);
	assert_int_equal(ask(last), THROTTLE_WAIT);
	assert_int_equal(wait_ms, 0);
	assert_int_equal(ask(from(500, 2, "alice")), THROTTLE_KNOWN);
	assert_int_equal(ask(from(2001, 1, "bob")), THROTTLE_FREE);
	/* Those that have gone leave their places. */
	for (unsigned i = 0; i < 3; i++)
		throttle_leave(throttle, &last, now_ms);
	assert_int_equal(ask(last), THROTTLE_FREE);
}

static void
who_logged_in_lately_is_free_in_a_bad_network(void **state)
{
	(void)state;
	note(from(1, 5, "alice"), true);
	for (unsigned i = 0; i < 1000; i++)
		note(from(1, 9, "alice"), false);
	assert_int_equal(ask(from(1, 6, "alice")), THROTTLE_KNOWN);
	assert_int_not_equal(ask(from(1, 6, "bob")), THROTTLE_FREE);
}

static void
a_login_of_ones_own_doesnt_clear_the_network(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * LIMIT; i++) {
		note(from(1, 9, "alice"), false);
		note(from(1, 9, "mallory"), true);
	}
	assert_int_not_equal(ask(from(1, 9, "bob")), THROTTLE_FREE);
}

static void
failures_are_forgotten_in_time(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * LIMIT; i++)
		note(from(1, 1, "alice"), false);
	assert_int_equal(ask(from(1, 1, "alice")), THROTTLE_WAIT);
	now_ms += 60 * MINUTE;
	assert_int_equal(ask(from(1, 1, "alice")), THROTTLE_FREE);
}

static void
an_ipv6_network_is_a_48(void **state)
{
	struct throttle_client client = {
		.family = CLIENT_INET6, .address = { 0x20, 0x01, 0x0d, 0xb8, 0, 1 }, .account = "x"
	};

	(void)state;
	for (unsigned i = 0; i < LIMIT; i++) {
		client.address[6] = (uint8_t)i;
		client.address[15] = (uint8_t)i;
		note(client, false);
	}
	client.account = "y";
	client.address[10] = 9;
	assert_int_equal(ask(client), THROTTLE_WAIT);
	client.address[5] = 2;
	assert_int_equal(ask(client), THROTTLE_FREE);
}

static size_t shown;
static bool network_shown;

static bool
show(const struct throttle_slow *slow, void *arg)
{
	(void)arg;
	shown++;
	if (slow->is_network && strcmp(slow->text, "10.0.1.0/24") == 0 && slow->failures == LIMIT)
		network_shown = true;
	return true;
}

static void
those_slowed_down_are_listed_and_few_are_kept(void **state)
{
	char name[32];

	(void)state;
	shown = 0;
	for (unsigned i = 0; i < LIMIT; i++)
		note(from(1, i, "alice"), false);
	throttle_each(throttle, now_ms, show, NULL);
	assert_int_equal(shown, 2); /* network and account */
	assert_true(network_shown);
	for (unsigned i = 0; i < 40000; i++) {
		snprintf(name, sizeof(name), "name%u", i);
		note(from(2 + i, 1, name), false);
	}
	shown = 0;
	throttle_each(throttle, now_ms, show, NULL);
	assert_int_equal(shown, 0); /* made room for later ones */
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(the_first_failures_cost_nothing),
		TEST(a_network_that_goes_on_waits_longer_and_only_itself),
		TEST(a_networks_passwords_stand_in_one_line),
		TEST(guesses_from_everywhere_dont_keep_the_owner_out),
		TEST(many_guesses_at_once_stand_behind_others),
		TEST(who_logged_in_lately_is_free_in_a_bad_network),
		TEST(a_login_of_ones_own_doesnt_clear_the_network),
		TEST(failures_are_forgotten_in_time),
		TEST(an_ipv6_network_is_a_48),
		TEST(those_slowed_down_are_listed_and_few_are_kept),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
