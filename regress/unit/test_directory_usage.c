/*
 * Quotas at RCPT: when a mailbox's mda is asked, what is done with the answer, and that no answer
 * lets the mail through.
 */
#include <event2/event.h>

#include "regress/unit/test_directory_fixture.h"

#include "lookup/usage.h"

static struct event_base *base;
static struct usage *usage;
static unsigned asked;
static uint32_t last_id;
static bool reachable;
static char decisions[256]; /* one letter an owner, "+" fits, "-" over */

static bool
ask_queue(uint32_t id, const struct ipc_mailbox *mailbox, void *arg)
{
	(void)arg;
	assert_string_equal(mailbox->path, "/m/bob");
	if (!reachable)
		return false;
	asked++;
	last_id = id;
	return true;
}

static void
decided(void *owner, bool fits, void *arg)
{
	(void)arg;
	strncat(decisions, owner, 8);
	strcat(decisions, fits ? "+" : "-");
}

static int
start(void **state)
{
	(void)state;
	base = event_base_new();
	usage = usage_new(base, ask_queue, decided, NULL);
	asked = 0;
	reachable = true;
	*decisions = '\0';
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	usage_free(usage);
	event_base_free(base);
	return 0;
}

static struct ipc_mailbox
mailbox(uint64_t bytes, uint64_t messages)
{
	struct ipc_mailbox box = { .uid = 5000, .quota_bytes = bytes, .quota_messages = messages };

	strcpy(box.path, "/m/bob");
	return box;
}

static char a[] = "a", b[] = "b", c[] = "c";

static void
without_a_quota_nobody_is_asked(void **state)
{
	struct ipc_mailbox box = mailbox(0, 0);

	(void)state;
	assert_int_equal(usage_check(usage, &box, 1 << 30, a), USAGE_FITS);
	assert_int_equal(asked, 0);
}

static void
an_answer_decides_for_all_that_wait(void **state)
{
	struct ipc_mailbox box = mailbox(1000, 0);

	(void)state;
	assert_int_equal(usage_check(usage, &box, 100, a), USAGE_ASKED);
	assert_int_equal(usage_check(usage, &box, 500, b), USAGE_ASKED);
	assert_int_equal(usage_check(usage, &box, 10, c), USAGE_ASKED);
	assert_int_equal(asked, 1);
	usage_answer(usage, last_id, &(struct ipc_usage){ .known = true, .bytes = 850 });
	assert_string_equal(decisions, "a+b-c+");
	/* An answer that comes again, or was never asked for, changes nothing. */
	usage_answer(usage, last_id, &(struct ipc_usage){ .known = true });
	usage_answer(usage, 12345, &(struct ipc_usage){ .known = true });
	assert_string_equal(decisions, "a+b-c+");
}

static void
a_kept_answer_with_room_costs_no_question(void **state)
{
	struct ipc_mailbox box = mailbox(1000, 0);

	(void)state;
	assert_int_equal(usage_check(usage, &box, 100, a), USAGE_ASKED);
	usage_answer(usage, last_id, &(struct ipc_usage){ .known = true, .bytes = 100 });
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(usage_check(usage, &box, 100, b), USAGE_FITS);
	assert_int_equal(asked, 1);
	/* What was let through counts: near the limit it is asked again. */
	assert_int_equal(usage_check(usage, &box, 100, c), USAGE_ASKED);
	assert_int_equal(asked, 2);
}

static void
recipients_that_bring_no_message_fill_no_mailbox(void **state)
{
	struct ipc_mailbox box = mailbox(1000, 0);

	(void)state;
	assert_int_equal(usage_check(usage, &box, 100, a), USAGE_ASKED);
	usage_answer(usage, last_id, &(struct ipc_usage){ .known = true, .bytes = 0 });
	for (unsigned i = 0; i < 50; i++) {
		enum usage_result checked = usage_check(usage, &box, 900, b);

		assert_int_not_equal(checked, USAGE_OVER);
		if (checked == USAGE_ASKED)
			usage_answer(usage, last_id, &(struct ipc_usage){ .known = true });
	}
	assert_null(strchr(decisions, '-'));
}

static void
a_full_mailbox_is_refused_from_the_kept_answer(void **state)
{
	struct ipc_mailbox box = mailbox(0, 10);

	(void)state;
	assert_int_equal(usage_check(usage, &box, 0, a), USAGE_ASKED);
	usage_answer(usage, last_id, &(struct ipc_usage){ .known = true, .messages = 10 });
	assert_string_equal(decisions, "a-");
	assert_int_equal(usage_check(usage, &box, 0, b), USAGE_OVER);
	assert_int_equal(asked, 1);
	/* A higher quota counts at once. */
	usage_forget(usage);
	box.quota_messages = 20;
	assert_int_equal(usage_check(usage, &box, 0, c), USAGE_ASKED);
}

static void
a_message_larger_than_the_quota_needs_no_question(void **state)
{
	struct ipc_mailbox box = mailbox(1000, 0);

	(void)state;
	assert_int_equal(usage_check(usage, &box, 1001, a), USAGE_OVER);
	assert_int_equal(usage_check(usage, &box, UINT64_MAX, a), USAGE_OVER);
	assert_int_equal(asked, 0);
}

static void
unknown_usage_lets_the_mail_through(void **state)
{
	struct ipc_mailbox box = mailbox(1000, 0);

	(void)state;
	assert_int_equal(usage_check(usage, &box, 100, a), USAGE_ASKED);
	usage_answer(usage, last_id, &(struct ipc_usage){ .known = false, .bytes = 5000 });
	assert_string_equal(decisions, "a+");
	/* It isn't kept. */
	assert_int_equal(usage_check(usage, &box, 100, b), USAGE_ASKED);
}

static void
without_a_queue_the_mail_is_let_through(void **state)
{
	struct ipc_mailbox box = mailbox(1000, 0);

	(void)state;
	reachable = false;
	assert_int_equal(usage_check(usage, &box, 100, a), USAGE_FITS);
	reachable = true;
	assert_int_equal(usage_check(usage, &box, 100, a), USAGE_ASKED);
	usage_fail_all(usage, "test");
	assert_string_equal(decisions, "a+");
	assert_int_equal(usage_check(usage, &box, 100, b), USAGE_ASKED);
}

static void
no_answer_in_time_lets_the_mail_through(void **state)
{
	struct ipc_mailbox box = mailbox(1000, 0);

	(void)state;
	assert_int_equal(usage_check(usage, &box, 100, a), USAGE_ASKED);
	assert_int_equal(usage_check(usage, &box, 100, b), USAGE_ASKED);
	while (strlen(decisions) < 4)
		assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	assert_string_equal(decisions, "a+b+");
}

static void
huge_numbers_dont_overflow(void **state)
{
	struct ipc_mailbox box = mailbox(UINT64_MAX, UINT64_MAX);

	(void)state;
	assert_int_equal(usage_check(usage, &box, UINT64_MAX - 1, a), USAGE_ASKED);
	usage_answer(usage, last_id,
	    &(struct ipc_usage){ .known = true, .bytes = UINT64_MAX, .messages = UINT64_MAX });
	assert_string_equal(decisions, "a-");
}

#define USAGE_TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		USAGE_TEST(without_a_quota_nobody_is_asked),
		USAGE_TEST(an_answer_decides_for_all_that_wait),
		USAGE_TEST(a_kept_answer_with_room_costs_no_question),
		USAGE_TEST(recipients_that_bring_no_message_fill_no_mailbox),
		USAGE_TEST(a_full_mailbox_is_refused_from_the_kept_answer),
		USAGE_TEST(a_message_larger_than_the_quota_needs_no_question),
		USAGE_TEST(unknown_usage_lets_the_mail_through),
		USAGE_TEST(without_a_queue_the_mail_is_let_through),
		USAGE_TEST(no_answer_in_time_lets_the_mail_through),
		USAGE_TEST(huge_numbers_dont_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
