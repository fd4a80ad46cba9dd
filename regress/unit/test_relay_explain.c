/* Explanations of where mail would go: bounded in time whatever DNS does, and without a trace. */
#include "test_relay_fixture.h"

#include "common/ipc_control.h"
#include "deliver/relay_explain.h"
#include "deliver/relay_hoststat.h"
#include "deliver/relay_report.h"

#define HOSTS_MAX 8

/* What was answered. */
static struct {
	struct ipc_explain_route route;
	struct ipc_explain_host hosts[HOSTS_MAX];
	unsigned host_count;
	unsigned known;
	unsigned done;
} told;

static void
on_told(uint32_t id, uint16_t type, const struct buf *payload, void *arg)
{
	struct buf_reader reader;

	(void)arg;
	assert_int_equal(id, 7);
	buf_reader_init(&reader, payload->data, payload->length);
	if (type == CONTROL_EXPLAIN_ROUTE) {
		assert_true(ipc_explain_route_decode(&reader, &told.route));
	} else if (type == CONTROL_EXPLAIN_HOST) {
		assert_true(told.host_count < HOSTS_MAX);
		assert_true(ipc_explain_host_decode(&reader, &told.hosts[told.host_count++]));
	} else if (type == CONTROL_HOST) {
		told.known++;
	} else {
		assert_int_equal(type, CONTROL_DONE);
		told.done++;
	}
}

static struct explainer *
make_explainer(void)
{
	memset(&told, 0, sizeof(told));
	return explainer_new(w.base, w.destinations, w.pool, on_told, NULL);
}

static void
begin(struct explainer *explainer, const char *domain, unsigned within_ms)
{
	struct ipc_explain_relay asked = { .action = "out" };

	strlcpy(asked.domain, domain, sizeof(asked.domain));
	assert_true(explainer_begin(explainer, 7, &asked, within_ms));
}

static void
configure(const char *hosts)
{
	free(w.config->actions[0].relay_hosts);
	w.config->actions[0].relay_hosts = strdup(hosts);
	pool_configure(w.pool, w.config);
	destinations_configure(w.destinations, w.pool, w.config);
}

static void
count_host(const struct ipc_host *host, void *arg)
{
	(void)host;
	++*(unsigned *)arg;
}

static void
check_no_host(void)
{
	unsigned count = 0;

	assert_int_equal(pool_report(w.pool, 0, 100, count_host, &count), 0);
	assert_int_equal(count, 0);
}

/* The resolver as one that takes questions and says nothing. */
static void
test_a_silent_dns_is_told_of_in_time(void **state)
{
	struct explainer *explainer = make_explainer();
	struct channel *mute;
	int ends[2];

	(void)state;
	configure("");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	mute = channel_new(w.base, "resolver", ends[0], on_answer, on_channel_closed, NULL);
	relay_dns_set_channel(w.dns, mute);
	begin(explainer, "example.org", 100);
	run_for(50);
	assert_int_equal(told.done, 0);
	run_for(150);
	assert_int_equal(told.done, 1);
	assert_int_equal(told.route.reply.code, 451);
	assert_non_null(strstr(told.route.reply.text, "DNS has not answered yet"));
	assert_int_equal(told.host_count, 0);
	explainer_free(explainer);
	relay_dns_set_channel(w.dns, NULL);
	channel_free(mute);
	close(ends[1]);
	run_for(20);
	check_no_host();
}

static void
test_hosts_are_told_with_what_dns_has_not_said(void **state)
{
	struct explainer *explainer = make_explainer();

	(void)state;
	w.is_signed = w.is_mute = true;
	configure("smtp://mx1.test smtps://none.test lmtp://127.0.0.1:2525 smtp://broken.test");
	begin(explainer, "example.org", 100);
	run_for(200);
	assert_int_equal(told.done, 1);
	assert_int_equal(told.route.reply.code, 250);
	assert_int_equal(told.route.origin, EXPLAIN_BY_SMARTHOSTS);
	assert_int_equal(told.host_count, 4);
	assert_int_equal(told.hosts[0].dns, EXPLAIN_DNS_FOUND);
	assert_string_equal(told.hosts[0].addresses.all[0], "127.0.0.1");
	assert_int_equal(told.hosts[0].tlsa, EXPLAIN_TLSA_SILENT);
	assert_int_equal(told.hosts[0].security, EXPLAIN_UNKNOWN);
	assert_int_equal(told.hosts[1].dns, EXPLAIN_DNS_NONE);
	assert_int_equal(told.hosts[1].security, EXPLAIN_VERIFIED);
	assert_true(told.hosts[1].implicit_tls);
	assert_true(told.hosts[2].is_address);
	assert_int_equal(told.hosts[2].security, EXPLAIN_PLAIN);
	assert_int_equal(told.hosts[3].dns, EXPLAIN_DNS_FAILED);
	assert_string_equal(told.hosts[3].words, "SERVFAIL");
	assert_int_equal(told.known, 0);
	explainer_free(explainer);
	check_no_host();
}

static void
test_an_action_that_is_not_there(void **state)
{
	struct explainer *explainer = make_explainer();
	const struct ipc_explain_relay asked = { "other", "example.org", 0 };

	(void)state;
	configure("");
	assert_true(explainer_begin(explainer, 7, &asked, 100));
	assert_int_equal(told.done, 1);
	assert_int_equal(told.route.reply.code, 451);
	explainer_free(explainer);
}

static void
test_so_many_are_explained_at_once(void **state)
{
	struct explainer *explainer = make_explainer();
	struct ipc_explain_relay asked = { "out", "", 0 };

	(void)state;
	configure("");
	w.is_signed = w.is_mute = true;
	for (unsigned i = 0; i < EXPLAIN_JOBS_MAX; i++) {
		snprintf(asked.domain, sizeof(asked.domain), "d%u.test", i);
		assert_true(explainer_begin(explainer, 7, &asked, 1000));
	}
	assert_false(explainer_begin(explainer, 7, &asked, 1000));
	/* Whoever asked is gone: nothing more is answered, and there is room. */
	explainer_forget_all(explainer);
	run_for(50);
	assert_int_equal(told.done, 0);
	assert_true(explainer_begin(explainer, 7, &asked, 1000));
	explainer_free(explainer);
	run_for(20);
	assert_int_equal(told.done, 0);
}

/* Mail goes on as if nobody had asked; then the host is known. */
static void
test_a_host_that_was_used_is_told_of(void **state)
{
	struct explainer *explainer = make_explainer();
	unsigned count = 0, task;

	(void)state;
	add_server(
	    "S: 220 mx.test ESMTP\nC: EHLO *\nS: 250 mx.test\n"
	    "C: MAIL FROM:<a@client.test>*\nS: 250 ok\nC: RCPT TO:<u1@example.org>\nS: 250 ok\n"
	    "C: DATA\nS: 354 go\nT:\nS: 250 2.0.0 taken\nC: QUIT\nS: 221 bye\n",
	    NULL);
	use_servers("smtp+notls");
	begin(explainer, "example.org", 1000);
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	assert_int_equal(told.done, 1);
	told.known = 0;
	begin(explainer, "example.org", 1000);
	run_for(50);
	assert_int_equal(told.done, 2);
	assert_int_equal(told.known, 1);
	assert_int_equal(pool_report(w.pool, 0, 100, count_host, &count), 0);
	assert_int_equal(count, 1);
	explainer_free(explainer);
	pool_quit_idle(w.pool);
	run_for(50);
	check_server(&w.servers[0], 1);
}

static uint64_t last_id;
static unsigned stat_count;

static void
on_stat(const struct ipc_hoststat *stat, void *arg)
{
	(void)arg;
	assert_true(stat->id > last_id);
	last_id = stat->id;
	stat_count++;
}

/* So many domains, the ones heard of last, in their order, whatever the portion. */
static void
test_domains_are_remembered_up_to_a_bound(void **state)
{
	struct hoststats *stats = hoststats_new();
	struct ipc_relay_result result = { .envelope_id = 1 };
	uint64_t cursor = 0;
	char domain[32];

	(void)state;
	reply_set(&result.reply, 250, "2.0.0", "taken");
	for (unsigned i = 0; i < HOSTSTAT_MAX + 10; i++) {
		snprintf(domain, sizeof(domain), "d%u.test", i);
		hoststats_note(stats, domain, &result);
		hoststats_note(stats, "often.test", &result);
	}
	last_id = stat_count = 0;
	do
		cursor = hoststats_report(stats, cursor, 99, on_stat, NULL);
	while (cursor != 0);
	assert_int_equal(stat_count, HOSTSTAT_MAX);
	hoststats_free(stats);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    test_a_silent_dns_is_told_of_in_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_hosts_are_told_with_what_dns_has_not_said, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_an_action_that_is_not_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_so_many_are_explained_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_host_that_was_used_is_told_of, set_up, tear_down),
		cmocka_unit_test(test_domains_are_remembered_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
