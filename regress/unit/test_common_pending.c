/* Requests are answered, fail in time, or fail together; each exactly once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/pending.h"

#define FAILED_MAX 20000

struct fixture {
	struct event_base *base;
	struct pending *pending;
	size_t failed;
	uint32_t ids[FAILED_MAX];
	void *owners[FAILED_MAX];
	const char *why;
	uint32_t cancel; /* by the next failure */
	bool add_again;
	uint32_t added;
};

static void
on_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	struct fixture *f = arg;

	assert_true(f->failed < FAILED_MAX);
	assert_null(pending_get(f->pending, id));
	f->ids[f->failed] = id;
	f->owners[f->failed] = owner;
	f->failed++;
	f->why = why;
	if (f->cancel != 0) {
		pending_cancel(f->pending, f->cancel);
		f->cancel = 0;
	}
	if (f->add_again)
		f->added = pending_add(f->pending, owner, 0);
}

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->base = event_base_new();
	f->pending = pending_new(f->base, on_failed, f);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	pending_free(f->pending);
	event_base_free(f->base);
	free(f);
	return 0;
}

static void
an_answer_finds_its_owner_once(void **state)
{
	struct fixture *f = *state;
	int owner;
	uint32_t id = pending_add(f->pending, &owner, 60000);

	assert_int_not_equal(id, 0);
	assert_ptr_equal(pending_get(f->pending, id), &owner);
	assert_ptr_equal(pending_get(f->pending, id), &owner);
	assert_ptr_equal(pending_take(f->pending, id), &owner);
	assert_null(pending_take(f->pending, id));
	assert_null(pending_get(f->pending, id));
	assert_int_equal(pending_count(f->pending), 0);
	assert_int_equal(f->failed, 0);
}

static void
invented_ids_find_nothing(void **state)
{
	struct fixture *f = *state;
	int owner;
	uint32_t id = pending_add(f->pending, &owner, 60000);

	assert_null(pending_take(f->pending, 0));
	assert_null(pending_take(f->pending, id + 1));
	assert_null(pending_take(f->pending, id + 64)); /* the same bucket */
	assert_null(pending_take(f->pending, UINT32_MAX));
	assert_int_equal(pending_count(f->pending), 1);
}

static void
a_deadline_passes_in_its_time_and_in_order(void **state)
{
	struct fixture *f = *state;
	int a, b, c;
	uint32_t ids[3];
	int64_t began = clock_monotonic_ms(), took;

	ids[0] = pending_add(f->pending, &a, 90);
	ids[1] = pending_add(f->pending, &b, 30);
	ids[2] = pending_add(f->pending, &c, 60);
	assert_int_equal(event_base_dispatch(f->base), 1); /* until nothing waits */
	took = clock_monotonic_ms() - began;
	assert_true(took >= 89);
	assert_int_equal(f->failed, 3);
	assert_int_equal(f->ids[0], ids[1]);
	assert_int_equal(f->ids[1], ids[2]);
	assert_int_equal(f->ids[2], ids[0]);
	assert_ptr_equal(f->owners[0], &b);
	assert_string_equal(f->why, "no answer in time");
	/* The late answer finds nothing. */
	assert_null(pending_take(f->pending, ids[1]));
}

static void
what_was_cancelled_or_taken_does_not_fail(void **state)
{
	struct fixture *f = *state;
	int a;
	uint32_t first = pending_add(f->pending, &a, 10), second = pending_add(f->pending, &a, 20);

	pending_cancel(f->pending, first);
	pending_cancel(f->pending, first);
	assert_ptr_equal(pending_take(f->pending, second), &a);
	event_base_dispatch(f->base);
	assert_int_equal(f->failed, 0);
}

static void
a_dead_process_fails_all_oldest_first(void **state)
{
	struct fixture *f = *state;
	int owners[100];
	uint32_t ids[100];
	size_t i;

	for (i = 0; i < 100; i++)
		ids[i] = pending_add(f->pending, &owners[i], (unsigned)(100000 - i));
	pending_cancel(f->pending, ids[50]);
	pending_fail_all(f->pending, "queue died");
	assert_int_equal(f->failed, 99);
	assert_int_equal(f->ids[0], ids[0]);
	assert_int_equal(f->ids[50], ids[51]);
	assert_int_equal(f->ids[98], ids[99]);
	assert_string_equal(f->why, "queue died");
	assert_int_equal(pending_count(f->pending), 0);
}

static void
a_failure_may_cancel_another(void **state)
{
	struct fixture *f = *state;
	int a;

	pending_add(f->pending, &a, 60000);
	f->cancel = pending_add(f->pending, &a, 60000);
	pending_add(f->pending, &a, 60000);
	pending_fail_all(f->pending, "queue died");
	assert_int_equal(f->failed, 2);
	assert_int_equal(pending_count(f->pending), 0);
}

static void
a_failure_may_ask_again(void **state)
{
	struct fixture *f = *state;
	int a;

	f->add_again = true;
	pending_add(f->pending, &a, 60000);
	pending_fail_all(f->pending, "queue died");
	/* The new request isn't failed with the old ones. */
	assert_int_equal(f->failed, 1);
	assert_ptr_equal(pending_get(f->pending, f->added), &a);
	f->add_again = false;
	event_base_dispatch(f->base);
	assert_int_equal(f->failed, 2);
}

static void
many_requests_keep_their_owners(void **state)
{
	struct fixture *f = *state;
	static int owners[10000];
	static uint32_t ids[10000];
	size_t i;

	for (i = 0; i < 10000; i++)
		ids[i] = pending_add(f->pending, &owners[i], 1000 + (unsigned)(i * 7919 % 1000));
	for (i = 0; i < 10000; i++)
		assert_ptr_equal(pending_get(f->pending, ids[i]), &owners[i]);
	for (i = 0; i < 10000; i += 2)
		assert_ptr_equal(pending_take(f->pending, ids[i]), &owners[i]);
	assert_int_equal(pending_count(f->pending), 5000);
	for (i = 1; i < 10000; i += 2)
		assert_ptr_equal(pending_take(f->pending, ids[i]), &owners[i]);
	assert_int_equal(pending_count(f->pending), 0);
	assert_int_equal(f->failed, 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(an_answer_finds_its_owner_once),
		WITH(invented_ids_find_nothing),
		WITH(a_deadline_passes_in_its_time_and_in_order),
		WITH(what_was_cancelled_or_taken_does_not_fail),
		WITH(a_dead_process_fails_all_oldest_first),
		WITH(a_failure_may_cancel_another),
		WITH(a_failure_may_ask_again),
		WITH(many_requests_keep_their_owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
