/*
 * TLS reports on their way: which place is tried when, what an answer comes to, and what is lost when
 * the queue or the relay ends. Both are played; the time is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include <bsd/string.h>
#include <cmocka.h>
#include <event2/event.h>

#include "common/ipc_directory.h"
#include "common/memory_file.h"
#include "lookup/tls_sender.h"

#define DAY  86400
#define HOUR 3600

static struct {
	char directory[64];
	struct event_base *base;
	struct tls_sums *sums;
	struct tls_sender *sender;
	struct channel *queue[2], *relay[2]; /* ours, and theirs */
	int64_t now;                         /* wall clock */

	unsigned mailed, posted; /* all so far, and the last one of each */
	struct ipc_report report;
	struct ipc_post post;
	uint32_t mail_id, post_id;
	size_t length;
	uint8_t packed[2];
} w;

static void
on_theirs(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct buf_reader reader;
	uint8_t *text;

	(void)arg;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	assert_int_not_equal(imsg->fd, -1);
	text = memory_file_read(imsg->fd, IPC_REPORT_SIZE, &w.length);
	assert_non_null(text);
	memcpy(w.packed, text, 2);
	free(text);
	if (channel == w.queue[1]) {
		assert_int_equal(imsg->type, DIRECTORY_REPORT);
		assert_true(ipc_report_decode(&reader, &w.report));
		w.mail_id = imsg->id;
		w.mailed++;
	} else {
		assert_int_equal(imsg->type, DIRECTORY_RELAY_POST);
		assert_true(ipc_post_decode(&reader, &w.post));
		w.post_id = imsg->id;
		w.posted++;
	}
}

static void
on_ours(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)imsg;
	(void)arg;
	fail_msg("nobody answers here");
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)arg;
	fail_msg("channel: %s", why);
}

static void
connect_pair(struct channel *ends[2])
{
	int fds[2];

	channel_free(ends[0]);
	channel_free(ends[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ends[0] = channel_new(w.base, "ours", fds[0], on_ours, on_closed, NULL);
	ends[1] = channel_new(w.base, "theirs", fds[1], on_theirs, on_closed, NULL);
}

/* Another one, as after a restart. */
static void
begin_sender(void)
{
	tls_sender_free(w.sender);
	w.sender = tls_sender_new(w.sums);
	tls_sender_configure(w.sender, "tls@example.test");
	tls_sender_set_queue(w.sender, w.queue[0]);
	tls_sender_set_relay(w.sender, w.relay[0]);
}

static int
set_up(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	strlcpy(w.directory, "/tmp/test_tls_sender.XXXXXX", sizeof(w.directory));
	assert_non_null(mkdtemp(w.directory));
	w.base = event_base_new();
	assert_int_equal(event_base_priority_init(w.base, 2), 0);
	w.sums = tls_sums_new(w.directory);
	connect_pair(w.queue);
	connect_pair(w.relay);
	begin_sender();
	w.now = (int64_t)20421 * DAY + 12 * HOUR;
	return 0;
}

static int
tear_down(void **state)
{
	char command[100];

	(void)state;
	tls_sender_free(w.sender);
	tls_sums_free(w.sums);
	for (unsigned i = 0; i < 2; i++) {
		channel_free(w.queue[i]);
		channel_free(w.relay[i]);
	}
	event_base_free(w.base);
	snprintf(command, sizeof(command), "rm -rf '%s'", w.directory);
	return system(command);
}

/* A result of so many days ago. */
static void
add(const char *domain, const char *rua, unsigned days)
{
	struct ipc_tls_result result = { .sessions = 1 };

	strlcpy(result.domain, domain, sizeof(result.domain));
	strlcpy(result.policy_domain, domain, sizeof(result.policy_domain));
	strlcpy(result.rua, rua, sizeof(result.rua));
	tls_sums_add(w.sums, &result, w.now - (int64_t)days * DAY);
	tls_sums_write(w.sums);
}

/* A tick, and until what was sent has come. */
static void
tick(void)
{
	tls_sender_tick(w.sender, w.now);
	for (unsigned i = 0; i < 4; i++)
		assert_int_not_equal(event_base_loop(w.base, EVLOOP_NONBLOCK), -1);
}

static void
order(void)
{
	assert_true(tls_sender_order(w.sender, -1, w.now));
}

static void
answer_post(enum post_result result)
{
	struct ipc_posted posted = { .result = result };

	if (result != POST_TAKEN)
		strlcpy(posted.words, "far.test answers 500", sizeof(posted.words));
	tls_sender_posted(w.sender, w.post_id, &posted);
}

static void
answer_mail(unsigned code)
{
	struct reply reply;

	reply_set(&reply, code, code == 250 ? "2.0.0" : code == 451 ? "4.3.0" : "5.7.0", "words");
	tls_sender_answered(w.sender, w.mail_id, &reply);
}

/* Its sums are of no interest. */
static bool
is_kept(struct tls_day *day)
{
	char after[TLS_SUMS_KEY_MAX + 1] = "";
	bool is_there = tls_sums_next(w.sums, INT64_MAX, after, day);

	free(day->sums);
	day->sums = NULL;
	return is_there;
}

static void
is_posted_and_dropped_once_the_server_has_it(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "https://web.test:8443/tls?x,mailto:tls@far.test", 2);
	order();
	tick();
	assert_int_equal(w.posted, 1);
	assert_int_equal(w.mailed, 0);
	assert_string_equal(w.post.host, "web.test");
	assert_int_equal(w.post.port, 8443);
	assert_string_equal(w.post.path, "/tls?x");
	assert_memory_equal(w.packed, "\x1f\x8b", 2); /* RFC 1952 2.3.1 */
	/* Nothing is dropped before, nor sent twice. */
	tick();
	assert_int_equal(w.posted, 1);
	assert_true(is_kept(&day));
	answer_post(POST_TAKEN);
	assert_false(is_kept(&day));
	tick();
	assert_int_equal(w.posted + w.mailed, 1);
}

static void
the_next_place_is_tried_when_one_fails(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "https://a.test/,mailto:tls@far.test,https://b.test/", 2);
	order();
	tick();
	answer_post(POST_FAILED);
	tick();
	assert_int_equal(w.mailed, 1);
	assert_string_equal(w.report.to.domain, "far.test");
	answer_mail(550);
	tick();
	assert_int_equal(w.posted, 2);
	assert_string_equal(w.post.host, "b.test");
	assert_true(is_kept(&day));
	answer_post(POST_TAKEN);
	assert_false(is_kept(&day));
}

static void
is_dropped_when_it_will_never_be_taken(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "mailto:tls@far.test", 2);
	order();
	tick();
	answer_mail(550);
	assert_false(is_kept(&day));
}

/* RFC 8460 5.5; and whatever of it a restart has forgotten. */
static void
is_tried_for_a_day_at_growing_intervals(void **state)
{
	int64_t first = w.now, last = first, pause = 0;
	struct tls_day day;
	unsigned tries = 0;

	(void)state;
	add("far.test", "https://a.test/", 2);
	for (; is_kept(&day) && w.now < first + 3 * DAY; w.now += 60) {
		begin_sender();
		tick();
		if (w.posted == tries)
			continue;
		assert_int_equal(w.posted, ++tries);
		assert_true(tries < 3 || w.now - last >= pause);
		pause = w.now - last;
		last = w.now;
		assert_true(pause <= 4 * HOUR);
		answer_post(POST_FAILED);
	}
	assert_false(is_kept(&day));
	assert_in_range(tries, 8, 14);
	assert_in_range(last - first, DAY, DAY + 4 * HOUR);
}

static void
what_is_put_off_waits_for_its_time_or_an_order(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "https://a.test/", 3);
	assert_true(is_kept(&day));
	tls_sums_note_try(w.sums, &day, w.now - HOUR, w.now + HOUR);
	for (unsigned i = 0; i < 3; i++)
		tick();
	assert_int_equal(w.posted, 0);
	order();
	tick();
	assert_int_equal(w.posted, 1);
}

static void
its_time_comes_without_an_order(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "https://a.test/", 3);
	assert_true(is_kept(&day));
	tls_sums_note_try(w.sums, &day, w.now - HOUR, w.now - 1);
	tick();
	assert_int_equal(w.posted, 1);
}

/* A clock that was wrong, years ahead. */
static void
a_time_far_ahead_holds_nothing_up(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "https://a.test/", 3);
	assert_true(is_kept(&day));
	tls_sums_note_try(w.sums, &day, w.now + 900 * DAY, w.now + 900 * DAY + 1);
	tick();
	assert_int_equal(w.posted, 1);
	answer_post(POST_FAILED);
	assert_true(is_kept(&day));
	assert_true(day.first_tried <= w.now + 5);
}

static void
what_the_relay_could_not_try_isnt_held_against_the_server(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "https://a.test/", 3);
	order();
	tick();
	answer_post(POST_NOT_TRIED);
	assert_true(is_kept(&day));
	assert_int_equal(day.first_tried, 0);
}

static void
a_relay_that_ends_is_followed_by_one_try_more(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "https://a.test/,mailto:tls@far.test", 3);
	order();
	for (unsigned i = 1; i <= 2; i++) {
		tick();
		assert_int_equal(w.posted, i);
		tls_sender_set_relay(w.sender, NULL);
		answer_post(POST_TAKEN); /* of the one that is gone */
		assert_true(is_kept(&day));
		tick();
		assert_int_equal(w.posted, i);
		connect_pair(w.relay);
		tls_sender_set_relay(w.sender, w.relay[0]);
	}
	tick();
	assert_int_equal(w.posted, 2);
	assert_int_equal(w.mailed, 1);
	answer_mail(451);
	assert_true(is_kept(&day));
	assert_int_not_equal(day.first_tried, 0);
}

static void
a_queue_that_ends_is_asked_again_when_it_is_back(void **state)
{
	struct tls_day day;

	(void)state;
	add("far.test", "mailto:tls@far.test", 3);
	order();
	tick();
	assert_int_equal(w.mailed, 1);
	tls_sender_set_queue(w.sender, NULL);
	tick();
	assert_true(is_kept(&day));
	connect_pair(w.queue);
	tls_sender_set_queue(w.sender, w.queue[0]);
	tick();
	assert_int_equal(w.mailed, 2);
	answer_mail(250);
	assert_false(is_kept(&day));
}

/* Web servers that say nothing hold up no mail, and each is asked once. */
static void
slow_servers_hold_up_nobody_else(void **state)
{
	char domain[20], rua[60];
	struct tls_day day;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		snprintf(domain, sizeof(domain), "a%u.test", i);
		snprintf(rua, sizeof(rua), "https://a%u.test/", i);
		add(domain, rua, 3);
	}
	add("b.test", "mailto:tls@b.test", 3);
	add("c.test", "mailto:tls@c.test", 3);
	order();
	tick();
	assert_int_equal(w.posted, 5);
	assert_int_equal(w.mailed, 1);
	answer_mail(250);
	tick();
	assert_int_equal(w.mailed, 2);
	answer_mail(250);
	/* The same again, while they are in hand. */
	order();
	tick();
	assert_int_equal(w.posted, 5);
	assert_true(is_kept(&day));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_posted_and_dropped_once_the_server_has_it),
		TEST(the_next_place_is_tried_when_one_fails),
		TEST(is_dropped_when_it_will_never_be_taken),
		TEST(is_tried_for_a_day_at_growing_intervals),
		TEST(what_is_put_off_waits_for_its_time_or_an_order),
		TEST(its_time_comes_without_an_order),
		TEST(a_time_far_ahead_holds_nothing_up),
		TEST(what_the_relay_could_not_try_isnt_held_against_the_server),
		TEST(a_relay_that_ends_is_followed_by_one_try_more),
		TEST(a_queue_that_ends_is_asked_again_when_it_is_back),
		TEST(slow_servers_hold_up_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
