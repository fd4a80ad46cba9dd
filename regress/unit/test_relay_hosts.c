/* Connections to hosts: how many, how fast, and who waits for them. */
#include "test_relay_fixture.h"

#include "deliver/relay_host_state.h"

#define GREETING "S: 220 mx1.test ESMTP\nC: EHLO relay.test\nS: 250-mx1.test\nS: 250 PIPELINING\n"
#define ONE                                                                                        \
	"C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n?: 20\nT:\nS: 250 2.0.0 " \
	"ok\n"
#define MANY ONE ONE ONE ONE ONE ONE ONE ONE ONE ONE

static struct server *
add_parallel(const char *script)
{
	struct server *server;

	next_is_parallel = true;
	server = add_server(script, NULL);
	next_is_parallel = false;
	return server;
}

static void
wait_all(void)
{
	for (unsigned i = 0; i < w.task_count; i++)
		wait_done(i);
}

static void
a_host_that_does_not_answer_has_one_connection(void **state)
{
	struct server *server = add_parallel("?: 2000\nX:");

	(void)state;
	use_servers("smtp+notls");
	for (int i = 0; i < 10; i++)
		(void)submit(1);
	run_for(150);
	assert_int_equal(server->connections, 1);
	assert_int_equal(pool_session_count(w.pool), 1);
	/* All that waited are told at once when it has failed. */
	wait_all();
	for (unsigned i = 0; i < w.task_count; i++)
		check_result(i, 1, 451, "4.4.2");
	assert_int_equal(server->connections, 1);
}

static void
a_host_that_answers_has_as_many_as_are_allowed(void **state)
{
	struct server *server = add_parallel(GREETING MANY "W:");

	(void)state;
	w.config->mta_sessions_per_host = 3;
	use_servers("smtp+notls");
	for (int i = 0; i < 12; i++)
		(void)submit(1);
	wait_all();
	for (unsigned i = 0; i < w.task_count; i++)
		check_result(i, 1, 250, "2.0.0");
	assert_int_equal(server->connections, 3);
}

/* Two hosts, one after the other in different actions; all connections together are one. */
static void
an_idle_connection_gives_way(void **state)
{
	struct server *first = add_server(GREETING ONE "C: QUIT\nS: 221 bye\n", NULL);
	struct server *second;
	unsigned task;

	(void)state;
	w.config->mta_sessions = 1;
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	second = add_server(GREETING ONE "W:", NULL);
	/* The first is at its limit of messages, so that the second is next. */
	free(w.config->actions[0].relay_hosts);
	assert_true(asprintf(&w.config->actions[0].relay_hosts, "smtp+notls://mx2.test:%u",
	                second->port) > 0);
	destinations_configure(w.destinations, w.pool, w.config);
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	check_server(first, 1);
	check_server(second, 1);
}

/* Of one that isn't answered it is soon known; the place is another's long before it is given up. */
static void
a_host_that_does_not_answer_keeps_no_other_waiting(void **state)
{
	struct server *silent = add_parallel("?: 2000\nX:"), *other;
	unsigned first, second;

	(void)state;
	w.config->mta_sessions = 1;
	w.pool->times.greeting_ms = 900;
	use_servers("smtp+notls");
	first = submit(1);
	run_for(20);
	assert_int_equal(silent->connections, 1);
	other = add_server(GREETING ONE "W:", NULL);
	free(w.config->actions[0].relay_hosts);
	assert_true(asprintf(&w.config->actions[0].relay_hosts, "smtp+notls://mx2.test:%u",
	                other->port) > 0);
	destinations_configure(w.destinations, w.pool, w.config);
	second = submit(1);
	wait_done(second);
	check_result(second, 1, 250, "2.0.0");
	assert_false(w.outcomes[first].is_done);
	wait_done(first);
	check_result(first, 1, 451, "4.4.2");
}

static void
add_rule(const char *mx, uint32_t total, uint32_t per_minute, uint32_t pause_ms)
{
	struct mta_limit_config *rule = calloc(1, sizeof(*rule));

	assert_non_null(rule);
	rule->mx = strdup(mx);
	rule->sessions_total = total;
	rule->messages_per_minute = per_minute;
	rule->pause_ms = pause_ms;
	config_complete_mta_limit(rule);
	w.config->mta_limits = rule;
	w.config->mta_limit_count = 1;
}

static void
a_rule_limits_all_its_hosts_together(void **state)
{
	struct server *server = add_parallel(GREETING MANY "W:");

	(void)state;
	add_rule("*.test", 2, 0, 0);
	use_servers("smtp+notls");
	for (int i = 0; i < 8; i++)
		(void)submit(1);
	wait_all();
	assert_int_equal(server->connections, 2);
}

static void
messages_a_minute_are_kept_to(void **state)
{
	struct server *server = add_parallel(GREETING MANY "W:");
	unsigned done = 0;

	(void)state;
	add_rule("mx1.test", 0, 60, 0);
	use_servers("smtp+notls");
	for (int i = 0; i < 10; i++)
		(void)submit(1);
	run_for(500);
	for (unsigned i = 0; i < w.task_count; i++)
		done += w.outcomes[i].is_done;
	/* The first, and what a second brings. */
	assert_in_range(done, 1, 3);
	assert_true(server->connections >= 1);
}

static void
a_pause_is_kept_between_messages(void **state)
{
	struct server *server = add_server(GREETING MANY "W:", NULL);
	int64_t begin;

	(void)state;
	w.config->mta_sessions_per_host = 1;
	add_rule("mx1.test", 0, 0, 150);
	use_servers("smtp+notls");
	begin = now_ms();
	for (int i = 0; i < 3; i++)
		(void)submit(1);
	wait_all();
	assert_true(now_ms() - begin >= 300);
	check_server(server, 1);
}

static void
idle_connections_say_goodbye(void **state)
{
	struct server *server = add_server(GREETING ONE "C: QUIT\nS: 221 bye\n", NULL);
	unsigned task;

	(void)state;
	w.config->mta_idle_time = 1;
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	assert_int_equal(pool_session_count(w.pool), 1);
	run_for(1500);
	assert_int_equal(pool_session_count(w.pool), 0);
	check_server(server, 1);
}

static void
without_credentials_nothing_is_sent(void **state)
{
	struct server *server = add_server(GREETING "W:", NULL);
	unsigned task;

	(void)state;
	/* No directory answers. */
	free(w.config->actions[0].relay_hosts);
	assert_true(asprintf(&w.config->actions[0].relay_hosts, "smtps://label@mx1.test:%u",
	                server->port) > 0);
	pool_configure(w.pool, w.config);
	destinations_configure(w.destinations, w.pool, w.config);
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 451, "4.3.5");
	assert_int_equal(result_of(task, 1)->fault, RELAY_FAULT_OURS);
	assert_int_equal(server->connections, 0);
}

static void
a_new_configuration_leaves_what_is_under_way(void **state)
{
	struct server *server = add_server(GREETING
	    "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\n?: 150\nS: 354 go\nT:\n"
	    "S: 250 2.0.0 ok\nC: QUIT\nS: 221 bye\n",
	    GREETING ONE "W:", NULL);
	unsigned first, second;

	(void)state;
	use_servers("smtp+notls");
	first = submit(1);
	run_for(50);
	pool_configure(w.pool, w.config);
	destinations_configure(w.destinations, w.pool, w.config);
	wait_done(first);
	check_result(first, 1, 250, "2.0.0");
	second = submit(1);
	wait_done(second);
	check_result(second, 1, 250, "2.0.0");
	check_server(server, 2);
}

#define SLOW                                                                                  \
	"C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nT:\n?: 250\nS: 250 " \
	"2.0.0 "                                                                              \
	"ok\n"

static void
new_connections_go_to_the_addresses_of_now(void **state)
{
	struct server *old = add_parallel(GREETING SLOW SLOW SLOW "W:"), *new;

	(void)state;
	use_servers("smtp+notls");
	(void)submit(1);
	run_for(150); /* longer than the addresses are good, while the text is being taken */
	assert_int_equal(w.questions, 1);
	w.last = 2;
	w.port_wanted = (uint16_t)old->port;
	new = add_parallel(GREETING SLOW SLOW SLOW "W:");
	(void)submit(1);
	wait_all();
	assert_int_equal(w.questions, 2);
	assert_int_equal(old->connections, 1);
	assert_int_equal(new->connections, 1);
	for (unsigned i = 0; i < w.task_count; i++)
		check_result(i, 1, 250, "2.0.0");
}

static void
connections_are_used_while_addresses_cannot_be_looked_up(void **state)
{
	struct server *server = add_parallel(GREETING SLOW SLOW SLOW "W:");

	(void)state;
	use_servers("smtp+notls");
	(void)submit(1);
	run_for(150);
	w.is_broken = true;
	(void)submit(1);
	(void)submit(1);
	wait_all();
	assert_true(w.questions >= 2);
	assert_int_equal(server->connections, 1);
	for (unsigned i = 0; i < w.task_count; i++)
		check_result(i, 1, 250, "2.0.0");
}

/* The last of them is gone, with mail that still waits. */
static void
without_connections_addresses_that_are_not_found_fail_the_mail(void **state)
{
	struct server *server = add_parallel(GREETING SLOW "X:");

	(void)state;
	use_servers("smtp+notls");
	(void)submit(1);
	run_for(150);
	w.is_broken = true;
	(void)submit(1);
	wait_all();
	assert_int_equal(server->connections, 1);
	check_result(0, 1, 250, "2.0.0");
	check_result(1, 1, 451, "4.4.3");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_host_that_does_not_answer_has_one_connection),
		TEST(a_host_that_answers_has_as_many_as_are_allowed),
		TEST(an_idle_connection_gives_way),
		TEST(a_host_that_does_not_answer_keeps_no_other_waiting),
		TEST(a_rule_limits_all_its_hosts_together),
		TEST(messages_a_minute_are_kept_to),
		TEST(a_pause_is_kept_between_messages),
		TEST(idle_connections_say_goodbye),
		TEST(without_credentials_nothing_is_sent),
		TEST(a_new_configuration_leaves_what_is_under_way),
		TEST(new_connections_go_to_the_addresses_of_now),
		TEST(connections_are_used_while_addresses_cannot_be_looked_up),
		TEST(without_connections_addresses_that_are_not_found_fail_the_mail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
