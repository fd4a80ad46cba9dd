/* What came of TLS and of policies is told once for each domain, by whatever way it came. The host is
 * one that its domains have chosen in DNS, though at a port of the test's. */
#include "regress/unit/test_relay_fixture.h"

#include <openssl/x509_vfy.h>

#include "deliver/relay_outcome.h"
#include "deliver/relay_route.h"

#define HELLO "S: 220 mx\nC: EHLO relay.test\nS: 250 mx\n"
#define ONE                                                                        \
	"C: MAIL FROM:*\nS: 250 ok\nC: RCPT TO:*\nS: 250 ok\nC: DATA\nS: 354 ok\n" \
	"T:\nS: 250 taken\n"

#define NOTES_MAX 16

static struct {
	char domain[64];
	enum policy_type type;
	enum tls_result result;
	enum sts_mode mode; /* of the policy; STS_MODE_COUNT: none */
	char mx[64];
	char mx_address[64];
	char own_address[64];
	char reason[128];
} notes[NOTES_MAX];
static unsigned note_count;

static void
observe(const struct outcome_note *note, void *arg)
{
	assert_ptr_equal(arg, &w);
	assert_true(note_count < NOTES_MAX);
	strlcpy(notes[note_count].domain, note->domain, sizeof(notes[0].domain));
	notes[note_count].type = note->type;
	notes[note_count].result = note->result;
	notes[note_count].mode = note->sts == NULL ? STS_MODE_COUNT : note->sts->mode;
	strlcpy(notes[note_count].mx, note->mx, sizeof(notes[0].mx));
	strlcpy(notes[note_count].mx_address, note->mx_address, sizeof(notes[0].mx_address));
	strlcpy(notes[note_count].own_address, note->own_address, sizeof(notes[0].own_address));
	strlcpy(notes[note_count++].reason, note->reason, sizeof(notes[0].reason));
}

/* As if the domain's one MX were mx1.test, with a policy of that mode (STS_MODE_COUNT: none) for that
 * pattern. */
static struct route *
make_route(enum sts_mode mode, const char *mx)
{
	static struct ipc_sts_policy policy;
	struct route *route = route_new();
	struct hop *hop = &route->hops[route->count++];

	strlcpy(hop->host, "mx1.test", sizeof(hop->host));
	hop->port = (uint16_t)w.servers[0].port;
	hop->scheme = SCHEME_SMTP;
	hop->is_mx = true;
	if (mode == STS_MODE_COUNT)
		return route;
	memset(&policy, 0, sizeof(policy));
	policy.mode = mode;
	policy.max_age = 1000;
	snprintf(policy.mx, sizeof(policy.mx), "%s ", mx);
	route->sts = sts_policy_new(&policy);
	return route;
}

static unsigned
submit_to(const char *domain, struct route *route)
{
	const char *text = "Subject: x\r\n\r\nhello\r\n";
	struct ipc_relay_message message = message_for(1);
	struct ipc_relay_rcpt rcpt = { .envelope_id = 1 };
	unsigned number = w.task_count++;
	struct task *task;

	strlcpy(message.domain, domain, sizeof(message.domain));
	message.size = strlen(text);
	task = task_new(&w.owner, number, &message, memory_file_make("m", text, strlen(text)));
	assert_non_null(task);
	assert_int_equal(address_parse("u@example.org", 0, &rcpt.dest), ADDRESS_OK);
	assert_true(task_add_rcpt(task, &rcpt));
	w.outcomes[number].task = task;
	task->route = route;
	task->tried = 1;
	host_submit(pool_host(w.pool, &route->hops[0], &w.config->actions[0], task), task);
	return number;
}

static int
set_up_observed(void **state)
{
	int result = set_up(state);

	note_count = 0;
	memset(notes, 0, sizeof(notes));
	pool_observe(w.pool, observe, &w);
	return result;
}

static void
begin(const char *script)
{
	add_server(script, NULL);
	use_servers("smtp");
}

static void
check_note(unsigned number, const char *domain, enum policy_type type, enum tls_result result)
{
	assert_in_range(number, 0, note_count - 1);
	assert_string_equal(notes[number].domain, domain);
	assert_int_equal(notes[number].type, type);
	assert_int_equal(notes[number].result, result);
	assert_string_equal(notes[number].mx, "mx1.test");
}

static void
test_each_domain_of_a_connection_hears_once(void **state)
{
	static const char *const domains[] = { "one.test", "two.test", "one.test", "two.test" };

	(void)state;
	begin(HELLO ONE ONE ONE ONE "W:");
	for (size_t i = 0; i < 4; i++)
		wait_done(submit_to(domains[i], make_route(STS_MODE_COUNT, "")));
	assert_int_equal(note_count, 2);
	check_note(0, "one.test", POLICY_TYPE_NONE, TLS_RESULT_STARTTLS_NOT_SUPPORTED);
	check_note(1, "two.test", POLICY_TYPE_NONE, TLS_RESULT_STARTTLS_NOT_SUPPORTED);
	assert_string_equal(notes[0].mx_address, "127.0.0.1");
	assert_string_equal(notes[0].own_address, "127.0.0.1");
	assert_string_equal(notes[0].reason, "it doesn't offer STARTTLS");
	assert_int_equal(notes[0].mode, STS_MODE_COUNT);
}

static void
test_policy_that_is_being_tested(void **state)
{
	unsigned task;

	(void)state;
	begin(HELLO ONE "W:");
	task = submit_to("one.test", make_route(STS_MODE_TESTING, "mx1.test"));
	wait_done(task);
	check_result(task, 1, 250, "");
	assert_int_equal(note_count, 1);
	check_note(0, "one.test", POLICY_TYPE_STS, TLS_RESULT_STARTTLS_NOT_SUPPORTED);
	assert_int_equal(notes[0].mode, STS_MODE_TESTING);
}

static void
test_policy_that_keeps_mail_back(void **state)
{
	unsigned first, second;

	(void)state;
	begin(HELLO "C: QUIT\nX:");
	first = submit_to("one.test", make_route(STS_MODE_ENFORCE, "mx1.test"));
	second = submit_to("one.test", make_route(STS_MODE_ENFORCE, "mx1.test"));
	wait_done(first);
	wait_done(second);
	check_result(first, 1, 451, "4.7.10");
	check_result(second, 1, 451, "4.7.10");
	assert_int_equal(note_count, 1);
	check_note(0, "one.test", POLICY_TYPE_STS, TLS_RESULT_STARTTLS_NOT_SUPPORTED);
	assert_int_equal(notes[0].mode, STS_MODE_ENFORCE);
}

static void
test_host_that_a_policy_does_not_name(void **state)
{
	unsigned task;

	(void)state;
	begin(HELLO "W:");
	task = submit_to("one.test", make_route(STS_MODE_ENFORCE, "mx2.test"));
	wait_done(task);
	check_result(task, 1, 451, "4.7.0");
	assert_int_equal(w.servers[0].connections, 0);
	assert_int_equal(note_count, 1);
	check_note(0, "one.test", POLICY_TYPE_STS, TLS_RESULT_VALIDATION_FAILURE);
	assert_string_equal(notes[0].reason, "the policy doesn't name this host");
}

static void
test_host_that_is_not_reached_is_no_outcome(void **state)
{
	(void)state;
	begin(NULL);
	wait_done(submit_to("one.test", make_route(STS_MODE_ENFORCE, "mx1.test")));
	assert_int_equal(note_count, 0);
}

static void
test_smarthosts_are_no_matter_of_the_domain(void **state)
{
	(void)state;
	begin(HELLO ONE "W:");
	wait_done(submit(1));
	check_server(&w.servers[0], 1);
	assert_int_equal(note_count, 0);
}

static void
test_names_of_results(void **state)
{
	(void)state;
	assert_string_equal(tls_result_name(TLS_RESULT_SUCCESS), "success");
	assert_string_equal(tls_result_name(TLS_RESULT_STS_WEBPKI_INVALID), "sts-webpki-invalid");
	assert_int_equal(tls_result_of_certificate(X509_V_OK), TLS_RESULT_SUCCESS);
	assert_int_equal(
	    tls_result_of_certificate(X509_V_ERR_CERT_HAS_EXPIRED), TLS_RESULT_CERTIFICATE_EXPIRED);
	assert_int_equal(tls_result_of_certificate(X509_V_ERR_HOSTNAME_MISMATCH),
	    TLS_RESULT_CERTIFICATE_HOST_MISMATCH);
	assert_int_equal(tls_result_of_certificate(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT),
	    TLS_RESULT_CERTIFICATE_NOT_TRUSTED);
	assert_int_equal(tls_result_of_certificate(X509_V_ERR_DANE_NO_MATCH),
	    TLS_RESULT_CERTIFICATE_NOT_TRUSTED);
	assert_int_equal(tls_result_of_certificate(X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION),
	    TLS_RESULT_VALIDATION_FAILURE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up_observed, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_domain_of_a_connection_hears_once),
		TEST(policy_that_is_being_tested),
		TEST(policy_that_keeps_mail_back),
		TEST(host_that_a_policy_does_not_name),
		TEST(host_that_is_not_reached_is_no_outcome),
		TEST(smarthosts_are_no_matter_of_the_domain),
		cmocka_unit_test(test_names_of_results),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
