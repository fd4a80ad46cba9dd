/* What the relay may learn of tables: by a key, and of an action that relays. */
#include "regress/unit/test_directory_fixture.h"

#include <bsd/string.h>

#include "lookup/outbound.h"

static struct config *config;
static struct tables *tables;

static int
set_up(void **state)
{
	(void)state;
	config = new_config();
	add_static_table(config, "secrets", "work", "me:pa:ss", "none", "", NULL);
	add_static_table(config, "domains", "one.test", "smtp://a.test", "*.two.test",
	    "smtp://b.test smtp://c.test", NULL);
	add_static_table(config, "users", "alice", "$6$hash", NULL);
	add_action(config, "out", ACTION_RELAY);
	add_action(config, "in", ACTION_MAILDIR);
	for (size_t i = 0; i < config->action_count; i++) {
		free(config->actions[i].relay_auth);
		free(config->actions[i].relay_domains);
		config->actions[i].relay_auth = strdup("secrets");
		config->actions[i].relay_domains = strdup("domains");
	}
	tables = tables_new(config, NULL);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	tables_free(tables);
	config_free(config);
	return 0;
}

static const char *
look_up(enum relay_lookup what, const char *action, const char *key)
{
	static struct ipc_relay_found found;
	struct ipc_relay_lookup lookup = { .what = what };

	strlcpy(lookup.action, action, sizeof(lookup.action));
	strlcpy(lookup.key, key, sizeof(lookup.key));
	outbound_lookup(config, tables, &lookup, &found);
	assert_true((found.status == RELAY_FOUND) == (*found.value != '\0'));
	return found.status == RELAY_FOUND     ? found.value
	    : found.status == RELAY_FOUND_NONE ? "-"
	                                       : "broken";
}

static void
test_credentials_by_label(void **state)
{
	(void)state;
	assert_string_equal(look_up(RELAY_LOOKUP_CREDENTIALS, "out", "work"), "me:pa:ss");
	assert_string_equal(look_up(RELAY_LOOKUP_CREDENTIALS, "out", "home"), "-");
	assert_string_equal(look_up(RELAY_LOOKUP_CREDENTIALS, "out", "none"), "-");
}

static void
test_nothing_of_other_actions_and_tables(void **state)
{
	(void)state;
	assert_string_equal(look_up(RELAY_LOOKUP_CREDENTIALS, "in", "work"), "-");
	assert_string_equal(look_up(RELAY_LOOKUP_CREDENTIALS, "nowhere", "work"), "-");
	assert_string_equal(look_up(RELAY_LOOKUP_CREDENTIALS, "out", "alice"), "-");
	assert_string_equal(look_up(RELAY_LOOKUP_HELO, "out", "work"), "-");
}

static void
test_hosts_by_domain(void **state)
{
	(void)state;
	assert_string_equal(look_up(RELAY_LOOKUP_HOSTS, "out", "one.test"), "smtp://a.test");
	assert_string_equal(
	    look_up(RELAY_LOOKUP_HOSTS, "out", "x.y.two.test"), "smtp://b.test smtp://c.test");
	assert_string_equal(look_up(RELAY_LOOKUP_HOSTS, "out", "two.test"), "-");
	assert_string_equal(look_up(RELAY_LOOKUP_HOSTS, "out", "three.test"), "-");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_credentials_by_label, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_nothing_of_other_actions_and_tables, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hosts_by_domain, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
