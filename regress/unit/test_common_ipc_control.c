/* The payloads of the control socket: what is encoded is decoded, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/ipc_control.h"

static void
start(struct buf *buf)
{
	buf_init(buf, IMSG_PAYLOAD_MAX);
}

static struct ipc_filter
whole_filter(void)
{
	struct ipc_filter filter = {
		.id = 0x1234567800000001,
		.from = "@example.org",
		.to = "u@example.net",
		.older = 3600,
		.has_state = true,
		.state = ENVELOPE_HELD,
		.cursor = UINT64_MAX,
		.portion = 17,
	};

	return filter;
}

static void
assert_filters_equal(const struct ipc_filter *left, const struct ipc_filter *right)
{
	assert_true(left->id == right->id);
	assert_string_equal(left->from, right->from);
	assert_string_equal(left->to, right->to);
	assert_int_equal(left->older, right->older);
	assert_int_equal(left->has_state, right->has_state);
	assert_int_equal(left->state, right->state);
	assert_true(left->cursor == right->cursor);
	assert_int_equal(left->portion, right->portion);
}

static void
test_an_act_travels_unchanged(void **state)
{
	struct ipc_act act = { .action = QUEUE_EXPIRE, .caller_uid = 1000 }, decoded;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	act.filter = whole_filter();
	start(&buf);
	ipc_act_encode(&buf, &act);
	assert_true(buf_ok(&buf));
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(ipc_act_decode(&reader, &decoded));
	assert_true(buf_reader_done(&reader));
	assert_int_equal(decoded.action, QUEUE_EXPIRE);
	assert_int_equal(decoded.caller_uid, 1000);
	assert_filters_equal(&decoded.filter, &act.filter);
	buf_free(&buf);
}

/* Every shorter payload is refused, and so is one with a byte more. */
static void
test_an_act_cut_short_or_with_more_is_refused(void **state)
{
	struct ipc_act act = { .action = QUEUE_REMOVE }, decoded;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	act.filter = whole_filter();
	start(&buf);
	ipc_act_encode(&buf, &act);
	buf_add_u8(&buf, 0);
	for (size_t length = 0; length < buf.length - 1; length++) {
		buf_reader_init(&reader, buf.data, length);
		assert_false(ipc_act_decode(&reader, &decoded));
	}
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_act_decode(&reader, &decoded) && buf_reader_done(&reader));
	buf_free(&buf);
}

static void
test_values_out_of_range_are_refused(void **state)
{
	struct ipc_act act = { .action = QUEUE_ACTION_COUNT };
	struct ipc_result result = { .exit_code = 256 };
	struct ipc_filter filter = whole_filter();
	struct ipc_pause pause;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	start(&buf);
	ipc_act_encode(&buf, &act);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_act_decode(&reader, &act));

	buf_clear(&buf);
	filter.state = ENVELOPE_STATE_COUNT;
	ipc_filter_encode(&buf, &filter);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_filter_decode(&reader, &filter));

	buf_clear(&buf);
	ipc_result_encode(&buf, &result);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_result_decode(&reader, &result));

	buf_clear(&buf);
	buf_add_u8(&buf, 2);
	buf_add_u8(&buf, 0);
	buf_add_u32(&buf, 0);
	buf_add_string(&buf, "");
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_pause_decode(&reader, &pause));

	/* There is no mda by domain. */
	buf_clear(&buf);
	pause = (struct ipc_pause){ .mda = true, .domain = "far.test" };
	ipc_pause_encode(&buf, &pause);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_pause_decode(&reader, &pause));
	buf_free(&buf);
}

static void
test_an_address_too_long_or_with_a_nul_is_refused(void **state)
{
	char text[ADDRESS_TEXT_MAX + 2];
	struct ipc_filter filter;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	start(&buf);
	buf_add_u64(&buf, 0);
	buf_add_string(&buf, text);
	buf_add_string(&buf, "");
	buf_add_u32(&buf, 0);
	buf_add_u8(&buf, 0);
	buf_add_u8(&buf, 0);
	buf_add_u64(&buf, 0);
	buf_add_u32(&buf, 0);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_filter_decode(&reader, &filter));
	/* The same bytes with a shorter length, the second byte a NUL. */
	buf_clear(&buf);
	buf_add_u64(&buf, 0);
	buf_add_u16(&buf, 2);
	buf_add(&buf, "a\0", 2);
	buf_add_string(&buf, "");
	buf_add_u32(&buf, 0);
	buf_add_u8(&buf, 0);
	buf_add_u8(&buf, 0);
	buf_add_u64(&buf, 0);
	buf_add_u32(&buf, 0);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_filter_decode(&reader, &filter));
	buf_free(&buf);
}

static void
test_a_pause_and_a_result_travel_unchanged(void **state)
{
	struct ipc_pause pause = { .paused = true, .caller_uid = 7, .domain = "far.test" };
	struct ipc_pause pause_decoded;
	struct ipc_result result = { .exit_code = 75, .count = 1ULL << 40 }, result_decoded;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	memset(result.words, 'w', IPC_WORDS_MAX);
	start(&buf);
	ipc_pause_encode(&buf, &pause);
	ipc_result_encode(&buf, &result);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(ipc_pause_decode(&reader, &pause_decoded));
	assert_true(ipc_result_decode(&reader, &result_decoded));
	assert_true(buf_reader_done(&reader));
	assert_true(!pause_decoded.mda && pause_decoded.paused);
	assert_string_equal(pause_decoded.domain, "far.test");
	assert_int_equal(pause_decoded.caller_uid, 7);
	assert_int_equal(result_decoded.exit_code, 75);
	assert_true(result_decoded.count == 1ULL << 40);
	assert_string_equal(result_decoded.words, result.words);
	buf_free(&buf);
}

static void
test_account_words_travel_unchanged(void **state)
{
	char *words[] = { strdup("postmaster@example.org"), strdup(""), strdup("|command") };
	struct ipc_account account = { .verb = ACCOUNT_ALIAS_ADD,
		.caller_uid = 5,
		.word_count = 3 },
	                   decoded;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	memcpy(account.words, words, sizeof(words));
	start(&buf);
	ipc_account_encode(&buf, &account);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(ipc_account_decode(&reader, &decoded));
	assert_true(buf_reader_done(&reader));
	assert_int_equal(decoded.verb, ACCOUNT_ALIAS_ADD);
	assert_int_equal(decoded.word_count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(decoded.words[i], words[i]);
	ipc_account_free(&decoded);
	assert_int_equal(decoded.word_count, 0);
	ipc_account_free(&account);
	buf_free(&buf);
}

static void
encode_words(struct buf *buf, uint32_t claimed, uint32_t count, const char *word)
{
	buf_clear(buf);
	buf_add_u8(buf, ACCOUNT_ALIAS_ADD);
	buf_add_u32(buf, 0);
	buf_add_u32(buf, claimed);
	for (uint32_t i = 0; i < count; i++)
		buf_add_string(buf, word);
}

/* A decode that fails keeps no memory: the sanitizer would tell. */
static void
test_too_many_or_too_long_account_words_are_refused(void **state)
{
	char longest[IPC_ACCOUNT_WORD_MAX + 2];
	struct ipc_account account;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	buf_init(&buf, 64 * 1024);
	encode_words(&buf, ACCOUNT_WORDS_MAX, ACCOUNT_WORDS_MAX, "x");
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(ipc_account_decode(&reader, &account));
	ipc_account_free(&account);
	encode_words(&buf, ACCOUNT_WORDS_MAX + 1, ACCOUNT_WORDS_MAX + 1, "x");
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_account_decode(&reader, &account));
	encode_words(&buf, UINT32_MAX, 3, "x");
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_account_decode(&reader, &account));
	encode_words(&buf, 5, 4, "x");
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_account_decode(&reader, &account));
	assert_int_equal(account.word_count, 0);

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	encode_words(&buf, 1, 1, longest);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_account_decode(&reader, &account));
	longest[IPC_ACCOUNT_WORD_MAX] = '\0';
	encode_words(&buf, 15, 15, longest);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(ipc_account_decode(&reader, &account));
	ipc_account_free(&account);
	encode_words(&buf, 16, 16, longest);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_account_decode(&reader, &account));
	buf_free(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_act_travels_unchanged),
		cmocka_unit_test(test_an_act_cut_short_or_with_more_is_refused),
		cmocka_unit_test(test_values_out_of_range_are_refused),
		cmocka_unit_test(test_an_address_too_long_or_with_a_nul_is_refused),
		cmocka_unit_test(test_a_pause_and_a_result_travel_unchanged),
		cmocka_unit_test(test_account_words_travel_unchanged),
		cmocka_unit_test(test_too_many_or_too_long_account_words_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
