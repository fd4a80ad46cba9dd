/* Who may use the control socket, and what becomes of a request before it is passed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtpctl/control_order.h"

#define CALLER 4711

static struct buf buf;
static struct control_order order;

static int
set_up(void **state)
{
	(void)state;
	buf_init(&buf, IMSG_PAYLOAD_MAX);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	buf_free(&buf);
	return 0;
}

static bool
decode(enum ipc_control_type type)
{
	return control_order_decode(&order, (uint16_t)type, buf.data, buf.length, CALLER);
}

static void
test_only_root_may_when_the_suite_was_started_by_root(void **state)
{
	(void)state;
	assert_true(control_order_allows(0, 990, true));
	assert_false(control_order_allows(990, 990, true));
	assert_false(control_order_allows(1000, 990, true));
	assert_false(control_order_allows((uid_t)-1, 990, true));
}

static void
test_without_root_its_own_user_may_too(void **state)
{
	(void)state;
	assert_true(control_order_allows(0, 1000, false));
	assert_true(control_order_allows(1000, 1000, false));
	assert_false(control_order_allows(1001, 1000, false));
}

static void
test_an_act_is_passed_on_with_the_callers_real_uid(void **state)
{
	struct ipc_act act = { .action = QUEUE_REMOVE,
		.caller_uid = 0,
		.filter = { .from = "@example.org", .older = 60, .id = 0x1234abcd } };
	struct buf_reader reader;

	(void)state;
	ipc_act_encode(&buf, &act);
	assert_true(decode(CONTROL_QUEUE_ACT));
	assert_int_equal(order.peer, CONTROL_PEER_QUEUE);
	assert_true(order.logged);
	assert_string_equal(order.verb, "remove");
	assert_string_equal(order.arguments, "1234abcd from @example.org older 60");
	buf_reader_init(&reader, order.payload.data, order.payload.length);
	assert_true(ipc_act_decode(&reader, &act) && buf_reader_done(&reader));
	assert_int_equal(act.caller_uid, CALLER);
	assert_string_equal(act.filter.from, "@example.org");
	control_order_free(&order);
}

static void
test_a_listing_begins_at_the_beginning_in_portions(void **state)
{
	struct ipc_filter filter = { .cursor = 99, .portion = UINT32_MAX };
	struct buf_reader reader;

	(void)state;
	ipc_filter_encode(&buf, &filter);
	assert_true(decode(CONTROL_QUEUE_LIST));
	assert_false(order.logged);
	buf_reader_init(&reader, order.payload.data, order.payload.length);
	assert_true(ipc_filter_decode(&reader, &filter));
	assert_true(filter.cursor == 0);
	assert_in_range(filter.portion, 1, 4096);
	order.filter.cursor = 5;
	control_order_encode_list(&order);
	buf_reader_init(&reader, order.payload.data, order.payload.length);
	assert_true(ipc_filter_decode(&reader, &filter) && buf_reader_done(&reader));
	assert_true(filter.cursor == 5);
	control_order_free(&order);
}

static void
test_a_password_hash_is_passed_on_but_never_logged(void **state)
{
	static char address[] = "u@example.org", hash[] = "$y$j9T$secret";
	struct ipc_account account = {
		.verb = ACCOUNT_USER_PASSWORD, .word_count = 2, .words = { address, hash }
	};
	struct buf_reader reader;

	(void)state;
	ipc_account_encode(&buf, &account);
	assert_true(decode(CONTROL_ACCOUNT));
	assert_int_equal(order.peer, CONTROL_PEER_DIRECTORY);
	assert_string_equal(order.verb, "user passwd");
	assert_string_equal(order.arguments, "u@example.org");
	buf_reader_init(&reader, order.payload.data, order.payload.length);
	assert_true(ipc_account_decode(&reader, &account));
	assert_int_equal(account.caller_uid, CALLER);
	assert_string_equal(account.words[1], "$y$j9T$secret");
	ipc_account_free(&account);
	control_order_free(&order);
}

static void
test_long_arguments_are_cut(void **state)
{
	char word[1000];
	struct ipc_account account = { .verb = ACCOUNT_ALIAS_ADD, .word_count = 12 };

	(void)state;
	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	for (size_t i = 0; i < account.word_count; i++)
		account.words[i] = word;
	ipc_account_encode(&buf, &account);
	assert_true(decode(CONTROL_ACCOUNT));
	assert_int_equal(strlen(order.arguments), sizeof(order.arguments) - 1);
	control_order_free(&order);
}

static void
test_changes_are_logged_and_looks_are_not(void **state)
{
	static const bool logged[ACCOUNT_VERB_COUNT] = {
		[ACCOUNT_DOMAIN_ADD] = true,
		[ACCOUNT_DOMAIN_DELETE] = true,
		[ACCOUNT_USER_ADD] = true,
		[ACCOUNT_USER_DELETE] = true,
		[ACCOUNT_USER_PASSWORD] = true,
		[ACCOUNT_USER_QUOTA] = true,
		[ACCOUNT_ALIAS_ADD] = true,
		[ACCOUNT_ALIAS_DELETE] = true,
		[ACCOUNT_TLS_REPORT_SEND] = true,
	};

	(void)state;
	for (int verb = 0; verb < ACCOUNT_VERB_COUNT; verb++) {
		struct ipc_account account = { .verb = (enum account_verb)verb };

		buf_clear(&buf);
		ipc_account_encode(&buf, &account);
		assert_true(decode(CONTROL_ACCOUNT));
		assert_int_equal(order.logged, logged[verb]);
		control_order_free(&order);
	}
	for (int verb = 0; verb < CONTROL_VERB_COUNT; verb++) {
		struct ipc_control control = { .verb = (enum control_verb)verb };

		buf_clear(&buf);
		ipc_control_encode(&buf, &control);
		assert_true(decode(CONTROL_SUPERVISOR));
		assert_int_equal(order.logged, verb != CONTROL_SMTP_STATUS);
		assert_int_equal(order.peer, CONTROL_PEER_SUPERVISOR);
		control_order_free(&order);
	}
	for (int mda = 0; mda < 2; mda++) {
		struct ipc_pause pause = { .mda = mda != 0, .paused = true };

		buf_clear(&buf);
		ipc_pause_encode(&buf, &pause);
		assert_true(decode(CONTROL_QUEUE_PAUSE));
		assert_true(order.logged);
		assert_string_equal(order.arguments, mda != 0 ? "mda" : "mta");
		control_order_free(&order);
	}
}

static void
test_relaying_to_one_domain_is_paused_and_shown(void **state)
{
	struct ipc_pause pause = { .paused = true, .domain = "far.test" };
	struct ipc_filter filter = { .to = "@far.test", .cursor = 7, .portion = 1000000 };

	(void)state;
	buf_clear(&buf);
	ipc_pause_encode(&buf, &pause);
	assert_true(decode(CONTROL_QUEUE_PAUSE));
	assert_string_equal(order.arguments, "mta for far.test");
	control_order_free(&order);
	buf_clear(&buf);
	ipc_filter_encode(&buf, &filter);
	assert_true(decode(CONTROL_DESTINATION_LIST));
	assert_false(order.logged);
	assert_int_equal(order.peer, CONTROL_PEER_QUEUE);
	/* Where to begin, and how much at a time, isn't the caller's to say. */
	assert_true(order.filter.cursor == 0 && order.filter.portion < 1000);
	control_order_free(&order);
}

static void
test_answers_unknown_types_and_bad_payloads_are_no_requests(void **state)
{
	static const uint16_t types[] = { 0, CONTROL_ENVELOPE, CONTROL_DESTINATION,
		CONTROL_QUEUE_LIST_MORE, CONTROL_QUEUE_STATUS, CONTROL_LINE, CONTROL_DONE,
		CONTROL_TYPE_END, UINT16_MAX };
	struct ipc_filter filter = { .id = 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		assert_false(control_order_decode(&order, types[i], NULL, 0, 0));
	assert_false(decode(CONTROL_QUEUE_ACT));
	assert_false(decode(CONTROL_ACCOUNT));
	/* A message is shown by its id, never all of them. */
	ipc_filter_encode(&buf, &filter);
	assert_false(decode(CONTROL_QUEUE_MESSAGE));
	/* A byte too many. */
	buf_add_u8(&buf, 0);
	assert_false(decode(CONTROL_QUEUE_LIST));
	assert_false(decode(CONTROL_STATS));
	assert_false(decode(CONTROL_STATUS));
}

static void
test_dkim_is_passed_on_with_the_callers_real_uid(void **state)
{
	struct ipc_dkim dkim = { .verb = DKIM_ADD,
		.caller_uid = 1,
		.domain = "example.org",
		.selector = "s1",
		.has_algorithm = true,
		.algorithm = DKIM_ED25519_SHA256 };
	struct buf_reader reader;

	(void)state;
	ipc_dkim_encode(&buf, &dkim);
	assert_true(decode(CONTROL_DKIM));
	assert_int_equal(order.peer, CONTROL_PEER_SUPERVISOR);
	assert_true(order.logged);
	assert_string_equal(order.verb, "dkim add");
	assert_string_equal(order.arguments, "example.org s1 ed25519");
	buf_reader_init(&reader, order.payload.data, order.payload.length);
	assert_true(ipc_dkim_decode(&reader, &dkim));
	assert_int_equal(dkim.caller_uid, CALLER);
	control_order_free(&order);
	strcpy(dkim.domain, "../etc");
	buf_clear(&buf);
	ipc_dkim_encode(&buf, &dkim);
	assert_false(decode(CONTROL_DKIM));
	dkim = (struct ipc_dkim){ .verb = DKIM_DELETE, .domain = "example.org" };
	buf_clear(&buf);
	ipc_dkim_encode(&buf, &dkim);
	assert_false(decode(CONTROL_DKIM));
}

static void
test_scripts_are_asked_for_with_the_callers_real_uid(void **state)
{
	struct ipc_scripts scripts = {
		.caller_uid = 1, .user = "alice@example.org", .purpose = "put holiday"
	};
	struct buf_reader reader;

	(void)state;
	ipc_scripts_encode(&buf, &scripts);
	assert_true(decode(CONTROL_SCRIPTS));
	assert_int_equal(order.peer, CONTROL_PEER_DIRECTORY);
	assert_true(order.logged);
	assert_string_equal(order.verb, "sieve");
	assert_string_equal(order.arguments, "alice@example.org put holiday");
	buf_reader_init(&reader, order.payload.data, order.payload.length);
	assert_true(ipc_scripts_decode(&reader, &scripts));
	assert_int_equal(scripts.caller_uid, CALLER);
	control_order_free(&order);
	*scripts.user = '\0';
	buf_clear(&buf);
	ipc_scripts_encode(&buf, &scripts);
	assert_false(decode(CONTROL_SCRIPTS));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_root_may_when_the_suite_was_started_by_root),
		cmocka_unit_test(test_without_root_its_own_user_may_too),
		cmocka_unit_test_setup_teardown(
		    test_scripts_are_asked_for_with_the_callers_real_uid, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_an_act_is_passed_on_with_the_callers_real_uid, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_dkim_is_passed_on_with_the_callers_real_uid, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_listing_begins_at_the_beginning_in_portions, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_password_hash_is_passed_on_but_never_logged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_arguments_are_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_changes_are_logged_and_looks_are_not, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_relaying_to_one_domain_is_paused_and_shown, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_answers_unknown_types_and_bad_payloads_are_no_requests, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
