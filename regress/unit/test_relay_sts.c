/*
 * Which policy of MTA-STS is in force, when DNS, the directory and the web server answer, fail, or say
 * nothing. DNS and the directory are played; there is no web server: that a policy was to be
 * fetched shows in the question for its address, which is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/imsg.h"
#include "deliver/relay_directory.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_https.h"
#include "deliver/relay_sts.h"
#include "deliver/relay_tls.h"

#define WAIT_MS    200
#define FAILED_MS  400
#define REFRESH_MS 400

static struct world {
	struct event_base *base;
	struct channel *dns_ends[2];       /* the relay's, and the other one */
	struct channel *directory_ends[2]; /* likewise */
	struct relay_dns *dns;
	struct relay_directory *directory;
	struct tls_client *tls;
	struct https *https;
	struct sts *sts;

	bool is_dns_mute;
	bool is_directory_mute;
	const char *record; /* NULL: SERVFAIL; "" none */
	unsigned records_asked;
	unsigned fetches; /* that were tried */
	unsigned kept_asked;
	struct ipc_sts_policy kept; /* of a domain that isn't "" */
	bool is_due;

	unsigned answers;
	bool is_unsure;
	char answered[IPC_STS_ID_MAX + 1]; /* the policy's id; "" none */
	struct outcome_note note;
	unsigned notes;
} w;

static void
on_dns_question(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct ipc_answer answer = { .status = ANSWER_FAILED, .why = "SERVFAIL" };
	struct ipc_query query;
	struct buf_reader reader;
	struct buf payload;

	(void)arg;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	assert_true(ipc_query_decode(&reader, &query));
	if (query.kind == QUERY_TXT) {
		assert_string_equal(query.name, "_mta-sts.far.test");
		w.records_asked++;
		if (w.is_dns_mute)
			return;
		if (w.record != NULL) {
			answer.status = *w.record == '\0' ? ANSWER_NO_NAME : ANSWER_FOUND;
			answer.count = *w.record != '\0';
			answer.records[0].data = (const uint8_t *)w.record;
			answer.records[0].length = (uint16_t)strlen(w.record);
		}
	} else {
		assert_string_equal(query.name, "mta-sts.far.test");
		w.fetches++;
	}
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_answer_encode(&payload, &answer);
	channel_send(channel, RESOLVER_RELAY_ANSWER, imsg->id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_directory_question(struct channel *channel, struct imsg *imsg, void *arg)
{
	static struct ipc_sts_found found;
	struct ipc_sts_domain domain;
	struct buf_reader reader;
	struct buf payload;

	(void)arg;
	assert_int_not_equal(imsg->type, RELAY_DIRECTORY_POLICY_PUT);
	buf_reader_init(&reader, imsg->payload, imsg->length);
	assert_true(ipc_sts_domain_decode(&reader, &domain));
	if (w.is_directory_mute)
		return;
	memset(&found, 0, sizeof(found));
	found.status = RELAY_FOUND_NONE;
	if (imsg->type == RELAY_DIRECTORY_POLICY_GET) {
		w.kept_asked++;
		if (strcmp(domain.domain, w.kept.domain) == 0)
			found.status = RELAY_FOUND;
	} else if (w.is_due && *domain.domain == '\0') {
		found.status = RELAY_FOUND;
	}
	found.policy = w.kept;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_sts_found_encode(&payload, &found);
	channel_send(channel, DIRECTORY_RELAY_POLICY, imsg->id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_dns_answer(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	assert_true(relay_dns_receive(w.dns, imsg));
}

static void
on_directory_answer(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	assert_true(relay_directory_receive(w.directory, imsg));
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)arg;
	fail_msg("channel: %s", why);
}

static void
on_outcome(const struct outcome_note *note, void *arg)
{
	(void)arg;
	w.note = *note;
	w.notes++;
}

static void
make_channels(struct channel *ends[2], channel_receive_fn ours, channel_receive_fn theirs)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ends[0] = channel_new(w.base, "ours", fds[0], ours, on_closed, NULL);
	ends[1] = channel_new(w.base, "theirs", fds[1], theirs, on_closed, NULL);
}

static int
set_up(void **state)
{
	const struct sts_times times = { .wait_ms = WAIT_MS,
		.fetch_ms = 5000,
		.failed_ms = FAILED_MS,
		.same_ms = 50,
		.refresh_ms = REFRESH_MS,
		.first_ms = 10,
		.tick_ms = 30 };

	(void)state;
	memset(&w, 0, sizeof(w));
	w.record = "";
	w.base = event_base_new();
	assert_int_equal(event_base_priority_init(w.base, 2), 0);
	make_channels(w.dns_ends, on_dns_answer, on_dns_question);
	make_channels(w.directory_ends, on_directory_answer, on_directory_question);
	w.dns = relay_dns_new(w.base, 5000);
	relay_dns_set_channel(w.dns, w.dns_ends[0]);
	w.directory = relay_directory_new(w.base, 5000);
	relay_directory_set_channel(w.directory, w.directory_ends[0]);
	w.tls = tls_client_new();
	w.https = https_new(w.base, w.dns, w.tls);
	w.sts = sts_new(w.base, w.dns, w.directory, w.https, &times);
	sts_observe(w.sts, on_outcome, NULL);
	sts_enable(w.sts, true);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	sts_free(w.sts);
	https_free(w.https);
	tls_client_free(w.tls);
	relay_directory_free(w.directory);
	relay_dns_free(w.dns);
	for (size_t i = 0; i < 2; i++) {
		channel_free(w.dns_ends[i]);
		channel_free(w.directory_ends[i]);
	}
	event_base_free(w.base);
	return 0;
}

static void
on_policy(struct sts_policy *policy, bool is_unsure, void *arg)
{
	(void)arg;
	w.answers++;
	w.is_unsure = is_unsure;
	strlcpy(w.answered, policy == NULL ? "" : policy->id, sizeof(w.answered));
}

static struct sts_question *
ask(void)
{
	return sts_ask(w.sts, "far.test", on_policy, NULL);
}

/* Until there are so many answers. */
static void
wait_answers(unsigned count)
{
	int64_t until = clock_monotonic_ms() + 5000;

	while (w.answers < count) {
		assert_int_equal(event_base_loop(w.base, EVLOOP_ONCE), 0);
		assert_true(clock_monotonic_ms() < until);
	}
	assert_int_equal(w.answers, count);
}

static void
run_for(int64_t ms)
{
	const struct timeval time = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	assert_int_equal(event_base_loopexit(w.base, &time), 0);
	assert_int_equal(event_base_dispatch(w.base), 0);
}

static const char *
policy_of(void)
{
	unsigned before = w.answers;

	ask();
	wait_answers(before + 1);
	assert_false(w.is_unsure);
	return w.answered;
}

static void
keep(const char *id, enum sts_mode mode, uint32_t max_age, int64_t age)
{
	memset(&w.kept, 0, sizeof(w.kept));
	strlcpy(w.kept.domain, "far.test", sizeof(w.kept.domain));
	strlcpy(w.kept.id, id, sizeof(w.kept.id));
	strlcpy(w.kept.mx, "mx.far.test ", sizeof(w.kept.mx));
	w.kept.mode = mode;
	w.kept.max_age = max_age;
	w.kept.fetched = clock_wall() - age;
}

static void
test_domain_without_a_record_has_no_policy(void **state)
{
	(void)state;
	assert_string_equal(policy_of(), "");
	w.record = "v=spf1 -all";
	assert_string_equal(policy_of(), "");
	assert_int_equal(w.records_asked, 2);
	assert_int_equal(w.kept_asked, 1);
	assert_int_equal(w.fetches + w.notes, 0);
}

static void
test_kept_policy_holds_whatever_becomes_of_the_record(void **state)
{
	static const char *const records[] = { "", NULL, "v=STSv1; junk", "v=STSv1; id=1;" };

	(void)state;
	keep("1", STS_MODE_ENFORCE, 1000, 10);
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		w.record = records[i];
		assert_string_equal(policy_of(), "1");
	}
	assert_int_equal(w.fetches, 0);
}

static void
test_kept_policy_holds_when_a_newer_one_cannot_be_fetched(void **state)
{
	(void)state;
	keep("1", STS_MODE_ENFORCE, 1000, 10);
	w.record = "v=STSv1; id=2;";
	assert_string_equal(policy_of(), "1");
	assert_int_equal(w.fetches, 1);
	assert_int_equal(w.notes, 1);
	assert_int_equal(w.note.result, TLS_RESULT_STS_POLICY_FETCH_ERROR);
	assert_int_equal(w.note.type, POLICY_TYPE_STS);
}

static void
test_policy_that_has_run_out_is_none(void **state)
{
	(void)state;
	keep("1", STS_MODE_ENFORCE, 1000, 1000);
	assert_string_equal(policy_of(), "");
	w.record = "v=STSv1; id=1;";
	assert_string_equal(policy_of(), "");
	assert_int_equal(w.fetches, 1);
}

static void
test_fetch_that_failed_is_not_tried_again_for_a_while(void **state)
{
	int64_t begin;

	(void)state;
	w.record = "v=STSv1; id=1;";
	assert_string_equal(policy_of(), "");
	begin = clock_monotonic_ms();
	w.record = "v=STSv1; id=2;";
	for (int i = 0; i < 5; i++)
		assert_string_equal(policy_of(), "");
	assert_true(w.fetches == 1 || clock_monotonic_ms() - begin >= FAILED_MS);
	run_for(FAILED_MS + 50);
	assert_string_equal(policy_of(), "");
	assert_int_equal(w.fetches, 2);
}

static void
test_nobody_waits_for_dns_without_end(void **state)
{
	int64_t begin = clock_monotonic_ms();

	(void)state;
	w.is_dns_mute = true;
	assert_string_equal(policy_of(), "");
	assert_true(clock_monotonic_ms() - begin >= WAIT_MS - 5);
	/* And who comes later not as long again. */
	begin = clock_monotonic_ms();
	assert_string_equal(policy_of(), "");
	assert_true(clock_monotonic_ms() - begin < WAIT_MS);
	assert_int_equal(w.records_asked, 1);
}

static void
test_kept_policy_holds_while_dns_is_mute(void **state)
{
	(void)state;
	w.is_dns_mute = true;
	keep("1", STS_MODE_ENFORCE, 1000, 10);
	assert_string_equal(policy_of(), "1");
}

static void
test_without_the_directory_nothing_is_sure(void **state)
{
	(void)state;
	w.record = "";
	relay_directory_set_channel(w.directory, NULL);
	ask();
	wait_answers(1);
	assert_true(w.is_unsure);
	/* It comes back. */
	relay_directory_set_channel(w.directory, w.directory_ends[0]);
	keep("1", STS_MODE_ENFORCE, 1000, 10);
	assert_string_equal(policy_of(), "1");
	/* What is known stays so. */
	relay_directory_set_channel(w.directory, NULL);
	assert_string_equal(policy_of(), "1");
}

static void
test_nobody_waits_for_the_directory_without_end(void **state)
{
	(void)state;
	w.is_directory_mute = true;
	ask();
	wait_answers(1);
	assert_true(w.is_unsure);
}

static void
test_all_who_ask_at_once_are_answered_by_one_look_up(void **state)
{
	struct sts_question *forgotten;

	(void)state;
	keep("1", STS_MODE_ENFORCE, 1000, 10);
	ask();
	forgotten = ask();
	ask();
	sts_forget(forgotten);
	wait_answers(2);
	run_for(20);
	assert_int_equal(w.answers, 2);
	assert_int_equal(w.records_asked, 1);
	assert_int_equal(w.kept_asked, 1);
}

static void
test_name_that_leaves_no_room_for_a_record_has_no_policy(void **state)
{
	char name[HOSTNAME_MAX + 1];

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (size_t i = 60; i < sizeof(name) - 1; i += 61)
		name[i] = '.';
	(void)sts_ask(w.sts, name, on_policy, NULL);
	wait_answers(1);
	assert_false(w.is_unsure);
	assert_string_equal(w.answered, "");
	assert_int_equal(w.records_asked, 0);
}

static void
test_policy_that_is_due_is_fetched_though_nobody_asks(void **state)
{
	(void)state;
	keep("1", STS_MODE_ENFORCE, 1000, 10);
	w.is_due = true;
	run_for(REFRESH_MS / 2);
	/* Whatever its record says, and not again at once. */
	assert_int_equal(w.fetches, 1);
	assert_int_equal(w.notes, 1);
	assert_string_equal(policy_of(), "1");
	run_for(REFRESH_MS + FAILED_MS);
	assert_in_range(w.fetches, 2, 4);
}

static void
test_nothing_is_refreshed_when_policies_are_left_alone(void **state)
{
	(void)state;
	keep("1", STS_MODE_ENFORCE, 1000, 10);
	w.is_due = true;
	sts_enable(w.sts, false);
	run_for(100);
	assert_int_equal(w.records_asked + w.fetches, 0);
}

static void
test_who_has_taken_his_policy_back_may_take_it_away(void **state)
{
	(void)state;
	keep("1", STS_MODE_NONE, 1000, 10);
	w.record = "v=STSv1; id=2;";
	assert_string_equal(policy_of(), "1");
	assert_int_equal(w.fetches, 1);
	assert_int_equal(w.notes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(domain_without_a_record_has_no_policy),
		TEST(kept_policy_holds_whatever_becomes_of_the_record),
		TEST(kept_policy_holds_when_a_newer_one_cannot_be_fetched),
		TEST(policy_that_has_run_out_is_none),
		TEST(fetch_that_failed_is_not_tried_again_for_a_while),
		TEST(nobody_waits_for_dns_without_end),
		TEST(kept_policy_holds_while_dns_is_mute),
		TEST(without_the_directory_nothing_is_sure),
		TEST(nobody_waits_for_the_directory_without_end),
		TEST(all_who_ask_at_once_are_answered_by_one_look_up),
		TEST(name_that_leaves_no_room_for_a_record_has_no_policy),
		TEST(policy_that_is_due_is_fetched_though_nobody_asks),
		TEST(nothing_is_refreshed_when_policies_are_left_alone),
		TEST(who_has_taken_his_policy_back_may_take_it_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
