/* Lookups: each request is answered once, in time, whatever DNS does. DNS is the test here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "lookup/resolver_lookup.h"

#define QUESTIONS_MAX 2000
#define ANSWERS_MAX   25000

struct question {
	char name[300];
	enum dns_type type;
	dns_answered_fn answered; /* NULL: answered or forgotten */
	void *asker;
};

static struct {
	struct event_base *base;
	struct hosts *hosts;
	struct lookups *lookups;
	struct question questions[QUESTIONS_MAX];
	size_t question_count;
	size_t forgotten;
	bool cannot_ask;
	enum dns_status at_once; /* when answers_at_once */
	bool answers_at_once;
	struct {
		void *owner;
		uint32_t id;
		struct ipc_resolved resolved;
	} answers[ANSWERS_MAX];
	size_t answer_count;
} t;

static int listener_a, listener_b;

static void
give(struct question *question, enum dns_status status, const uint8_t *packet, size_t length)
{
	struct dns_answer answer = {
		.status = status, .packet = packet, .length = length, .why = ""
	};
	dns_answered_fn answered = question->answered;

	assert_non_null(answered);
	question->answered = NULL;
	answered(question->asker, &answer);
}

static bool
ask(void *arg, const char *name, enum dns_type type, dns_answered_fn answered, void *asker,
    void **slot)
{
	struct question *question = &t.questions[t.question_count];

	assert_ptr_equal(arg, &t);
	if (t.cannot_ask)
		return false;
	assert_true(t.question_count++ < QUESTIONS_MAX);
	strlcpy(question->name, name, sizeof(question->name));
	question->type = type;
	*slot = question;
	question->answered = answered;
	question->asker = asker;
	if (t.answers_at_once)
		give(question, t.at_once, NULL, 0);
	return true;
}

static void
forget(void *arg, void *question)
{
	(void)arg;
	assert_non_null(((struct question *)question)->answered);
	((struct question *)question)->answered = NULL;
	t.forgotten++;
}

static void
on_done(void *owner, uint32_t id, const struct ipc_resolved *resolved, void *arg)
{
	(void)arg;
	assert_true(t.answer_count < ANSWERS_MAX);
	t.answers[t.answer_count].owner = owner;
	t.answers[t.answer_count].id = id;
	t.answers[t.answer_count++].resolved = *resolved;
}

static int
set_up(void **state)
{
	struct dns_source dns = { ask, forget, &t };

	(void)state;
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.hosts = hosts_new("127.0.0.1 localhost\n192.0.2.200 box.example.org\n");
	t.lookups = lookups_new(t.base, &dns, t.hosts, on_done, NULL);
	lookups_set_time(t.lookups, 5000);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	lookups_free(t.lookups);
	hosts_free(t.hosts);
	event_base_free(t.base);
	return 0;
}

static void
start(const char *text, void *owner, uint32_t id)
{
	struct ipc_resolve resolve = { .family = CLIENT_INET4 };

	if (inet_pton(AF_INET, text, resolve.address) != 1) {
		resolve.family = CLIENT_INET6;
		assert_int_equal(inet_pton(AF_INET6, text, resolve.address), 1);
	}
	lookups_start(t.lookups, &resolve, owner, id);
}

/* Answers question `index` with one record for each of the texts (names or addresses). */
static void
reply(size_t index, const char *const *texts)
{
	uint8_t packet[2048] = { [2] = 0x81 };
	struct question *question = &t.questions[index];
	size_t length = 12;

	for (; *texts != NULL; texts++) {
		static const uint8_t types[] = { [DNS_PTR] = 12, [DNS_A] = 1, [DNS_AAAA] = 28 };
		const uint8_t head[] = { 0, 0, types[question->type], 0, 1, 0, 0, 0, 60 };
		const char *at = *texts;
		size_t start_of_data;

		memcpy(packet + length, head, sizeof(head));
		length += sizeof(head) + 2;
		start_of_data = length;
		if (question->type == DNS_A) {
			assert_int_equal(inet_pton(AF_INET, at, packet + length), 1);
			length += 4;
		} else if (question->type == DNS_AAAA) {
			assert_int_equal(inet_pton(AF_INET6, at, packet + length), 1);
			length += 16;
		} else {
			while (*at != '\0') {
				size_t label = strcspn(at, ".");

				packet[length++] = (uint8_t)label;
				memcpy(packet + length, at, label);
				length += label;
				at += label + (at[label] == '.');
			}
			packet[length++] = 0;
		}
		packet[start_of_data - 2] = (uint8_t)((length - start_of_data) >> 8);
		packet[start_of_data - 1] = (uint8_t)(length - start_of_data);
		packet[7]++;
	}
	give(question, DNS_ANSWERED, packet, length);
}

static void
reply_status(size_t index, enum dns_status status)
{
	give(&t.questions[index], status, NULL, 0);
}

static void
assert_answer(size_t index, void *owner, uint32_t id, enum resolve_status status, const char *name)
{
	assert_true(index < t.answer_count);
	assert_ptr_equal(t.answers[index].owner, owner);
	assert_int_equal(t.answers[index].id, id);
	assert_int_equal(t.answers[index].resolved.status, status);
	assert_string_equal(t.answers[index].resolved.name, name);
}

#define TEXTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void
a_name_whose_address_is_the_clients_is_confirmed(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 7);
	assert_string_equal(t.questions[0].name, "1.2.0.192.in-addr.arpa.");
	assert_int_equal(t.questions[0].type, DNS_PTR);
	assert_int_equal(t.answer_count, 0);
	reply(0, TEXTS("Mail.example.org"));
	assert_string_equal(t.questions[1].name, "mail.example.org.");
	assert_int_equal(t.questions[1].type, DNS_A);
	reply(1, TEXTS("192.0.2.9", "192.0.2.1"));
	assert_int_equal(t.answer_count, 1);
	assert_answer(0, &listener_a, 7, RESOLVE_CONFIRMED, "mail.example.org");
	assert_int_equal(lookups_count(t.lookups), 0);
}

static void
an_ipv6_client_is_confirmed_by_aaaa(void **state)
{
	(void)state;
	start("2001:db8::1", &listener_a, 1);
	reply(0, TEXTS("six.example.org"));
	assert_int_equal(t.questions[1].type, DNS_AAAA);
	reply(1, TEXTS("2001:db8::1"));
	assert_answer(0, &listener_a, 1, RESOLVE_CONFIRMED, "six.example.org");
}

/* Anyone may say of his address that it is ours, or his bank's. */
static void
a_name_with_another_address_is_no_name(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 1);
	reply(0, TEXTS("mx.ours.example"));
	reply(1, TEXTS("198.51.100.1"));
	assert_answer(0, &listener_a, 1, RESOLVE_NONE, "");
}

static void
names_are_tried_until_one_confirms(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 1);
	reply(0, TEXTS("a.example", "b.example", "c.example", "d.example"));
	reply(1, TEXTS("192.0.2.2"));
	reply_status(2, DNS_NO_NAME);
	reply(3, TEXTS("192.0.2.1"));
	assert_int_equal(t.question_count, 4);
	assert_answer(0, &listener_a, 1, RESOLVE_CONFIRMED, "c.example");
}

static void
five_names_are_tried_at_most(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 1);
	reply(
	    0, TEXTS("a.example", "b.example", "c.example", "d.example", "e.example", "f.example"));
	for (size_t i = 1; i <= 5; i++)
		reply_status(i, DNS_NO_NAME);
	assert_int_equal(t.question_count, 6);
	assert_answer(0, &listener_a, 1, RESOLVE_NONE, "");
}

static void
no_name_and_failure_are_told_apart(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 1);
	reply_status(0, DNS_NO_NAME);
	assert_answer(0, &listener_a, 1, RESOLVE_NONE, "");
	start("192.0.2.2", &listener_a, 2);
	reply_status(1, DNS_FAILED);
	assert_answer(1, &listener_a, 2, RESOLVE_FAILED, "");
	/* A name that couldn't be looked up might have confirmed it. */
	start("192.0.2.3", &listener_a, 3);
	reply(2, TEXTS("a.example", "b.example"));
	reply_status(3, DNS_FAILED);
	reply(4, TEXTS("192.0.2.9"));
	assert_answer(2, &listener_a, 3, RESOLVE_FAILED, "");
	t.cannot_ask = true;
	start("192.0.2.4", &listener_a, 4);
	assert_answer(3, &listener_a, 4, RESOLVE_FAILED, "");
	assert_int_equal(lookups_count(t.lookups), 0);
}

static void
loopback_and_hosts_need_no_dns(void **state)
{
	(void)state;
	start("127.0.0.1", &listener_a, 1);
	start("::1", &listener_a, 2);
	start("127.1.2.3", &listener_a, 3);
	start("192.0.2.200", &listener_a, 4);
	start("::ffff:192.0.2.200", &listener_a, 5);
	assert_int_equal(t.question_count, 0);
	assert_answer(0, &listener_a, 1, RESOLVE_CONFIRMED, "localhost");
	assert_answer(1, &listener_a, 2, RESOLVE_CONFIRMED, "localhost");
	assert_answer(2, &listener_a, 3, RESOLVE_NONE, "");
	assert_answer(3, &listener_a, 4, RESOLVE_CONFIRMED, "box.example.org");
	assert_answer(4, &listener_a, 5, RESOLVE_CONFIRMED, "box.example.org");
}

static void
silence_is_a_failure_at_the_time_limit(void **state)
{
	int64_t begin = clock_monotonic_ms(), took;

	(void)state;
	lookups_set_time(t.lookups, 60);
	start("192.0.2.1", &listener_a, 1);
	start("192.0.2.2", &listener_a, 2);
	/* Half way: the second question isn't answered. */
	reply(1, TEXTS("a.example"));
	event_base_dispatch(t.base);
	took = clock_monotonic_ms() - begin;
	assert_int_equal(t.answer_count, 2);
	assert_int_equal(t.answers[0].resolved.status, RESOLVE_FAILED);
	assert_int_equal(t.answers[1].resolved.status, RESOLVE_FAILED);
	assert_true(took >= 55);
	assert_int_equal(t.forgotten, 2);
	assert_int_equal(lookups_count(t.lookups), 0);
}

static void
requests_for_one_address_share_a_lookup(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 1);
	start("192.0.2.1", &listener_b, 1);
	start("::ffff:192.0.2.1", &listener_a, 2);
	assert_int_equal(t.question_count, 1);
	reply(0, TEXTS("a.example"));
	reply(1, TEXTS("192.0.2.1"));
	assert_int_equal(t.answer_count, 3);
	assert_answer(0, &listener_a, 1, RESOLVE_CONFIRMED, "a.example");
	assert_answer(1, &listener_b, 1, RESOLVE_CONFIRMED, "a.example");
	assert_answer(2, &listener_a, 2, RESOLVE_CONFIRMED, "a.example");
}

static void
a_listener_that_is_gone_is_not_answered(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 1);
	start("192.0.2.1", &listener_b, 2);
	start("192.0.2.2", &listener_a, 3);
	lookups_forget(t.lookups, &listener_a);
	reply_status(0, DNS_NO_NAME);
	reply_status(1, DNS_NO_NAME);
	assert_int_equal(t.answer_count, 1);
	assert_answer(0, &listener_b, 2, RESOLVE_NONE, "");
}

static void
too_many_lookups_fail_at_once(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LOOKUPS_MAX + 5; i++) {
		char text[32];

		snprintf(text, sizeof(text), "198.51.%u.%u", i / 256, i % 256);
		start(text, &listener_a, i);
	}
	assert_int_equal(t.question_count, LOOKUPS_MAX);
	assert_int_equal(t.answer_count, 5);
	assert_answer(0, &listener_a, LOOKUPS_MAX, RESOLVE_FAILED, "");
	/* One that is finished makes room. */
	reply_status(0, DNS_NO_NAME);
	start("192.0.2.1", &listener_a, 9);
	assert_int_equal(lookups_count(t.lookups), LOOKUPS_MAX);
}

static void
too_many_requests_for_one_address_fail_at_once(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < WAITERS_MAX + 3; i++)
		start("192.0.2.1", &listener_a, i);
	assert_int_equal(t.answer_count, 3);
	reply_status(0, DNS_NO_NAME);
	assert_int_equal(t.answer_count, WAITERS_MAX + 3);
}

static void
dns_may_answer_while_it_is_asked(void **state)
{
	(void)state;
	t.answers_at_once = true;
	t.at_once = DNS_NO_NAME;
	start("192.0.2.1", &listener_a, 1);
	assert_answer(0, &listener_a, 1, RESOLVE_NONE, "");
	t.answers_at_once = false;
	start("192.0.2.2", &listener_a, 2);
	t.answers_at_once = true;
	t.at_once = DNS_FAILED;
	reply(1, TEXTS("a.example", "b.example", "c.example", "d.example", "e.example"));
	assert_answer(1, &listener_a, 2, RESOLVE_FAILED, "");
	assert_int_equal(lookups_count(t.lookups), 0);
}

static void
stopping_answers_all(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 1);
	start("192.0.2.2", &listener_b, 2);
	lookups_fail_all(t.lookups);
	assert_int_equal(t.answer_count, 2);
	assert_int_equal(t.forgotten, 2);
	assert_answer(1, &listener_b, 2, RESOLVE_FAILED, "");
}

static void
nothing_is_called_after_the_end(void **state)
{
	(void)state;
	start("192.0.2.1", &listener_a, 1);
	/* tear_down() frees what waits; forget() checks that DNS was told. */
	assert_int_equal(lookups_count(t.lookups), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_name_whose_address_is_the_clients_is_confirmed),
		TEST(an_ipv6_client_is_confirmed_by_aaaa),
		TEST(a_name_with_another_address_is_no_name),
		TEST(names_are_tried_until_one_confirms),
		TEST(five_names_are_tried_at_most),
		TEST(no_name_and_failure_are_told_apart),
		TEST(loopback_and_hosts_need_no_dns),
		TEST(silence_is_a_failure_at_the_time_limit),
		TEST(requests_for_one_address_share_a_lookup),
		TEST(a_listener_that_is_gone_is_not_answered),
		TEST(too_many_lookups_fail_at_once),
		TEST(too_many_requests_for_one_address_fail_at_once),
		TEST(dns_may_answer_while_it_is_asked),
		TEST(stopping_answers_all),
		TEST(nothing_is_called_after_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
