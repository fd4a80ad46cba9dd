/*
 * What a user may send in an hour.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lookup/hourly.h"

#define HOUR_MS 3600000

static void
a_user_has_so_many_an_hour(void **state)
{
	struct hourly *hourly = hourly_new();
	int64_t now_ms = 5000;
	bool first;

	(void)state;
	assert_int_equal(hourly_left(hourly, "ann", 10, now_ms), 10);
	for (unsigned i = 0; i < 10; i++)
		assert_true(hourly_take(hourly, "ann", 10, now_ms, &first));
	assert_int_equal(hourly_left(hourly, "ann", 10, now_ms), 0);
	assert_int_equal(hourly_left(hourly, "ann", 10, now_ms + 3 * HOUR_MS / 10 + 1), 3);
	assert_int_equal(hourly_left(hourly, "ann", 10, now_ms + 5 * HOUR_MS), 10);
	assert_int_equal(hourly_left(hourly, "bob", 10, now_ms), 10);
	assert_false(hourly_take(hourly, "ann", 10, now_ms, &first));
	assert_true(first);
	assert_false(hourly_take(hourly, "ann", 10, now_ms, &first));
	assert_false(first);
	assert_true(hourly_take(hourly, "bob", 10, now_ms, &first));
	/* A tenth of an hour is one more. */
	now_ms += HOUR_MS / 10 + 1;
	assert_true(hourly_take(hourly, "ann", 10, now_ms, &first));
	assert_false(hourly_take(hourly, "ann", 10, now_ms, &first));
	assert_false(first);
	/* However long one waits, no more than for an hour is saved. */
	now_ms += 100LL * HOUR_MS;
	for (unsigned i = 0; i < 10; i++)
		assert_true(hourly_take(hourly, "ann", 10, now_ms, &first));
	assert_false(hourly_take(hourly, "ann", 10, now_ms, &first));
	assert_true(first);
	/* The limit has been raised, or lowered. */
	assert_false(hourly_take(hourly, "ann", 1000, now_ms, &first));
	now_ms += HOUR_MS;
	assert_true(hourly_take(hourly, "ann", 1, now_ms, &first));
	assert_false(hourly_take(hourly, "ann", 1, now_ms, &first));
	hourly_free(hourly);
}

static void
few_users_are_kept(void **state)
{
	struct hourly *hourly = hourly_new();
	char name[32];
	bool first;

	(void)state;
	assert_true(hourly_take(hourly, "ann", 1, 1, &first));
	assert_false(hourly_take(hourly, "ann", 1, 1, &first));
	for (unsigned i = 0; i < 9000; i++) {
		snprintf(name, sizeof(name), "user%u", i);
		assert_true(hourly_take(hourly, name, 1, 1, &first));
	}
	assert_false(hourly_take(hourly, "ann", 1, 1, &first));
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "other%u", i);
		assert_true(hourly_take(hourly, name, 1, 1, &first));
	}
	assert_true(hourly_take(hourly, "ann", 1, 1, &first));
	hourly_free(hourly);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_user_has_so_many_an_hour),
		cmocka_unit_test(few_users_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
