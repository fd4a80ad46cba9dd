/* A child that died is back at once; one that keeps dying, later and later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtpd/supervisor_backoff.h"

static void
the_first_death_is_made_good_at_once(void **state)
{
	struct backoff backoff = { 0 };

	(void)state;
	assert_int_equal(backoff_next_ms(&backoff, 0), 0);
}

static void
deaths_in_a_row_double_the_wait_up_to_its_bound(void **state)
{
	static const unsigned expected[] = { 0, 100, 200, 400, 800, 1600, 3200, 6400, 10000,
		10000 };
	struct backoff backoff = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(backoff_next_ms(&backoff, 50), expected[i]);
	for (i = 0; i < 100000; i++)
		assert_int_equal(backoff_next_ms(&backoff, BACKOFF_LIVED_MS - 1), BACKOFF_MAX_MS);
}

static void
a_child_that_has_lived_is_back_at_once_again(void **state)
{
	struct backoff backoff = { 0 };
	int i;

	(void)state;
	for (i = 0; i < 6; i++)
		backoff_next_ms(&backoff, 0);
	assert_int_equal(backoff_next_ms(&backoff, BACKOFF_LIVED_MS), 0);
	assert_int_equal(backoff_next_ms(&backoff, 0), 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_death_is_made_good_at_once),
		cmocka_unit_test(deaths_in_a_row_double_the_wait_up_to_its_bound),
		cmocka_unit_test(a_child_that_has_lived_is_back_at_once_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
