/* Policies of MTA-STS are kept, run out, are due again, and can't fill the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "common/store.h"
#include "lookup/policies.h"

#define NOW 1800000000

static char folder[64];
static struct policies *policies;
static struct ipc_sts_found found;

static int
set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/policies-XXXXXX");
	assert_non_null(mkdtemp(folder));
	policies = policies_new(folder);
	return 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	policies_free(policies);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static void
put(const char *domain, const char *id, enum sts_mode mode, uint32_t max_age, int64_t fetched)
{
	static struct ipc_sts_policy policy;

	memset(&policy, 0, sizeof(policy));
	strlcpy(policy.domain, domain, sizeof(policy.domain));
	strlcpy(policy.id, id, sizeof(policy.id));
	strlcpy(policy.mx, "mx.example.test *.example.test ", sizeof(policy.mx));
	policy.mode = mode;
	policy.max_age = max_age;
	policy.fetched = fetched;
	policies_put(policies, &policy, fetched);
}

static const struct ipc_sts_policy *
get(const char *domain, int64_t now)
{
	policies_get(policies, domain, now, &found);
	return found.status == RELAY_FOUND ? &found.policy : NULL;
}

static void
test_policy_outlives_the_process(void **state)
{
	(void)state;
	put("example.test", "1", STS_MODE_ENFORCE, 86400, NOW);
	policies_free(policies);
	policies = policies_new(folder);
	assert_non_null(get("example.test", NOW + 10));
	assert_string_equal(found.policy.mx, "mx.example.test *.example.test ");
	assert_int_equal(found.policy.mode, STS_MODE_ENFORCE);
	assert_int_equal(found.policy.fetched, NOW);
	assert_null(get("other.test", NOW));
	assert_int_equal(found.status, RELAY_FOUND_NONE);
}

static void
test_policy_is_good_for_its_max_age(void **state)
{
	(void)state;
	put("example.test", "1", STS_MODE_ENFORCE, 100, NOW);
	assert_non_null(get("example.test", NOW + 99));
	assert_null(get("example.test", NOW + 100));
}

static void
test_new_policy_replaces_the_old_one(void **state)
{
	(void)state;
	put("example.test", "1", STS_MODE_ENFORCE, 86400, NOW);
	put("example.test", "2", STS_MODE_NONE, 86400, NOW + 1);
	assert_non_null(get("example.test", NOW + 2));
	assert_string_equal(found.policy.id, "2");
	assert_int_equal(found.policy.mode, STS_MODE_NONE);
}

static void
test_same_policy_is_written_again_when_an_hour_has_passed(void **state)
{
	(void)state;
	put("example.test", "1", STS_MODE_ENFORCE, 864000, NOW);
	put("example.test", "1", STS_MODE_ENFORCE, 864000, NOW + 3599);
	assert_non_null(get("example.test", NOW + 3600));
	assert_int_equal(found.policy.fetched, NOW);
	put("example.test", "1", STS_MODE_ENFORCE, 864000, NOW + 3600);
	assert_non_null(get("example.test", NOW + 3600));
	assert_int_equal(found.policy.fetched, NOW + 3600);
}

static void
test_policies_are_due_after_a_day_or_half_of_their_time(void **state)
{
	(void)state;
	put("a.test", "1", STS_MODE_ENFORCE, 864000, NOW);
	put("b.test", "1", STS_MODE_NONE, 864000, NOW);
	put("c.test", "1", STS_MODE_TESTING, 1000, NOW);
	policies_due(policies, "", NOW + 499, &found);
	assert_int_equal(found.status, RELAY_FOUND_NONE);
	assert_string_equal(found.after, "");
	policies_due(policies, "", NOW + 500, &found);
	assert_int_equal(found.status, RELAY_FOUND);
	assert_string_equal(found.policy.domain, "c.test");
	policies_due(policies, "", NOW + 86400, &found);
	assert_int_equal(found.status, RELAY_FOUND);
	assert_string_equal(found.policy.domain, "a.test");
	policies_due(policies, "a.test", NOW + 86400, &found);
	assert_int_equal(found.status, RELAY_FOUND_NONE);
	/* The one that had run out is gone. */
	assert_null(get("c.test", NOW));
}

static void
test_policy_from_the_future_is_due(void **state)
{
	(void)state;
	put("a.test", "1", STS_MODE_ENFORCE, 864000, NOW);
	policies_due(policies, "", NOW - 3600, &found);
	assert_int_equal(found.status, RELAY_FOUND_NONE);
	policies_due(policies, "", NOW - 100000, &found);
	assert_int_equal(found.status, RELAY_FOUND);
}

static void
test_one_question_looks_at_a_portion(void **state)
{
	char name[32];
	unsigned questions = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "d%04d.test", i);
		put(name, "1", STS_MODE_NONE, 864000, NOW);
		/* More than so many a second aren't kept: another begins. */
		if (i % 40 == 39) {
			policies_free(policies);
			policies = policies_new(folder);
		}
	}
	policies_due(policies, "", NOW, &found);
	while (*found.after != '\0' && questions++ < 10) {
		char after[HOSTNAME_MAX + 1];

		strlcpy(after, found.after, sizeof(after));
		assert_int_equal(found.status, RELAY_FOUND_NONE);
		policies_due(policies, after, NOW, &found);
	}
	assert_int_equal(questions, 2);
}

static void
test_a_flood_is_not_kept(void **state)
{
	unsigned kept = 0;
	char name[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "d%d.test", i);
		put(name, "1", STS_MODE_ENFORCE, 864000, NOW);
	}
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "d%d.test", i);
		kept += get(name, NOW) != NULL;
	}
	assert_in_range(kept, POLICIES_PER_SECOND, 900);
}

static void
test_damaged_record_is_no_policy(void **state)
{
	struct store *store;
	struct store_transaction *transaction;

	(void)state;
	policies_free(policies);
	store = store_open(folder);
	assert_non_null(store);
	transaction = store_begin(store);
	assert_int_equal(store_put(store_table_open(store, "policies"), transaction, "example.test",
	                     "\1junk", 5, true),
	    STORE_OK);
	assert_true(store_commit(transaction));
	store_close(store);
	policies = policies_new(folder);
	assert_null(get("example.test", NOW));
	policies_due(policies, "", NOW, &found);
	assert_int_equal(found.status, RELAY_FOUND_NONE);
	put("example.test", "1", STS_MODE_ENFORCE, 864000, NOW);
	assert_non_null(get("example.test", NOW));
}

static void
test_store_that_cannot_be_opened_is_broken_for_a_while(void **state)
{
	struct policies *none = policies_new("/proc/none/policies");

	(void)state;
	policies_get(none, "example.test", NOW, &found);
	assert_int_equal(found.status, RELAY_FOUND_BROKEN);
	policies_due(none, "", NOW, &found);
	assert_int_equal(found.status, RELAY_FOUND_BROKEN);
	policies_free(none);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    test_policy_outlives_the_process, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_policy_is_good_for_its_max_age, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_new_policy_replaces_the_old_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_same_policy_is_written_again_when_an_hour_has_passed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_policies_are_due_after_a_day_or_half_of_their_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_policy_from_the_future_is_due, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_one_question_looks_at_a_portion, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_flood_is_not_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_damaged_record_is_no_policy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_store_that_cannot_be_opened_is_broken_for_a_while, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
