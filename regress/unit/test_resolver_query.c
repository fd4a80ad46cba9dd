/* The relay's queries: each is answered once, in time, and never says more than DNS has proven. DNS
 * is the test here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "lookup/resolver_query.h"

#define QUESTIONS_MAX 4100

struct question {
	char name[300];
	enum dns_type type;
	dns_answered_fn answered; /* NULL: answered or forgotten */
	void *asker;
};

struct packet {
	uint8_t bytes[4096];
	size_t length;
};

static struct {
	struct event_base *base;
	struct hosts *hosts;
	struct queries *queries;
	struct question questions[QUESTIONS_MAX];
	size_t question_count;
	size_t forgotten;
	bool cannot_ask;
	bool answers_at_once; /* that there is no such name */
	struct {
		void *owner;
		uint32_t id;
		struct ipc_answer answer;
		uint8_t data[512];
	} last;
	size_t answer_count;
} t;

static int relay_a, relay_b;

static void
give(struct question *question, enum dns_status status, bool secure, const struct packet *packet,
    const char *why)
{
	struct dns_answer answer = { .status = status, .secure = secure, .why = why };
	dns_answered_fn answered = question->answered;

	if (packet != NULL) {
		answer.packet = packet->bytes;
		answer.length = packet->length;
	}
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
		give(question, DNS_NO_NAME, true, NULL, "");
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
on_done(void *owner, uint32_t id, const struct ipc_answer *answer, void *arg)
{
	(void)arg;
	t.answer_count++;
	t.last.owner = owner;
	t.last.id = id;
	t.last.answer = *answer;
	/* Of the first record only. */
	if (answer->count > 0 && answer->records[0].length <= sizeof(t.last.data))
		memcpy(t.last.data, answer->records[0].data, answer->records[0].length);
}

static int
set_up(void **state)
{
	struct dns_source source = { ask, forget, &t };

	(void)state;
	memset(&t, 0, sizeof(t));
	t.base = event_base_new();
	t.hosts = hosts_new("192.0.2.200 box.example.org box\n2001:db8::200 BOX.example.org\n");
	t.queries = queries_new(t.base, t.hosts, on_done, NULL);
	queries_set_source(t.queries, &source, "");
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	queries_free(t.queries);
	hosts_free(t.hosts);
	event_base_free(t.base);
	return 0;
}

static void
start(enum query_kind kind, const char *name, uint32_t id)
{
	struct ipc_query query = { .kind = kind, .port = kind == QUERY_TLSA ? 25 : 0 };

	strlcpy(query.name, name, sizeof(query.name));
	queries_start(t.queries, &query, &relay_a, id);
}

static size_t
wire_name(const char *text, uint8_t *wire)
{
	size_t length = 0;

	while (*text != '\0') {
		size_t label = strcspn(text, ".");

		wire[length++] = (uint8_t)label;
		memcpy(wire + length, text, label);
		length += label;
		text += label + (text[label] == '.');
	}
	wire[length++] = 0;
	return length;
}

static void
add(struct packet *packet, const char *owner, int type, const void *data, size_t length)
{
	const uint8_t head[] = { 0, (uint8_t)type, 0, 1, 0, 0, 0, 60, (uint8_t)(length >> 8),
		(uint8_t)length };

	if (packet->length == 0)
		packet->length = 12;
	packet->length += wire_name(owner, packet->bytes + packet->length);
	memcpy(packet->bytes + packet->length, head, sizeof(head));
	packet->length += sizeof(head);
	memcpy(packet->bytes + packet->length, data, length);
	packet->length += length;
	packet->bytes[7]++;
}

static void
add_alias(struct packet *packet, const char *owner, const char *target)
{
	uint8_t wire[256];

	add(packet, owner, 5, wire, wire_name(target, wire));
}

static struct packet
inet4(const char *owner)
{
	struct packet packet = { .length = 0 };

	add(&packet, owner, 1, "\xc0\x00\x02\x01", 4);
	return packet;
}

static struct packet
inet6(const char *owner)
{
	struct packet packet = { .length = 0 };

	add(&packet, owner, 28, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
	return packet;
}

static struct packet
nothing(void)
{
	return (struct packet){ .length = 12 };
}

static struct packet
aliased(void)
{
	struct packet packet = inet4("real.example.net");

	add_alias(&packet, "mx.example.org", "real.example.net");
	return packet;
}

static void
assert_answer(size_t count, enum answer_status status, bool secure, uint32_t records)
{
	assert_int_equal(t.answer_count, count);
	assert_ptr_equal(t.last.owner, &relay_a);
	assert_int_equal(t.last.answer.status, status);
	assert_int_equal(t.last.answer.secure, secure);
	assert_int_equal(t.last.answer.count, records);
	assert_int_equal(queries_count(t.queries), 0);
}

static void
each_kind_asks_for_its_type(void **state)
{
	(void)state;
	start(QUERY_MX, "example.org", 1);
	start(QUERY_ADDRESSES, "mx.example.org.", 2);
	start(QUERY_TLSA, "mx.example.org", 3);
	start(QUERY_TXT, "_mta-sts.example.org", 4);
	assert_int_equal(t.question_count, 5);
	assert_string_equal(t.questions[0].name, "example.org.");
	assert_int_equal(t.questions[0].type, DNS_MX);
	assert_string_equal(t.questions[1].name, "mx.example.org.");
	assert_int_equal(t.questions[1].type, DNS_A);
	assert_int_equal(t.questions[2].type, DNS_AAAA);
	assert_string_equal(t.questions[3].name, "_25._tcp.mx.example.org.");
	assert_int_equal(t.questions[3].type, DNS_TLSA);
	assert_string_equal(t.questions[4].name, "_mta-sts.example.org.");
	assert_int_equal(t.questions[4].type, DNS_TXT);
	assert_int_equal(t.answer_count, 0);
}

static void
addresses_of_both_families_make_one_answer(void **state)
{
	struct packet four = inet4("mx.example.org"), six = inet6("mx.example.org");

	(void)state;
	start(QUERY_ADDRESSES, "mx.example.org", 7);
	give(&t.questions[1], DNS_ANSWERED, true, &six, "");
	assert_int_equal(t.answer_count, 0);
	give(&t.questions[0], DNS_ANSWERED, true, &four, "");
	assert_answer(1, ANSWER_FOUND, true, 2);
	assert_int_equal(t.last.id, 7);
	assert_int_equal(t.last.answer.records[0].family, CLIENT_INET4);
	assert_int_equal(t.last.answer.records[1].family, CLIENT_INET6);
	assert_int_equal(t.last.answer.ttl, 60);
	assert_false(t.last.answer.canonical_secure);
}

/* RFC 7672 2.2.2: one insecure family makes the host insecure. */
static void
addresses_are_secure_only_together(void **state)
{
	struct packet four = inet4("mx.example.org"), six = inet6("mx.example.org");

	(void)state;
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	give(&t.questions[0], DNS_ANSWERED, true, &four, "");
	give(&t.questions[1], DNS_ANSWERED, false, &six, "");
	assert_answer(1, ANSWER_FOUND, false, 2);
}

static void
one_family_is_enough_when_the_other_fails(void **state)
{
	struct packet six = inet6("mx.example.org");

	(void)state;
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	give(&t.questions[0], DNS_FAILED, false, NULL, "bogus");
	give(&t.questions[1], DNS_ANSWERED, true, &six, "");
	assert_answer(1, ANSWER_FOUND, true, 1);
	assert_string_equal(t.last.answer.why, "");
}

static void
absence_and_failure_are_told_apart(void **state)
{
	struct packet none = nothing();

	(void)state;
	start(QUERY_MX, "example.org", 1);
	give(&t.questions[0], DNS_ANSWERED, true, &none, "");
	assert_answer(1, ANSWER_NO_DATA, true, 0);
	start(QUERY_MX, "example.org", 2);
	give(&t.questions[1], DNS_NO_NAME, false, NULL, "");
	assert_answer(2, ANSWER_NO_NAME, false, 0);
	start(QUERY_MX, "example.org", 3);
	give(&t.questions[2], DNS_FAILED, false, NULL, "evil\r\n\x1b words");
	assert_answer(3, ANSWER_FAILED, false, 0);
	assert_string_equal(t.last.answer.why, "evil??? words");
	/* A family that failed may have had an address. */
	start(QUERY_ADDRESSES, "mx.example.org", 4);
	give(&t.questions[3], DNS_ANSWERED, true, &none, "");
	give(&t.questions[4], DNS_FAILED, false, NULL, "SERVFAIL");
	assert_answer(4, ANSWER_FAILED, false, 0);
	assert_string_equal(t.last.answer.why, "SERVFAIL");
	t.cannot_ask = true;
	start(QUERY_ADDRESSES, "mx.example.org", 5);
	assert_answer(5, ANSWER_FAILED, false, 0);
}

static void
a_packet_without_sense_is_a_failure(void **state)
{
	struct packet cut = inet4("mx.example.org");

	(void)state;
	cut.length -= 3;
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	give(&t.questions[0], DNS_ANSWERED, true, &cut, "");
	give(&t.questions[1], DNS_NO_NAME, true, NULL, "");
	assert_answer(1, ANSWER_FAILED, false, 0);
}

static void
a_secure_alias_to_secure_addresses_needs_no_more_questions(void **state)
{
	struct packet four = aliased(), none = nothing();

	(void)state;
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	give(&t.questions[0], DNS_ANSWERED, true, &four, "");
	give(&t.questions[1], DNS_ANSWERED, true, &none, "");
	assert_int_equal(t.question_count, 2);
	assert_answer(1, ANSWER_FOUND, true, 1);
	assert_string_equal(t.last.answer.canonical, "real.example.net");
	assert_true(t.last.answer.canonical_secure);
}

static void
an_alias_to_insecure_addresses_may_be_secure_itself(void **state)
{
	struct packet four = aliased(), none = nothing(), alias = { .length = 0 };

	(void)state;
	add_alias(&alias, "mx.example.org", "real.example.net");
	for (unsigned secure = 0; secure < 2; secure++) {
		size_t first = t.question_count;

		start(QUERY_ADDRESSES, "mx.example.org", 1);
		give(&t.questions[first], DNS_ANSWERED, false, &four, "");
		give(&t.questions[first + 1], DNS_ANSWERED, false, &none, "");
		assert_int_equal(t.answer_count, secure);
		assert_string_equal(t.questions[first + 2].name, "mx.example.org.");
		assert_int_equal(t.questions[first + 2].type, DNS_CNAME);
		give(&t.questions[first + 2], DNS_ANSWERED, secure == 1, &alias, "");
		assert_answer(secure + 1, ANSWER_FOUND, false, 1);
		assert_int_equal(t.last.answer.canonical_secure, secure);
	}
}

/* RFC 7672 2.2.2: "errors … MUST result in delaying". */
static void
an_alias_that_cant_be_checked_fails(void **state)
{
	struct packet four = aliased(), none = nothing();

	(void)state;
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	give(&t.questions[0], DNS_ANSWERED, false, &four, "");
	give(&t.questions[1], DNS_ANSWERED, false, &none, "");
	give(&t.questions[2], DNS_FAILED, false, NULL, "bogus");
	assert_answer(1, ANSWER_FAILED, false, 0);
	assert_string_equal(t.last.answer.why, "bogus");
}

static void
many_addresses_leave_room_for_the_other_family(void **state)
{
	struct packet four = { .length = 0 }, six = { .length = 0 };
	uint32_t sixes = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		const uint8_t address[4] = { 192, 0, 2, (uint8_t)i };

		add(&four, "a.example", 1, address, 4);
	}
	for (unsigned i = 0; i < 40; i++) {
		const uint8_t address[16] = { 0x20, 1, [15] = (uint8_t)i };

		add(&six, "a.example", 28, address, 16);
	}
	start(QUERY_ADDRESSES, "a.example", 1);
	give(&t.questions[0], DNS_ANSWERED, false, &four, "");
	give(&t.questions[1], DNS_ANSWERED, false, &six, "");
	assert_answer(1, ANSWER_FOUND, false, IPC_ANSWER_RECORDS_MAX);
	assert_true(t.last.answer.cut);
	for (uint32_t i = 0; i < t.last.answer.count; i++)
		sixes += t.last.answer.records[i].family == CLIENT_INET6;
	assert_int_equal(sixes, IPC_ANSWER_RECORDS_MAX / 2);
}

static void
hosts_come_before_dns_and_are_not_secure(void **state)
{
	(void)state;
	start(QUERY_ADDRESSES, "Box.Example.Org.", 3);
	assert_int_equal(t.question_count, 0);
	assert_answer(1, ANSWER_FOUND, false, 2);
	assert_memory_equal(t.last.data, "\xc0\x00\x02\xc8", 4);
	start(QUERY_ADDRESSES, "box", 4);
	assert_answer(2, ANSWER_FOUND, false, 1);
	/* They have no mail exchangers. */
	start(QUERY_MX, "box.example.org", 5);
	assert_int_equal(t.question_count, 1);
}

static void
names_that_dns_cant_have_are_not_asked_for(void **state)
{
	static const char *const names[] = { "a..b", ".", "a b.c", "a\\.b", "a\nb", "\xc3\xbc.c" };
	char longest[HOSTNAME_MAX + 1];
	size_t count = sizeof(names) / sizeof(names[0]);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		start(QUERY_MX, names[i], 1);
		assert_answer(i + 1, ANSWER_NO_NAME, false, 0);
	}
	memset(longest, 'a', sizeof(longest));
	for (size_t i = 50; i < sizeof(longest); i += 50)
		longest[i] = '.';
	longest[253] = '\0';
	start(QUERY_TXT, longest, 1);
	assert_int_equal(t.question_count, 1);
	start(QUERY_TLSA, longest, 1); /* with what is put before it, it is too long */
	assert_int_equal(t.question_count, 1);
	assert_int_equal(t.last.answer.status, ANSWER_NO_NAME);
	longest[0] = '.';
	start(QUERY_MX, longest + 1, 1);
	memset(longest, 'a', 64);
	longest[64] = '\0';
	start(QUERY_MX, longest, 1);
	assert_int_equal(t.question_count, 2);
	assert_int_equal(t.last.answer.status, ANSWER_NO_NAME);
}

static void
silence_is_a_failure_at_the_time_limit(void **state)
{
	int64_t begin = clock_monotonic_ms();

	(void)state;
	queries_set_time(t.queries, 60, 1000);
	start(QUERY_MX, "example.org", 1);
	start(QUERY_ADDRESSES, "mx.example.org", 2);
	event_base_dispatch(t.base);
	assert_true(clock_monotonic_ms() - begin >= 55);
	assert_answer(2, ANSWER_FAILED, false, 0);
	assert_string_equal(t.last.answer.why, "no answer from DNS within 60 ms");
	assert_int_equal(t.forgotten, 3);
}

static void
a_silent_family_is_not_waited_for_long(void **state)
{
	struct packet six = inet6("mx.example.org");
	int64_t begin = clock_monotonic_ms();

	(void)state;
	queries_set_time(t.queries, 10000, 50);
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	give(&t.questions[1], DNS_ANSWERED, true, &six, "");
	assert_int_equal(t.answer_count, 0);
	event_base_dispatch(t.base);
	assert_true(clock_monotonic_ms() - begin < 5000);
	assert_answer(1, ANSWER_FOUND, true, 1);
	assert_int_equal(t.forgotten, 1);
}

static void
a_silent_alias_is_a_failure(void **state)
{
	struct packet four = aliased();

	(void)state;
	queries_set_time(t.queries, 100, 20);
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	give(&t.questions[0], DNS_ANSWERED, false, &four, "");
	event_base_dispatch(t.base);
	assert_int_equal(t.question_count, 3);
	assert_answer(1, ANSWER_FAILED, false, 0);
	assert_int_equal(t.forgotten, 2);
}

static void
too_many_queries_fail_at_once(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < IPC_QUERIES_MAX + 5; i++)
		start(QUERY_MX, "example.org", i);
	assert_int_equal(t.question_count, IPC_QUERIES_MAX);
	assert_int_equal(t.answer_count, 5);
	assert_int_equal(t.last.answer.status, ANSWER_FAILED);
	give(&t.questions[0], DNS_NO_NAME, true, NULL, "");
	start(QUERY_MX, "example.org", 9);
	assert_int_equal(queries_count(t.queries), IPC_QUERIES_MAX);
}

static void
a_relay_that_is_gone_is_not_answered(void **state)
{
	struct ipc_query query = { .kind = QUERY_MX, .name = "example.net" };

	(void)state;
	start(QUERY_MX, "example.org", 1);
	start(QUERY_ADDRESSES, "example.org", 2);
	queries_start(t.queries, &query, &relay_b, 3);
	queries_forget(t.queries, &relay_a);
	assert_int_equal(t.forgotten, 3);
	assert_int_equal(queries_count(t.queries), 1);
	give(&t.questions[3], DNS_NO_NAME, true, NULL, "");
	assert_int_equal(t.answer_count, 1);
	assert_ptr_equal(t.last.owner, &relay_b);
}

static void
dns_may_answer_while_it_is_asked(void **state)
{
	(void)state;
	t.answers_at_once = true;
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	assert_answer(1, ANSWER_NO_NAME, true, 0);
	start(QUERY_TLSA, "mx.example.org", 2);
	assert_answer(2, ANSWER_NO_NAME, true, 0);
}

static void
without_a_source_queries_fail_with_the_reason(void **state)
{
	(void)state;
	start(QUERY_MX, "example.org", 1);
	queries_fail_all(t.queries, "another configuration");
	assert_answer(1, ANSWER_FAILED, false, 0);
	assert_string_equal(t.last.answer.why, "another configuration");
	assert_int_equal(t.forgotten, 1);
	queries_set_source(t.queries, NULL, "no trust anchors");
	start(QUERY_MX, "example.org", 2);
	assert_answer(2, ANSWER_FAILED, false, 0);
	assert_string_equal(t.last.answer.why, "no trust anchors");
	/* What needs no DNS is answered all the same. */
	start(QUERY_ADDRESSES, "box", 3);
	assert_answer(3, ANSWER_FOUND, false, 1);
}

static void
nothing_is_called_after_the_end(void **state)
{
	(void)state;
	start(QUERY_ADDRESSES, "mx.example.org", 1);
	/* tear_down() frees what waits; forget() checks that DNS was told. */
	assert_int_equal(queries_count(t.queries), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_kind_asks_for_its_type),
		TEST(addresses_of_both_families_make_one_answer),
		TEST(addresses_are_secure_only_together),
		TEST(one_family_is_enough_when_the_other_fails),
		TEST(absence_and_failure_are_told_apart),
		TEST(a_packet_without_sense_is_a_failure),
		TEST(a_secure_alias_to_secure_addresses_needs_no_more_questions),
		TEST(an_alias_to_insecure_addresses_may_be_secure_itself),
		TEST(an_alias_that_cant_be_checked_fails),
		TEST(many_addresses_leave_room_for_the_other_family),
		TEST(hosts_come_before_dns_and_are_not_secure),
		TEST(names_that_dns_cant_have_are_not_asked_for),
		TEST(silence_is_a_failure_at_the_time_limit),
		TEST(a_silent_family_is_not_waited_for_long),
		TEST(a_silent_alias_is_a_failure),
		TEST(too_many_queries_fail_at_once),
		TEST(a_relay_that_is_gone_is_not_answered),
		TEST(dns_may_answer_while_it_is_asked),
		TEST(without_a_source_queries_fail_with_the_reason),
		TEST(nothing_is_called_after_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
