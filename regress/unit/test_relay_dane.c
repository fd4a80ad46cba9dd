/* What is done at a host that DNS says something about, and what with mail that needs more. */
#include "test_relay_fixture.h"

#include "deliver/relay_dane.h"
#include "deliver/relay_policy.h"

#define GREETING "S: 220 mx.test ESMTP\nC: EHLO relay.test\n"
#define ONE                                                                                  \
	"C: MAIL FROM:<a@client.test>*\nS: 250 ok\nC: RCPT TO:<u1@example.org>\nS: 250 ok\n" \
	"C: DATA\nS: 354 go\nT:\nS: 250 2.0.0 taken\n"

/* The policy of a host that the configuration says nothing special about. */
static void
test_policy_by_what_dns_says(void **state)
{
	static const struct {
		enum security usual;
		enum tls_need need;
		bool is_known;
		enum tlsa_kind tlsa;
		bool is_asked;
		enum security then;
		bool is_possible;
	} table[] = {
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, true, TLSA_NONE, true,
		    SECURITY_OPPORTUNISTIC, true },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, true, TLSA_UNUSABLE, true,
		    SECURITY_ENCRYPTED, true },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, true, TLSA_USABLE, true, SECURITY_DANE,
		    true },
		/* The MX records aren't signed: an attacker chooses the host anyway. */
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, false, TLSA_USABLE, false,
		    SECURITY_OPPORTUNISTIC, true },
		/* The configuration has the last word. */
		{ SECURITY_NONE, TLS_NEED_USUAL, true, TLSA_USABLE, false, SECURITY_NONE, true },
		{ SECURITY_ENCRYPTED, TLS_NEED_USUAL, true, TLSA_USABLE, false, SECURITY_ENCRYPTED,
		    true },
		{ SECURITY_VERIFIED, TLS_NEED_USUAL, true, TLSA_USABLE, false, SECURITY_VERIFIED,
		    true },
		/* TLS-Required: No */
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_OPTIONAL, true, TLSA_USABLE, false,
		    SECURITY_OPPORTUNISTIC, true },
		{ SECURITY_VERIFIED, TLS_NEED_OPTIONAL, true, TLSA_NONE, false, SECURITY_VERIFIED,
		    true },
		/* REQUIRETLS */
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_REQUIRED, true, TLSA_NONE, true,
		    SECURITY_VERIFIED, true },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_REQUIRED, true, TLSA_UNUSABLE, true,
		    SECURITY_VERIFIED, true },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_REQUIRED, true, TLSA_USABLE, true, SECURITY_DANE,
		    true },
		{ SECURITY_ENCRYPTED, TLS_NEED_REQUIRED, true, TLSA_USABLE, true, SECURITY_DANE,
		    true },
		{ SECURITY_ENCRYPTED, TLS_NEED_REQUIRED, true, TLSA_NONE, true, SECURITY_VERIFIED,
		    true },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_REQUIRED, false, TLSA_NONE, false,
		    SECURITY_VERIFIED, false },
		{ SECURITY_NONE, TLS_NEED_REQUIRED, true, TLSA_NONE, false, SECURITY_NONE, false },
		{ SECURITY_VERIFIED, TLS_NEED_REQUIRED, true, TLSA_NONE, false, SECURITY_VERIFIED,
		    true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct policy policy = { .security = table[i].usual };

		print_message("row %zu\n", i);
		assert_int_equal(policy_wants_tlsa(&policy, table[i].need, table[i].is_known),
		    table[i].is_asked);
		assert_int_equal(policy_settle(&policy, table[i].need, table[i].is_known,
		                     table[i].tlsa, STS_VERDICT_NONE),
		    table[i].is_possible ? POLICY_FITS : POLICY_NOT_HAD);
		assert_int_equal(policy.security, table[i].then);
	}
}

static void
test_policy_by_what_the_domain_publishes(void **state)
{
	static const struct {
		enum security usual;
		enum tls_need need;
		bool is_known;
		enum tlsa_kind tlsa;
		enum sts_verdict sts;
		enum policy_fit fit;
		enum security then;
		enum policy_type type;
	} table[] = {
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, false, TLSA_NONE, STS_VERDICT_ENFORCED,
		    POLICY_FITS, SECURITY_VERIFIED, POLICY_TYPE_STS },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, false, TLSA_NONE,
		    STS_VERDICT_ENFORCED_OTHER, POLICY_NOT_NAMED, SECURITY_OPPORTUNISTIC,
		    POLICY_TYPE_STS },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, false, TLSA_NONE, STS_VERDICT_TESTING,
		    POLICY_FITS, SECURITY_OPPORTUNISTIC, POLICY_TYPE_STS },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, false, TLSA_NONE,
		    STS_VERDICT_TESTING_OTHER, POLICY_FITS, SECURITY_OPPORTUNISTIC,
		    POLICY_TYPE_STS },
		/* RFC 8461 2: DANE decides, where there is any. */
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, true, TLSA_USABLE, STS_VERDICT_ENFORCED,
		    POLICY_FITS, SECURITY_DANE, POLICY_TYPE_TLSA },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, true, TLSA_USABLE,
		    STS_VERDICT_ENFORCED_OTHER, POLICY_FITS, SECURITY_DANE, POLICY_TYPE_TLSA },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, true, TLSA_UNUSABLE, STS_VERDICT_ENFORCED,
		    POLICY_FITS, SECURITY_VERIFIED, POLICY_TYPE_STS },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_USUAL, true, TLSA_UNUSABLE, STS_VERDICT_TESTING,
		    POLICY_FITS, SECURITY_ENCRYPTED, POLICY_TYPE_STS },
		/* The configuration: no less than it wants, and none where it says so. */
		{ SECURITY_VERIFIED, TLS_NEED_USUAL, false, TLSA_NONE, STS_VERDICT_ENFORCED_OTHER,
		    POLICY_NOT_NAMED, SECURITY_VERIFIED, POLICY_TYPE_STS },
		{ SECURITY_VERIFIED, TLS_NEED_USUAL, false, TLSA_NONE, STS_VERDICT_TESTING_OTHER,
		    POLICY_FITS, SECURITY_VERIFIED, POLICY_TYPE_STS },
		{ SECURITY_ENCRYPTED, TLS_NEED_USUAL, false, TLSA_NONE, STS_VERDICT_ENFORCED_OTHER,
		    POLICY_FITS, SECURITY_ENCRYPTED, POLICY_TYPE_NONE },
		{ SECURITY_NONE, TLS_NEED_USUAL, false, TLSA_NONE, STS_VERDICT_ENFORCED,
		    POLICY_FITS, SECURITY_NONE, POLICY_TYPE_NONE },
		/* TLS-Required: No (RFC 8689 3) */
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_OPTIONAL, false, TLSA_NONE,
		    STS_VERDICT_ENFORCED_OTHER, POLICY_FITS, SECURITY_OPPORTUNISTIC,
		    POLICY_TYPE_NONE },
		/* REQUIRETLS: a policy that names the host vouches for it (RFC 8689 4.2.1). */
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_REQUIRED, false, TLSA_NONE, STS_VERDICT_ENFORCED,
		    POLICY_FITS, SECURITY_VERIFIED, POLICY_TYPE_STS },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_REQUIRED, false, TLSA_NONE, STS_VERDICT_TESTING,
		    POLICY_FITS, SECURITY_VERIFIED, POLICY_TYPE_STS },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_REQUIRED, false, TLSA_NONE,
		    STS_VERDICT_TESTING_OTHER, POLICY_NOT_HAD, SECURITY_VERIFIED, POLICY_TYPE_STS },
		{ SECURITY_OPPORTUNISTIC, TLS_NEED_REQUIRED, true, TLSA_NONE,
		    STS_VERDICT_ENFORCED_OTHER, POLICY_NOT_NAMED, SECURITY_OPPORTUNISTIC,
		    POLICY_TYPE_STS },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct policy policy = { .security = table[i].usual };

		print_message("row %zu\n", i);
		assert_int_equal(policy_settle(&policy, table[i].need, table[i].is_known,
		                     table[i].tlsa, table[i].sts),
		    table[i].fit);
		assert_int_equal(policy.security, table[i].then);
		assert_int_equal(policy.type, table[i].type);
	}
}

static void
test_need_of_a_message(void **state)
{
	struct ipc_relay_message message = message_for(1);

	(void)state;
	assert_int_equal(policy_need(&message), TLS_NEED_USUAL);
	message.tls_optional = true;
	assert_int_equal(policy_need(&message), TLS_NEED_OPTIONAL);
	message.require_tls = true;
	assert_int_equal(policy_need(&message), TLS_NEED_REQUIRED);
	memset(&message.sender, 0, sizeof(message.sender));
	assert_int_equal(policy_need(&message), TLS_NEED_USUAL);
}

static void
add_tlsa(uint8_t usage, uint8_t selector, uint8_t matching, uint16_t length)
{
	static const uint8_t data[64] = { 1 };

	w.tlsa.status = ANSWER_FOUND;
	w.tlsa.secure = true;
	w.tlsa.records[w.tlsa.count++] = (struct answer_record){ .usage = usage,
		.selector = selector,
		.matching = matching,
		.length = length,
		.data = data };
}

static void
test_usable_records(void **state)
{
	static const struct {
		uint8_t usage, selector, matching;
		uint16_t length;
		size_t usable, anchors;
	} table[] = {
		{ 0, 1, 1, 32, 0, 0 },   /* PKIX-TA */
		{ 1, 1, 1, 32, 0, 0 },   /* PKIX-EE */
		{ 2, 0, 1, 32, 1, 1 },   /* DANE-TA */
		{ 3, 1, 1, 32, 1, 0 },   /* DANE-EE */
		{ 3, 0, 2, 64, 1, 0 },   /* SHA-512 */
		{ 3, 1, 1, 31, 0, 0 },   /* no SHA-256 */
		{ 3, 1, 3, 32, 0, 0 },   /* no known digest */
		{ 3, 2, 1, 32, 0, 0 },   /* no known selector */
		{ 3, 0, 0, 20, 0, 0 },   /* no certificate */
		{ 3, 1, 1, 0, 0, 0 },    /* nothing */
		{ 255, 1, 1, 32, 0, 0 }, /* PrivCert */
	};
	struct dane *dane;
	size_t anchors;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		print_message("row %zu\n", i);
		w.tlsa.count = 0;
		add_tlsa(table[i].usage, table[i].selector, table[i].matching, table[i].length);
		dane = dane_new(&w.tlsa);
		assert_non_null(dane);
		assert_true(dane_add_name(dane, "mx.test"));
		assert_true(dane_add_name(dane, "MX.test"));
		assert_true(dane_add_name(dane, "example.org"));
		assert_int_equal(dane->name_count, 2);
		assert_int_equal(tls_client_usable_records(w.tls, dane, &anchors), table[i].usable);
		assert_int_equal(anchors, table[i].anchors);
		dane_free(dane);
	}
}

/* mx1 has what `w.tlsa` says and offers no TLS; mx2 takes what comes. */
static void
check_no_tls_at_first(unsigned connections, bool is_taken)
{
	unsigned task;

	(void)add_server(
	    is_taken ? GREETING "S: 250 mx\n" ONE "W:" : GREETING "S: 250 mx\nW:", NULL);
	if (!is_taken)
		(void)add_server(GREETING "S: 250 mx\n" ONE "W:", NULL);
	use_servers("smtp");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	assert_string_equal(result_of(task, 1)->host, is_taken ? "mx1.test" : "mx2.test");
	assert_string_equal(result_of(task, 1)->tls, "");
	check_server(&w.servers[0], connections);
}

static void
test_records_make_tls_a_must(void **state)
{
	(void)state;
	w.is_signed = true;
	add_tlsa(3, 1, 1, 32);
	check_no_tls_at_first(1, false);
}

static void
test_unusable_records_make_tls_a_must(void **state)
{
	(void)state;
	w.is_signed = true;
	add_tlsa(1, 1, 1, 32);
	check_no_tls_at_first(1, false);
}

static void
test_records_that_are_not_signed_mean_nothing(void **state)
{
	(void)state;
	w.is_signed = true;
	add_tlsa(3, 1, 1, 32);
	w.tlsa.secure = false;
	check_no_tls_at_first(1, true);
}

static void
test_no_records_are_asked_for_where_addresses_are_not_signed(void **state)
{
	(void)state;
	add_tlsa(3, 1, 1, 32);
	check_no_tls_at_first(1, true);
	assert_int_equal(w.questions, 1);
}

static void
test_no_records(void **state)
{
	(void)state;
	w.is_signed = true;
	w.tlsa.status = ANSWER_NO_DATA;
	check_no_tls_at_first(1, true);
}

static void
test_records_that_cannot_be_looked_up_send_mail_elsewhere(void **state)
{
	(void)state;
	w.is_signed = true;
	w.tlsa.status = ANSWER_FAILED;
	check_no_tls_at_first(0, false);
}

static void
fail_with(unsigned code, const char *enhanced, const char *words)
{
	unsigned task;

	(void)add_server(GREETING "S: 250 mx\nW:", NULL);
	use_servers("smtp");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, code, enhanced);
	assert_non_null(strstr(result_of(task, 1)->reply.text, words));
}

static void
test_reason_when_records_cannot_be_looked_up(void **state)
{
	(void)state;
	w.is_signed = true;
	w.tlsa.status = ANSWER_FAILED;
	strlcpy(w.tlsa.why, "validation failure", sizeof(w.tlsa.why));
	fail_with(
	    451, "4.7.5", "the TLSA records of mx1.test can't be looked up: validation failure");
}

static void
test_reason_when_no_tls_is_offered(void **state)
{
	(void)state;
	w.is_signed = true;
	add_tlsa(3, 1, 1, 32);
	fail_with(451, "4.7.10", "mx1.test: it offers no TLS, which its TLSA records promise");
}

/* It is us who couldn't find out: the host has no fault, and isn't used all the same. */
static void
test_a_resolver_that_dies_keeps_the_mail(void **state)
{
	unsigned task;

	(void)state;
	w.is_signed = w.is_mute = true;
	(void)add_server(GREETING "S: 250 mx\n" ONE "W:", NULL);
	use_servers("smtp");
	task = submit(1);
	while (w.questions < 2)
		run_for(10);
	relay_dns_set_channel(w.dns, w.dns_channel);
	wait_done(task);
	check_result(task, 1, 451, "4.7.5");
	assert_int_equal(result_of(task, 1)->fault, RELAY_FAULT_OURS);
	assert_non_null(strstr(result_of(task, 1)->reply.text, "it died"));
	check_server(&w.servers[0], 0);
	w.is_mute = false;
	w.tlsa.status = ANSWER_NO_DATA;
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
}

static void
test_optional_tls_goes_in_plain(void **state)
{
	struct ipc_relay_message message = message_for(1);
	unsigned task;

	(void)state;
	w.is_signed = true;
	w.tlsa.status = ANSWER_FAILED;
	message.tls_optional = true;
	(void)add_server(GREETING "S: 250 mx\n" ONE "W:", NULL);
	use_servers("smtp");
	task = submit_message(message, "x\r\n");
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(policy_by_what_dns_says),
		TEST(policy_by_what_the_domain_publishes),
		TEST(need_of_a_message),
		TEST(usable_records),
		TEST(records_make_tls_a_must),
		TEST(unusable_records_make_tls_a_must),
		TEST(records_that_are_not_signed_mean_nothing),
		TEST(no_records_are_asked_for_where_addresses_are_not_signed),
		TEST(no_records),
		TEST(records_that_cannot_be_looked_up_send_mail_elsewhere),
		TEST(reason_when_records_cannot_be_looked_up),
		TEST(reason_when_no_tls_is_offered),
		TEST(a_resolver_that_dies_keeps_the_mail),
		TEST(optional_tls_goes_in_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
